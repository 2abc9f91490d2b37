"""The owner's photos nearest to a vector, whatever filters there are.

What never changes is filtered by Milvus. What does is answered by PostgreSQL: few photos are named
to Milvus, of many more hits are asked for than are needed, and where even that is not enough all
photos that fit are compared one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from django.db.models import QuerySet
from numpy.typing import NDArray

from accounts.models import User
from gallery.querysets import PhotoQuerySet
from search import milvus
from search.indexing import seconds
from search.milvus import Hit
from search.models import PhotoIndexing, SearchIndex
from search.planning import Plan

# How many photos are named in a filter expression.
MOST_LISTED = 1000
# How many embeddings are compared at a time: 2 MB of them at 512 dimensions.
CHUNK = 2000
# The largest `IN` that is sent to PostgreSQL.
_MOST_LOOKED_UP = 10_000


@dataclass(frozen=True, slots=True)
class Ranking:
    """Hits, most similar first; `complete` when there are no others."""

    hits: list[Hit]
    complete: bool


def rank(
    *,
    index: SearchIndex,
    owner: User,
    plan: Plan,
    photos: PhotoQuerySet,
    vector: NDArray[np.float32],
    depth: int,
) -> Ranking:
    """Those of `photos` that are nearest to `vector`: at least `depth`, or all that there are.

    Each is in `photos` right now, so a stale or foreign vector costs a place that is filled up.

    Raises:
        MilvusUnavailable
    """
    if plan.changing_filters:
        ids = list(photos.values_list("pk", flat=True)[: MOST_LISTED + 1])
        if len(ids) <= MOST_LISTED:
            hits = _among(index, owner, vector, ids)
            return Ranking(_with_missed(index, photos, vector, hits), complete=True)
    asked = depth + 10
    while True:
        asked = min(asked, milvus.MOST_HITS)
        hits = milvus.search(
            index.collection_name,
            vector,
            owner_id=owner.pk,
            limit=asked,
            taken_after=seconds(plan.taken_after) if plan.taken_after else None,
            taken_before=seconds(plan.taken_before) if plan.taken_before else None,
        )
        there = _present(photos, [hit.photo_id for hit in hits])
        found = _ordered(hit for hit in hits if hit.photo_id in there)
        if len(hits) < asked:
            return Ranking(_with_missed(index, photos, vector, found), complete=True)
        if len(found) >= depth:
            return Ranking(found, complete=False)
        if asked == milvus.MOST_HITS:
            return Ranking(_one_by_one(index, owner, photos, vector), complete=True)
        asked *= 4


def _one_by_one(
    index: SearchIndex, owner: User, photos: PhotoQuerySet, vector: NDArray[np.float32]
) -> list[Hit]:
    """All of `photos`, from the embeddings that PostgreSQL keeps, or else by asking for each."""
    hits, not_kept = _compared(_embedded(index, photos), vector)
    for start in range(0, len(not_kept), MOST_LISTED):
        hits += _among(index, owner, vector, not_kept[start : start + MOST_LISTED])
    return _ordered(hits)


def _with_missed(
    index: SearchIndex, photos: PhotoQuerySet, vector: NDArray[np.float32], hits: list[Hit]
) -> list[Hit]:
    """All hits there should be: HNSW's graph may not lead to each vector, even if all are wanted.

    Not while a lost collection is filled again, which takes its time.
    """
    if index.refilled_to is not None:
        return hits
    missed = _embedded(index, photos).exclude(photo_id__in=[hit.photo_id for hit in hits])
    more, _ = _compared(missed, vector)
    return _ordered([*hits, *more]) if more else hits


def _embedded(index: SearchIndex, photos: PhotoQuerySet) -> QuerySet[PhotoIndexing]:
    return PhotoIndexing.objects.filter(index=index, indexed_at__isnull=False, photo__in=photos)


def _compared(
    indexings: QuerySet[PhotoIndexing], vector: NDArray[np.float32]
) -> tuple[list[Hit], list[int]]:
    """The similarities of photos to `vector`, and the photos whose embedding is not kept."""
    hits: list[Hit] = []
    not_kept: list[int] = []
    rows = indexings.values_list("photo_id", "embedding").iterator(chunk_size=CHUNK)
    for chunk in _chunks(rows):
        kept = [(photo_id, bytes(each)) for photo_id, each in chunk if each is not None]
        not_kept += [photo_id for photo_id, each in chunk if each is None]
        if kept:
            matrix = kept_matrix([embedding for _, embedding in kept])
            similarities = matrix @ vector
            hits += [
                Hit(photo_id, float(similarity))
                for (photo_id, _), similarity in zip(kept, similarities, strict=True)
            ]
    return hits, not_kept


def kept_matrix(embeddings: Sequence[bytes]) -> NDArray[np.float32]:
    """Kept embeddings as normalised float32 rows, `(n, dimension)`."""
    matrix = np.frombuffer(b"".join(embeddings), dtype="<f2").reshape(len(embeddings), -1)
    rows = matrix.astype(np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def _among(
    index: SearchIndex, owner: User, vector: NDArray[np.float32], photo_ids: Sequence[int]
) -> list[Hit]:
    if not photo_ids:
        return []
    return _ordered(
        milvus.search(
            index.collection_name,
            vector,
            owner_id=owner.pk,
            limit=len(photo_ids),
            photo_ids=photo_ids,
        )
    )


def _ordered(hits: Iterable[Hit]) -> list[Hit]:
    return sorted(hits, key=lambda hit: (-hit.similarity, hit.photo_id))


def _present(photos: PhotoQuerySet, photo_ids: Sequence[int]) -> set[int]:
    present: set[int] = set()
    for start in range(0, len(photo_ids), _MOST_LOOKED_UP):
        part = photo_ids[start : start + _MOST_LOOKED_UP]
        present.update(photos.filter(pk__any_of=part).values_list("pk", flat=True))
    return present


def _chunks(
    rows: Iterator[tuple[int, bytes | memoryview | None]],
) -> Iterator[list[tuple[int, bytes | memoryview | None]]]:
    while chunk := list(islice(rows, CHUNK)):
        yield chunk
