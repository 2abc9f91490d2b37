from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.files.storage import default_storage
from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    help = "Make the bucket that S3_BUCKET names; does nothing when there is one, or without S3."

    def handle(self, *args: Any, **options: Any) -> None:
        if not hasattr(default_storage, "create"):
            self.stdout.write(f"Photos are kept as files under {settings.MEDIA_ROOT}.")
            return
        from botocore.exceptions import BotoCoreError, ClientError  # where there is a bucket only

        try:
            created = default_storage.create()
        except (BotoCoreError, ClientError) as error:
            raise CommandError(f"The bucket can't be had: {error}") from error
        said = "was made" if created else "is there"
        self.stdout.write(
            f"The bucket {settings.STORAGES['default']['OPTIONS']['bucket_name']} {said}."
        )
