from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class SearchConfig(AppConfig):
    name = "search"
    verbose_name = _("Search")

    def ready(self) -> None:
        from gallery.querysets import provide_search_state
        from search import (  # noqa: F401 - connects them
            checks,
            heartbeat,
            loaded_towers,
            preload,
            receivers,
        )
        from search.indexing import count_failed, count_waiting, search_state

        provide_search_state(search_state, count_waiting, count_failed)
