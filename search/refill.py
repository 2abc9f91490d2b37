"""Filling a lost or new collection from the embeddings that PostgreSQL keeps, without the model."""

from __future__ import annotations

from search.indexing import embed_lost, put_back
from search.models import IndexRun, SearchIndex
from search.tasks import index_photos
from t2isearch.dispatch import wake

PAGE_SIZE = 2000
# Pages between two seals.
SEAL_EVERY = 5


def refill_step(run: IndexRun) -> bool:
    """Put back one page of vectors, by photo; returns whether it was the last.

    Photos whose embedding is not kept are embedded again. Raises MilvusUnavailable.
    """
    index = run.index
    indexed = index.indexings.filter(indexed_at__isnull=False)
    page = list(
        indexed.filter(photo_id__gt=run.position)
        .select_related("photo")
        .order_by("photo_id")[:PAGE_SIZE]
    )
    kept = [row for row in page if row.embedding is not None]
    is_last = len(page) < PAGE_SIZE
    pages = run.findings["pages"] = run.findings.get("pages", 0) + 1
    put_back(index, kept, seal=is_last or pages % SEAL_EVERY == 0)
    lost = [row.photo_id for row in page if row.embedding is None]
    if lost:
        embed_lost(index, lost)
        wake(index_photos)
    run.findings["put back"] = run.findings.get("put back", 0) + len(kept)
    run.findings["to be embedded"] = run.findings.get("to be embedded", 0) + len(lost)
    run.position = page[-1].photo_id if page else run.position
    SearchIndex.objects.filter(pk=index.pk, refilled_to__isnull=False).update(
        refilled_to=None if is_last else run.position
    )
    return is_last
