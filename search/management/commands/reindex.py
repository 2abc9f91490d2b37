from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from gallery.management.commands.import_photos import owner_named
from gallery.models import Photo
from search.management.following import follow_run
from search.models import SearchIndex
from search.reindexing import ALL, FAILED, reindex, reindex_missing, reindex_photos


class Command(BaseCommand):
    help = "Have photos embedded again in the active generation of the index."

    def add_arguments(self, parser: CommandParser) -> None:
        scope = parser.add_mutually_exclusive_group(required=True)
        scope.add_argument("--all", action="store_true", help="all photos")
        scope.add_argument("--missing", action="store_true", help="those that Milvus has not")
        scope.add_argument("--failed", action="store_true", help="those that failed")
        scope.add_argument("--photo", type=int, nargs="+", help="these photos, by number")
        parser.add_argument("--user", help="of this person only")

    def handle(self, *args: Any, **options: Any) -> None:
        index = SearchIndex.objects.active()
        if index is None:
            raise CommandError("There is no index yet: `manage.py prepare_search` makes the first.")
        owner = owner_named(options["user"]) if options["user"] else None
        if options["photo"]:
            photos = Photo.objects.filter(pk__in=options["photo"], state=Photo.State.READY)
            if owner is not None:
                photos = photos.filter(owner=owner)
            photo_ids = list(photos.values_list("pk", flat=True))
            reindex_photos(photo_ids)
            self.stdout.write(f"{len(photo_ids)} enqueued.")
        elif options["missing"]:
            follow_run(self, lambda: reindex_missing(index, owner=owner, here=True), "Comparing")
        else:
            scope = FAILED if options["failed"] else ALL
            follow_run(
                self,
                lambda: reindex(index, scope=scope, owner=owner, here=True),
                "Enqueueing",
            )
