"""System checks of the index (`manage.py check --database default`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import DatabaseError
from django.utils.translation import gettext as _

from search import milvus
from search.models import SearchIndex


@register(Tags.database)
def collection_matches(
    *, databases: Sequence[str] | None = None, **_kwargs: Any
) -> list[CheckMessage]:
    """The active generation's collection holds vectors of the generation's dimension."""
    if not databases:
        return []
    try:
        index = SearchIndex.objects.active()
        if index is None:
            return []
        found = milvus.collection_dimension(index.collection_name)
    except (DatabaseError, milvus.MilvusUnavailable) as error:
        return [Warning(_("The search index can't be checked: %s") % error, id="search.W001")]
    if found not in {None, index.dimension}:
        return [
            Error(
                _("The collection %(name)s has %(found)d dimensions, its encoder %(wanted)d.")
                % {"name": index.collection_name, "found": found, "wanted": index.dimension},
                id="search.E001",
            )
        ]
    return []
