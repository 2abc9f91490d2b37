from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from gallery.management.commands.import_photos import owner_named
from gallery.models import Photo
from gallery.processing import render_again
from t2isearch.interrupts import INTERRUPTED, interrupts
from t2isearch.progress import progress_report


class Command(BaseCommand):
    help = (
        "Make the thumbnails, previews and facts (exposure, place) of photos anew, as after an "
        "upgrade that makes others. Nothing is embedded again. Photos can be looked at meanwhile."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--user", help="only this person's photos, by user name")
        parser.add_argument(
            "--from", dest="first", type=int, default=0, help="go on from the photo with this key"
        )

    def handle(self, *args: Any, user: str | None, first: int, **options: Any) -> None:
        photos = Photo.objects.filter(state=Photo.State.READY, pk__gte=first).order_by("pk")
        if user is not None:
            photos = photos.filter(owner=owner_named(user))
        keys = list(photos.values_list("pk", flat=True))
        made = 0
        problems: list[str] = []
        with interrupts() as stop, progress_report("Rendering", len(keys)) as say:
            for done, key in enumerate(keys, 1):
                if stop:
                    raise CommandError(
                        f"Stopped after {made} photos. Go on with --from {key}.",
                        returncode=INTERRUPTED,
                    )
                photo = photos.filter(pk=key).first()
                try:
                    made += photo is not None and render_again(photo)
                except Exception as error:  # decoders and storages raise whatever they like
                    problems.append(f"  photo {key}: {error}")
                say(done, None)
        kept = len(keys) - made
        self.stdout.write(f"{made} made anew, {kept} left as they were.")
        for problem in problems:
            self.stdout.write(problem)
