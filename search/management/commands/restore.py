from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from t2isearch.backup import BackupError, restore


class Command(BaseCommand):
    help = "Put a backup back into an empty system; the workers then fill Milvus from PostgreSQL."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path)

    def handle(self, *args: Any, folder: Path, **options: Any) -> None:
        try:
            restored = restore(folder)
        except BackupError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{restored.photos} photos, {restored.files} files are back.")
        call_command("prepare_search", stdout=self.stdout)
