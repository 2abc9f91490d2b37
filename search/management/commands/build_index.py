from __future__ import annotations

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from search.encoders import EncoderUnavailable
from search.generations import (
    NotPossible,
    cancel,
    complete_builds,
    pause,
    progress,
    resume,
    start_build,
)
from search.heartbeat import seen_lately
from search.indexing import index_due_photos
from search.milvus import MilvusUnavailable
from search.models import SearchIndex
from search.tasks import index_photos
from t2isearch.dispatch import wake
from t2isearch.progress import progress_report


class Command(BaseCommand):
    help = (
        "Build a new generation of the index beside the active one, while people go on searching. "
        "Without --encoder, the build that is under way is watched."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--encoder", help="a model's name on the hub, a folder, or `starter` (SEARCH_ENCODER)"
        )
        parser.add_argument(
            "--activate", action="store_true", help="switch to it as soon as it is complete"
        )
        parser.add_argument(
            "--work", action="store_true", help="embed photos in this process as well"
        )
        parser.add_argument("--no-wait", action="store_true", help="do not watch it")
        action = parser.add_mutually_exclusive_group()
        for name, does in (
            ("pause", "have the workers leave it alone"),
            ("resume", "go on with a paused build"),
            ("cancel", "give it up and remove what there is of it"),
        ):
            action.add_argument(
                f"--{name}", dest="action", action="store_const", const=name, help=does
            )

    def handle(self, *args: Any, encoder: str | None, **options: Any) -> None:
        try:
            index = self._index(encoder, activate=options["activate"])
            if options["action"]:
                {"pause": pause, "resume": resume, "cancel": cancel}[options["action"]](index)
                self.stdout.write(f"Generation {index.pk}: {options['action']}.")
                if options["action"] != "resume":
                    return
        except (NotPossible, EncoderUnavailable, MilvusUnavailable) as error:
            raise CommandError(str(error)) from error
        wake(index_photos)
        if options["no_wait"]:
            return
        try:
            self._follow(index, work=options["work"])
        except KeyboardInterrupt:
            self.stderr.write(
                "No longer watched. The workers go on with it; `manage.py build_index` watches it "
                "again, `--pause` and `--cancel` stop it."
            )

    def _index(self, encoder: str | None, *, activate: bool) -> SearchIndex:
        if encoder is None:
            index = SearchIndex.objects.building().first()
            if index is None:
                raise CommandError("Nothing is being built: name an encoder with --encoder.")
            if activate:
                SearchIndex.objects.filter(pk=index.pk).update(activate_when_complete=True)
            return index
        index = start_build(encoder, activate_when_complete=activate)
        self.stdout.write(
            f"Generation {index.pk}: {index.encoder} at {index.short_revision}, "
            f"{index.dimension} dimensions."
        )
        return index

    def _follow(self, index: SearchIndex, *, work: bool) -> None:
        if not work and not seen_lately("index"):
            self.stderr.write(
                "No worker that embeds photos was seen lately: start one, or use --work."
            )
        with progress_report("Building", None) as report:
            while index.status == SearchIndex.Status.BUILDING and index.paused_at is None:
                found = progress(index)
                report(found.photos - found.remaining, found.photos)
                if not found.remaining:
                    complete_builds()
                if not (work and index_due_photos()):
                    time.sleep(0.5)
                index.refresh_from_db()
                if index.completed_at and not index.activate_when_complete:
                    break
        found = progress(index)
        self.stdout.write(
            f"Generation {index.pk} is {index.get_status_display().lower()}: "
            f"{found.searchable} photos, {found.failed} failed, {found.remaining} to go."
        )
        if index.error:
            self.stdout.write(index.error)
        if index.status == SearchIndex.Status.BUILDING and index.completed_at:
            self.stdout.write(f"`manage.py activate_index {index.pk}` switches to it.")
