"""Whether the process lives (`/healthz`) and whether it can do its work (`/readyz`)."""

from __future__ import annotations

import logging
from collections.abc import Callable

from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from search import milvus
from search.encoders import load_text_encoder
from search.models import SearchIndex
from t2isearch.celery import ping_broker

logger = logging.getLogger(__name__)


def _database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def _milvus() -> None:
    milvus.ping()


def _index() -> None:
    index = SearchIndex.objects.active()
    if index is None:
        raise LookupError("no active index: run `manage.py prepare_search`")
    if not milvus.has_collection(index.collection_name):
        raise LookupError(f"the collection {index.collection_name} is gone")
    load_text_encoder(index.encoder_info)  # once a process; the first search need not wait for it


PARTS: dict[str, Callable[[], None]] = {
    "database": _database,
    "broker": ping_broker,
    "milvus": _milvus,
    "index": _index,
}


@require_safe
@never_cache
def healthz(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"status": "ok"})


@require_safe
@never_cache
def readyz(request: HttpRequest) -> HttpResponse:
    """200 when every part works, else 503; each part is named with "ok" or "failed"."""
    parts = {}
    for name, check in PARTS.items():
        try:
            check()
        except Exception as error:
            # What exactly failed is for the log: this page is public.
            logger.warning("not ready: %s: %s", name, error)
            parts[name] = "failed"
        else:
            parts[name] = "ok"
    ready = set(parts.values()) == {"ok"}
    return JsonResponse(
        {"status": "ready" if ready else "not ready", "parts": parts}, status=200 if ready else 503
    )
