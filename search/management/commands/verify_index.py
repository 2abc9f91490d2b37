from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from gallery.management.commands.import_photos import owner_named
from search.management.following import follow_run
from search.models import IndexRun, SearchIndex
from search.runs import start_run
from search.verification import is_clean


class Command(BaseCommand):
    help = (
        "Compare Milvus with PostgreSQL: vectors that are missing, orphaned, in another person's "
        "partition or stale. Exit code 1 when there are any that were not repaired."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--repair", action="store_true", help="mend what differs")
        parser.add_argument("--owner", help="the photos of this person only")
        parser.add_argument("--generation", type=int, help="default: the active one")

    def handle(
        self,
        *args: Any,
        repair: bool,
        owner: str | None,
        generation: int | None,
        **options: Any,
    ) -> None:
        if generation is None:
            index = SearchIndex.objects.active()
        else:
            index = SearchIndex.objects.kept().filter(pk=generation).first()
        if index is None:
            raise CommandError("There is no such generation: see `manage.py index_status`.")
        person = owner_named(owner) if owner else None
        run = follow_run(
            self,
            lambda: start_run(
                index,
                IndexRun.Kind.VERIFY,
                owner=person,
                options={"repair": True} if repair else {},
                here=True,
            ),
            "Comparing",
        )
        if not repair and not is_clean(run.findings):
            sys.exit(1)
