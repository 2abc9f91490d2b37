"""Having photos embedded again: all of them, those that failed, one person's, or a selection."""

from __future__ import annotations

from collections.abc import Sequence

from accounts.models import User
from gallery.models import Photo
from gallery.services import retry_renditions
from search.indexing import enqueue
from search.models import IndexRun, PhotoIndexing, SearchIndex
from search.runs import start_run
from search.tasks import index_photos
from search.verification import MISSING
from t2isearch.dispatch import wake
from t2isearch.leases import Priority

PAGE_SIZE = 2000

ALL, FAILED = "all", "failed"


def reindex(
    index: SearchIndex,
    *,
    scope: str = ALL,
    owner: User | None = None,
    by: User | None = None,
    here: bool = False,
) -> IndexRun:
    """Have all photos of a generation (or `owner`'s) embedded again, or those that `FAILED`.

    Those that failed before, in being rendered, are tried again as well. `here` as in `start_run`.
    """
    if scope == FAILED:
        photos = Photo.objects.all() if owner is None else Photo.objects.filter(owner=owner)
        retry_renditions(photos, priority=Priority.BACKGROUND)
    return start_run(
        index, IndexRun.Kind.REINDEX, by=by, owner=owner, options={"scope": scope}, here=here
    )


def reindex_missing(
    index: SearchIndex, *, owner: User | None = None, by: User | None = None, here: bool = False
) -> IndexRun:
    """Have those embedded or put back that Milvus, when asked, does not have.

    `here` as in `start_run`.
    """
    options = {"repair": True, "only": [MISSING]}
    return start_run(index, IndexRun.Kind.VERIFY, by=by, owner=owner, options=options, here=here)


def reindex_photos(photo_ids: Sequence[int]) -> None:
    """Have these photos embedded again in every living generation."""
    enqueue(photo_ids, priority=Priority.BACKGROUND)
    wake(index_photos)


def reindex_step(run: IndexRun) -> bool:
    """Enqueue one page of photos; returns whether it was the last."""
    rows = run.index.indexings.filter(photo_id__gt=run.position)
    if run.owner is not None:
        rows = rows.filter(photo__owner=run.owner)
    if run.options["scope"] == FAILED:
        rows = rows.filter(state=PhotoIndexing.State.FAILED)
    photo_ids = list(rows.order_by("photo_id").values_list("photo_id", flat=True)[:PAGE_SIZE])
    enqueue(photo_ids, indexes=[run.index], priority=Priority.BACKGROUND)
    wake(index_photos)
    run.findings["enqueued"] = run.findings.get("enqueued", 0) + len(photo_ids)
    if len(photo_ids) < PAGE_SIZE:
        if run.options["scope"] == ALL:
            # And those that were never taken in.
            SearchIndex.objects.filter(pk=run.index_id, backfilled_to=None).update(backfilled_to=0)
        return True
    run.position = photo_ids[-1]
    return False
