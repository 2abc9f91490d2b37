"""Files that are stored before a row points at them, so that none stays when it never does.

Their names are noted as discarded first, to be removed a while later, and the note is taken back
in the transaction that writes the row. Whatever ends the process in between, a sweep removes them.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress

from django.conf import settings
from django.db import DatabaseError, transaction
from django.utils import timezone

from gallery.models import DiscardedFile
from gallery.storage import remove_file


class Discarded(Exception):
    """Storing took so long that the files are being removed already."""


def note_provisional(names: Collection[str]) -> None:
    """Have these files removed later, unless they are kept. Before the first of them is stored."""
    due_at = timezone.now() + 2 * settings.WORK_LEASE
    DiscardedFile.objects.bulk_create(DiscardedFile(name=name, due_at=due_at) for name in names)


def keep(names: Collection[str]) -> None:
    """In the transaction that makes a row point at the files.

    Raises:
        Discarded: roll it back.
    """
    # One that was claimed (`attempts`) may be gone at any moment.
    kept, _ = DiscardedFile.objects.filter(name__in=names, attempts=0).delete()
    if kept != len(names):
        raise Discarded


def drop(names: Collection[str]) -> None:
    """Remove the files now. Where that fails, it is done later."""
    for name in names:
        if remove_file(name):
            with suppress(DatabaseError), transaction.atomic():
                DiscardedFile.objects.filter(name=name).delete()
