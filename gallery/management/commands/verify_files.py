from __future__ import annotations

import sys
from collections import Counter
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from gallery.file_verification import (
    examine,
    mend,
    storage_is_empty,
    stray_files,
    take_back,
)
from gallery.management.commands.import_photos import owner_named
from gallery.models import Photo
from gallery.services import discard_files
from gallery.storage import StorageUnavailable
from t2isearch.interrupts import INTERRUPTED, interrupts
from t2isearch.progress import progress_report


class Command(BaseCommand):
    help = (
        "Compare the stored files with the photos: originals that are missing or not what was "
        "uploaded, thumbnails and previews that are missing or damaged, and files that belong to "
        "nothing. Exit code 1 when there are any that were not repaired."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--quick", action="store_true", help="look at names and sizes only, read no file"
        )
        parser.add_argument(
            "--repair",
            action="store_true",
            help="make thumbnails and previews anew, remove files that belong to nothing, and tell "
            "the owners of damaged originals",
        )
        parser.add_argument("--user", help="only this person's photos, by user name")
        parser.add_argument(
            "--from", dest="first", type=int, default=0, help="go on from the photo with this key"
        )

    def handle(
        self, *args: Any, quick: bool, repair: bool, user: str | None, first: int, **options: Any
    ) -> None:
        photos = Photo.objects.filter(pk__gte=first)
        if user is not None:
            photos = photos.filter(owner=owner_named(user))
        counts: Counter[str] = Counter(photos=0)
        left = 0
        key = first
        try:
            if repair and photos.exists() and storage_is_empty():
                raise CommandError("There is no file in the storage at all: is its volume mounted?")
            with interrupts() as stop, progress_report("Verifying", photos.count()) as say:
                for photo, faults in examine(photos, quick=quick):
                    key = photo.pk
                    for found in faults:
                        file = found.file
                        self.stdout.write(f"  photo {key}: {file.kind} {found.fault}, {file.name}")
                        counts[f"{found.fault} {file.kind}s"] += 1
                    if repair and faults and mend(photo, faults):
                        counts["repaired"] += len(faults)
                    else:
                        left += len(faults)
                    if repair and not faults and not quick:
                        take_back(photo)
                    counts["photos"] += 1
                    say(counts["photos"], None)
                    if stop:
                        raise _stopped(counts["photos"], key)
            if user is None:
                for name in stray_files():
                    self.stdout.write(f"  belongs to nothing: {name}")
                    counts["strays"] += 1
                    if repair:
                        discard_files([name])
                        counts["repaired"] += 1
                    else:
                        left += 1
        except KeyboardInterrupt:
            raise _stopped(counts["photos"], key) from None
        except StorageUnavailable as error:
            raise CommandError(f"{error}\nGo on with --from {key}.") from error
        for name, number in counts.items():
            self.stdout.write(f"{name}: {number}")
        if left:
            sys.exit(1)


def _stopped(photos: int, key: int) -> CommandError:
    return CommandError(
        f"Stopped after {photos} photos. Go on with --from {key}.", returncode=INTERRUPTED
    )
