from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from gallery.models import Photo
from search.generations import progress
from search.models import SearchIndex


class Command(BaseCommand):
    help = "List the generations of the index, and how far each is."

    def handle(self, *args: Any, **options: Any) -> None:
        generations = list(SearchIndex.objects.kept())
        if not generations:
            self.stdout.write("There is none yet: `manage.py prepare_search` makes the first.")
        for index in generations:
            found = progress(index)
            state = "paused" if index.paused_at else index.get_status_display().lower()
            self.stdout.write(
                f"{index.pk}  {state:<8}  {index.encoder} at {index.short_revision}, "
                f"{index.dimension} dimensions: {found.searchable} of {found.photos} photos, "
                f"{found.waiting + found.unknown} waiting, {found.failed} failed"
            )
        if unrendered := Photo.objects.filter(state=Photo.State.FAILED).count():
            self.stdout.write(
                f"Beside these, {unrendered} could not be rendered: `manage.py reindex --failed` "
                "tries them again."
            )
