from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from search.generations import NotPossible, drop
from search.models import SearchIndex


class Command(BaseCommand):
    help = "Remove the vectors of a generation that is not in use; there is no rolling back to it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("generation", type=int)

    def handle(self, *args: Any, generation: int, **options: Any) -> None:
        index = SearchIndex.objects.filter(pk=generation).first()
        if index is None:
            raise CommandError("There is no such generation: see `manage.py index_status`.")
        try:
            drop(index)
        except NotPossible as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"The workers remove generation {index.pk} ({index.encoder}).")
