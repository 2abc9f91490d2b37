"""Looking after the collections in Milvus: what is lost or damaged is made anew, by itself.

All of it is derived, so a collection that can't be searched is given up for a new one, which is
filled from PostgreSQL. That takes a while, and a server that is just starting fails as well, so the
failure has to last; and a cause that lies elsewhere must not have it filled over and over.
"""

from __future__ import annotations

import logging
import time
from datetime import timedelta

from django.utils import timezone

from accounts.models import User
from search import milvus
from search.generations import DAMAGED, mend_collection, replace_collection
from search.milvus import CollectionDamaged, MilvusUnavailable
from search.models import IndexRun, SearchIndex

logger = logging.getLogger(__name__)

# How long a collection has to fail before it is given up: of Milvus Lite, and of a server.
PATIENCE_S, PATIENCE_WITH_SERVER_S = 10.0, 600.0
MOST_TRIES, TRIES_WITHIN = 3, timedelta(hours=1)

# Since when (monotonic) this process has seen a collection fail.
_failing: dict[str, float] = {}


def look_after_collections() -> None:
    """Mend the collections of the living generations, as far as Milvus lets it."""
    try:
        for index in SearchIndex.objects.living():
            _look_after(index)
    except MilvusUnavailable as error:
        logger.warning("the collections can't be looked at: %s", error)


def _look_after(index: SearchIndex) -> None:
    name = index.collection_name
    try:
        if mend_collection(index):
            logger.warning("Milvus has lost the collection %s: it is filled again", name)
        milvus.try_collection(name, index.dimension)
    except CollectionDamaged as error:
        logger.warning("the collection %s can't be used: %s", name, error)
        since = _failing.setdefault(name, time.monotonic())
        patience_s = PATIENCE_S if milvus.fails_for_good() else PATIENCE_WITH_SERVER_S
        if time.monotonic() - since >= patience_s and make_anew(index, str(error)):
            _failing.pop(name)
    else:
        _failing.pop(name, None)


def make_anew(index: SearchIndex, reason: str, *, by: User | None = None) -> bool:
    """Give up a damaged collection for a new one, unless that was of no use several times.

    Raises MilvusUnavailable.
    """
    tried = index.runs.filter(
        kind=IndexRun.Kind.REFILL,
        created_at__gte=timezone.now() - TRIES_WITHIN,
        findings__has_key=DAMAGED,
    )
    if tried.count() >= MOST_TRIES:
        logger.error("%s was made anew %s times in vain", index.collection_name, MOST_TRIES)
        return False
    replace_collection(index, reason=reason, by=by)
    return True
