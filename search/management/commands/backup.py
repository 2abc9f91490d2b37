from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from t2isearch.backup import BackupError, backup


class Command(BaseCommand):
    help = "Save the database and the photos into a new folder, while the system runs."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path)

    def handle(self, *args: Any, folder: Path, **options: Any) -> None:
        try:
            saved = backup(folder)
        except BackupError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{saved.photos} photos, {saved.files} files saved in {folder}.")
        if saved.missing:
            self.stderr.write(f"{saved.missing} files are missing in the storage.")
