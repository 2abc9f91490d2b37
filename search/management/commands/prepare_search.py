from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from search.encoders import EncoderUnavailable
from search.generations import prepare_index
from search.milvus import MilvusUnavailable
from search.models import SearchIndex


class Command(BaseCommand):
    help = "Choose the encoder and make the first search index; does nothing when there is one."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            index, _created = prepare_index()
        except EncoderUnavailable as error:
            raise CommandError(str(error)) from error
        except MilvusUnavailable as error:
            if (active := SearchIndex.objects.active()) is None:
                raise CommandError(f"Milvus can't be reached: {error}") from error
            index = active
            # The gallery does without it, and the workers see to the collection once it is there.
            self.stdout.write(f"Searches have to wait for Milvus, which can't be used: {error}")
        if index.refilled_to is not None:
            self.stdout.write(
                "Milvus has lost its vectors: the workers put them back from PostgreSQL."
            )
        elif index.backfilled_to is not None:
            self.stdout.write("Photos that are not searchable yet are embedded by the workers.")
        self.stdout.write(f"encoder: {index.encoder}")
        self.stdout.write(f"reason: {index.reason}")
