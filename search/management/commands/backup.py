from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.template.defaultfilters import filesizeformat

from t2isearch.backup.folder import MANIFEST, BackupError, Manifest
from t2isearch.backup.saving import backup
from t2isearch.interrupts import INTERRUPTED
from t2isearch.progress import progress_report

# The backup is complete, what it was made of is not.
WITH_FAULTS = 3
SHOWN = 20


class Command(BaseCommand):
    help = (
        "Save the database and the photos into a new folder, while the system runs. Exit code 3: "
        "the backup is complete, but some of the stored files were missing or damaged already."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path)

    def handle(self, *args: Any, folder: Path, **options: Any) -> None:
        try:
            with progress_report("Saving", None) as report:
                saved = backup(folder, report=report)
        except BackupError as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            raise CommandError(
                f"Stopped: {folder} holds no backup.", returncode=INTERRUPTED
            ) from None
        self.stdout.write(
            f"{saved.photos} photos, {saved.files} files saved in {folder} "
            f"({filesizeformat(saved.bytes)})."
        )
        if saved.faults:
            raise CommandError(_in_words(folder, saved), returncode=WITH_FAULTS)


def _in_words(folder: Path, saved: Manifest) -> str:
    named = [
        f"  photo {fault['photo']}: {fault['kind']} {fault['fault']}, {fault['name']}"
        for fault in saved.faults[:SHOWN]
    ]
    if (more := len(saved.faults) - SHOWN) > 0:
        named.append(f"  and {more} more, in {folder / MANIFEST}")
    first = (
        f"In the storage, {saved.missing} files are missing or can't be read, and {saved.damaged} "
        "are damaged:"
    )
    last = (
        "The backup is complete but for these. `manage.py verify_files --repair` makes anew what "
        "can be, and tells the owners of the others."
    )
    return "\n".join([first, *named, last])
