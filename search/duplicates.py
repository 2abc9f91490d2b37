"""Near-duplicates: groups of a person's photos that are almost the same picture.

Vectors find the candidates: pairs above `LIKE`, block by block over the embeddings that PostgreSQL
keeps. An encoder says what is on a photo and may call two photos of the same thing the same, so the
pictures themselves, as small as their placeholders, decide.
"""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from numpy.typing import NDArray
from PIL import Image

from accounts.models import User
from gallery.models import Photo
from search import milvus
from search.models import DuplicateScan, PhotoIndexing, SearchIndex
from t2isearch.dispatch import wake
from t2isearch.leases import claim

# The cosine from which on two photos may be the same picture.
LIKE = 0.93
# How far apart the pictures may be: the mean difference of their pixels, of 255, and how well one
# follows the other.
MOST_DIFFERENCE = 14.0
LEAST_CORRELATION = 0.9
# Of the ratios of width to height: a crop or a rotation is another picture.
MOST_STRETCH = 1.15

BLOCK = 512
# What is shown at most; the next ones come up when these are dealt with.
MOST_GROUPS = 500
_SIDE = 16


@dataclass(frozen=True, slots=True)
class Group:
    """Photos that are almost the same; the first, the largest, is the one to keep."""

    photos: list[Photo]

    @property
    def best(self) -> Photo:
        return self.photos[0]

    @property
    def key(self) -> str:
        return "-".join(str(photo.pk) for photo in sorted(self.photos, key=lambda each: each.pk))


def start_scan(owner: User) -> DuplicateScan | None:
    """Have a worker look for duplicates, from the beginning; None when there is no index."""
    from search.tasks import compare_photos

    index = SearchIndex.objects.active()
    if index is None:
        return None
    total = _searchable(index, owner).count()
    with transaction.atomic():
        scan, _ = DuplicateScan.objects.update_or_create(
            owner=owner,
            defaults={
                "index": index,
                "state": DuplicateScan.State.RUNNING,
                "compared": 0,
                "position": 0,
                "total": total,
                "pairs": [],
                "attempts": 0,
                "due_at": timezone.now(),
                "started_at": timezone.now(),
                "finished_at": None,
            },
        )
        wake(compare_photos)
    return scan


def groups_of(scan: DuplicateScan) -> list[Group]:
    """What was found and is still there, the largest groups first; not what was to be kept."""
    kept = {tuple(group) for group in scan.kept}
    sets = [ids for ids in _components(scan.pairs) if tuple(ids) not in kept]
    photos = (
        Photo.objects.owned_by(scan.owner)
        .for_display()
        .in_bulk([photo_id for ids in sets for photo_id in ids])
    )
    groups = []
    for ids in sets:
        there = [photos[photo_id] for photo_id in ids if photo_id in photos]
        if len(there) > 1 and tuple(photo.pk for photo in there) not in kept:
            there.sort(key=lambda photo: (-photo.width * photo.height, -photo.size_bytes, photo.pk))
            groups.append(Group(there))
    groups.sort(key=lambda group: (-len(group.photos), -group.best.pk))
    return groups[:MOST_GROUPS]


def keep_all(scan: DuplicateScan, photo_ids: Sequence[int]) -> None:
    """Never show these as a group again."""
    with transaction.atomic():
        locked = DuplicateScan.objects.select_for_update().get(pk=scan.pk)
        group = sorted(photo_ids)
        if group not in locked.kept:
            locked.kept.append(group)
            locked.save(update_fields=["kept"])


def scans_wait() -> bool:
    """Whether a scan waits for a worker right now."""
    return _due().filter(due_at__lte=timezone.now()).exists()


def work_on_scans(*, for_seconds: float) -> bool:
    """Take the scans that are due on; returns whether there may be more to do.

    A scan that ended its worker each time is given up.
    """
    DuplicateScan.objects.filter(
        state=DuplicateScan.State.RUNNING,
        attempts__gte=settings.WORK_MAX_ATTEMPTS,
        due_at__lte=timezone.now(),
    ).update(state=DuplicateScan.State.FAILED, finished_at=timezone.now())
    deadline = time.monotonic() + for_seconds
    while time.monotonic() < deadline:
        claimed = claim(_due(), limit=1)
        if not claimed:
            return False
        _work_on(claimed[0], until=deadline)
    return True


def _due() -> QuerySet[DuplicateScan]:
    return DuplicateScan.objects.filter(
        state=DuplicateScan.State.RUNNING, attempts__lt=settings.WORK_MAX_ATTEMPTS
    ).select_related("index", "owner")


def _work_on(scan: DuplicateScan, *, until: float) -> None:
    """Compare block after block with all photos before it."""
    ids, matrix = _embeddings(scan.index, scan.owner)
    # Photos that were added meanwhile have higher keys; the position is a key and not a row.
    start = int(np.searchsorted(ids, scan.position, side="right"))
    while start < len(ids):
        end = min(start + BLOCK, len(ids))
        found = _like_pairs(ids, matrix, start, end)
        scan.pairs += _same_pictures(found)
        scan.position = int(ids[end - 1])
        scan.compared = end
        changes = {
            "pairs": scan.pairs,
            "position": scan.position,
            "compared": end,
            "total": len(ids),
            "attempts": 1,
            "due_at": timezone.now() + settings.WORK_LEASE,
        }
        ours = DuplicateScan.objects.filter(pk=scan.pk, started_at=scan.started_at)
        if not ours.update(**changes):
            return  # it was started anew
        start = end
        if time.monotonic() >= until and start < len(ids):
            ours.update(attempts=0, due_at=timezone.now())
            return
    DuplicateScan.objects.filter(pk=scan.pk, started_at=scan.started_at).update(
        state=DuplicateScan.State.DONE, finished_at=timezone.now(), total=len(ids)
    )


def _searchable(index: SearchIndex, owner: User) -> QuerySet[PhotoIndexing]:
    return PhotoIndexing.objects.filter(
        index=index, photo__owner=owner, photo__trashed_at=None, indexed_at__isnull=False
    )


def _embeddings(index: SearchIndex, owner: User) -> tuple[NDArray[np.int64], NDArray[np.float16]]:
    """The keys of the owner's searchable photos, in order, and their embeddings as rows."""
    rows = list(_searchable(index, owner).order_by("photo_id").values_list("photo_id", "embedding"))
    missing = milvus.embeddings(
        index.collection_name, [photo_id for photo_id, embedding in rows if embedding is None]
    )
    kept: list[tuple[int, bytes]] = []
    for photo_id, embedding in rows:
        if embedding is not None:
            kept.append((photo_id, bytes(embedding)))
        elif photo_id in missing:
            kept.append((photo_id, missing[photo_id].astype("<f2").tobytes()))
    ids = np.array([photo_id for photo_id, _ in kept], dtype=np.int64)
    if not kept:
        return ids, np.empty((0, index.dimension), dtype=np.float16)
    matrix = np.frombuffer(b"".join(each for _, each in kept), dtype="<f2")
    return ids, matrix.reshape(len(kept), -1)


def _like_pairs(
    ids: NDArray[np.int64], matrix: NDArray[np.float16], start: int, end: int
) -> list[tuple[int, int]]:
    """Pairs above `LIKE` of a row in `start:end` with a row before it."""
    block = matrix[start:end].astype(np.float32)
    pairs: list[tuple[int, int]] = []
    for first in range(0, end, BLOCK):
        last = min(first + BLOCK, end)
        # Normalised as they were kept: what float16 loses is far below what `LIKE` tells apart.
        similarities = block @ matrix[first:last].astype(np.float32).T
        rows, columns = np.nonzero(similarities >= LIKE)
        for row, column in zip(rows + start, columns + first, strict=True):
            if column < row:
                pairs.append((int(ids[column]), int(ids[row])))
    return pairs


def _same_pictures(pairs: list[tuple[int, int]]) -> list[list[int]]:
    """Those pairs whose pictures are alike."""
    ids = {photo_id for pair in pairs for photo_id in pair}
    pictures: dict[int, tuple[float, NDArray[np.float32]]] = {}
    photos = Photo.objects.filter(pk__in=ids).values_list("pk", "width", "height", "placeholder")
    for photo_id, width, height, placeholder in photos:
        picture = _small(placeholder)
        if picture is not None:
            pictures[photo_id] = (width / height, picture)
    return [
        [first, second]
        for first, second in pairs
        if first in pictures and second in pictures and _alike(pictures[first], pictures[second])
    ]


def _alike(
    first: tuple[float, NDArray[np.float32]], second: tuple[float, NDArray[np.float32]]
) -> bool:
    stretch = first[0] / second[0]
    if not 1 / MOST_STRETCH <= stretch <= MOST_STRETCH:
        return False
    one, other = first[1], second[1]
    if float(np.abs(one - other).mean()) > MOST_DIFFERENCE:
        return False
    one, other = one - one.mean(), other - other.mean()
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    # Two pictures of one colour have no pattern to follow.
    return lengths < 1 or float((one * other).sum()) / lengths >= LEAST_CORRELATION


@lru_cache(maxsize=4096)
def _small(placeholder: str) -> NDArray[np.float32] | None:
    """The placeholder's pixels, `(16, 16, 3)`; None when it can't be read."""
    try:
        data = base64.b64decode(placeholder.partition("base64,")[2])
        with Image.open(io.BytesIO(data)) as image:
            square = image.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
    except (OSError, ValueError):
        return None
    return np.asarray(square, dtype=np.float32)


def _components(pairs: Iterable[Sequence[int]]) -> list[list[int]]:
    """The groups that pairs hang together in, each in order of its keys."""
    parent: dict[int, int] = {}

    def root(node: int) -> int:
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for first, second in pairs:
        parent[root(first)] = root(second)
    groups: dict[int, list[int]] = {}
    for node in sorted(parent):
        groups.setdefault(root(node), []).append(node)
    return list(groups.values())
