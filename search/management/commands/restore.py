from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from gallery.file_verification import examine, stray_files
from gallery.models import Photo
from search.management.commands.backup import WITH_FAULTS
from t2isearch.backup.folder import BackupError
from t2isearch.backup.restoring import restore
from t2isearch.interrupts import INTERRUPTED
from t2isearch.progress import progress_report


class Command(BaseCommand):
    help = (
        "Put a backup back into an empty system; the workers then fill Milvus from PostgreSQL. "
        "Exit code 3: it is back, but some photos lack files."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path)
        parser.add_argument(
            "--accept-damage",
            action="store_true",
            help="put back what there is of a backup that is damaged itself",
        )
        parser.add_argument(
            "--no-index",
            action="store_true",
            help="leave Milvus alone: the next start prepares it",
        )

    def handle(
        self, *args: Any, folder: Path, accept_damage: bool, no_index: bool, **options: Any
    ) -> None:
        try:
            with progress_report("Restoring", None) as report:
                restored = restore(folder, accept_damage=accept_damage, report=report)
        except BackupError as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            raise CommandError(
                "Stopped: the database is as it was. Run the same command again.",
                returncode=INTERRUPTED,
            ) from None
        # The backup may be of an older version.
        call_command("migrate", interactive=False, verbosity=0)
        self.stdout.write(f"{restored.photos} photos, {restored.files} files are back.")
        lacking = self._count_faults()
        if not no_index:
            call_command("prepare_search", stdout=self.stdout)
        if lacking or restored.damaged:
            raise CommandError(
                f"Photos that lack files: {lacking}. Damaged when they were saved: "
                f"{restored.damaged}. `manage.py verify_files --repair` makes anew what can be, "
                "and tells the owners of the others.",
                returncode=WITH_FAULTS,
            )

    def _count_faults(self) -> int:
        """How many photos lack files now, whatever the backup said."""
        lacking = 0
        for _photo, faults in examine(Photo.objects.all(), quick=True):
            lacking += bool(faults)
        if strays := sum(1 for _ in stray_files(older_than=timedelta(0))):
            self.stderr.write(
                f"{strays} files in the storage belong to nothing. Once they are a day old, "
                "`manage.py verify_files --repair` removes them."
            )
        return lacking
