"""Files that are stored before a row points at them, so that none stays when it never does.

Their names are noted as discarded first, to be removed a while later, and the note is taken back
in the transaction that writes the row. Whatever ends the process in between, a sweep removes them.
The note alone says whether a file is needed: an exception does not, as it may have come after the
commit, or with a connection that was lost in the middle of it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import Error, connection, transaction
from django.utils import timezone

from gallery.models import DiscardedFile
from gallery.storage import StorageUnavailable, remove_file

logger = logging.getLogger(__name__)


class Discarded(StorageUnavailable):
    """Storing took so long that the files are being removed already."""


class Provisional:
    """Files of which it is open yet whether a row will point at them."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self.kept = False

    def keep(self) -> None:
        """In the transaction that makes a row point at the files.

        Raises:
            Discarded: roll it back.
        """
        # One that was claimed (`attempts`) may be gone at any moment.
        notes = DiscardedFile.objects.filter(name__in=self._names, attempts=0)
        if notes.delete()[0] != len(self._names):
            raise Discarded("storing the files took too long")
        self.kept = True


@contextmanager
def provisional(*names: str) -> Iterator[Provisional]:
    """A block that stores files of these names and, in a transaction, has them kept.

    Those that are not, in whichever way it ends, are removed.
    """
    due_at = timezone.now() + 2 * settings.WORK_LEASE
    if names:
        with transaction.atomic(durable=True):  # in another one nobody would see the notes
            DiscardedFile.objects.bulk_create(
                DiscardedFile(name=name, due_at=due_at) for name in names
            )
    files = Provisional(names)
    try:
        yield files
    except BaseException:
        _drop(names)
        raise
    if names and not files.kept:
        _drop(names)


def _drop(names: Collection[str]) -> None:
    """Remove the files whose notes are still there. Where that can't be done now, a sweep does."""
    try:
        # A commit that was interrupted leaves a connection that nothing can be asked by.
        if not connection.atomic_blocks:
            connection.close_if_unusable_or_obsolete()
        with transaction.atomic(durable=True):
            # One that is locked may be kept at this moment.
            left = DiscardedFile.objects.filter(name__in=names, attempts=0)
            rows = list(left.select_for_update(skip_locked=True))
            # Claimed, as by the sweep: from here on nothing keeps them.
            DiscardedFile.objects.filter(pk__in=[row.pk for row in rows]).update(attempts=1)
        removed = [row.pk for row in rows if remove_file(row.name)]
        DiscardedFile.objects.filter(pk__in=removed).delete()
    except Error:
        logger.exception("files that may not be needed are left to the sweep")
