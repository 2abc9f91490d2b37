from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from search.generations import NotPossible, activate
from search.models import SearchIndex


class Command(BaseCommand):
    help = "Have searches use another generation of the index: one that is built, or an older one."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("generation", type=int, nargs="?", help="default: the one being built")
        parser.add_argument(
            "--roll-back", action="store_true", help="to the generation that was active before"
        )
        parser.add_argument(
            "--force", action="store_true", help="even if photos can't be found for a while"
        )

    def handle(
        self, *args: Any, generation: int | None, roll_back: bool, force: bool, **options: Any
    ) -> None:
        kept = SearchIndex.objects.kept()
        if generation is not None:
            index = kept.filter(pk=generation).first()
        elif roll_back:
            retired = kept.filter(status=SearchIndex.Status.RETIRED)
            index = retired.order_by("-retired_at").first()
        else:
            index = kept.building().first()
        if index is None:
            raise CommandError("There is no such generation: see `manage.py index_status`.")
        try:
            activate(index, force=force)
        except NotPossible as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"Searches use generation {index.pk} ({index.encoder}) now.")
