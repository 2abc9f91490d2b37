from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from search.generations import restore_collection
from search.management.following import follow_run
from search.milvus import MilvusUnavailable
from search.models import IndexRun, SearchIndex
from search.runs import start_run


class Command(BaseCommand):
    help = "Fill the collection of a generation from the embeddings that PostgreSQL keeps."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--generation", type=int, help="default: the active one")

    def handle(self, *args: Any, generation: int | None, **options: Any) -> None:
        if generation is None:
            index = SearchIndex.objects.active()
        else:
            index = SearchIndex.objects.kept().filter(pk=generation).first()
        if index is None:
            raise CommandError("There is no such generation: see `manage.py index_status`.")
        try:
            restore_collection(index)
        except MilvusUnavailable as error:
            raise CommandError(f"Milvus can't be reached: {error}") from error
        follow_run(self, lambda: start_run(index, IndexRun.Kind.REFILL, here=True), "Filling")
