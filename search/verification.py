"""Whether Milvus holds what PostgreSQL says it does, and mending it where it does not.

Both sides are read in the order of the photos' primary keys, a page at a time, so that memory is
bounded however many photos there are. What looks wrong is looked at once more, since people upload
and delete photos all the while.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from django.db.models import F, FilteredRelation, Q, QuerySet
from django.utils.translation import gettext_noop

from gallery.models import Photo
from search import milvus
from search.indexing import embed_lost, put_back, taken_at
from search.milvus import Facts
from search.models import IndexRun, PendingDeletion, PhotoIndexing, SearchIndex
from search.tasks import index_photos
from t2isearch.dispatch import wake
from t2isearch.requests import LARGEST_KEY

PAGE_SIZE = 5000
SAMPLE_SIZE = 10

MISSING, ORPHANED = gettext_noop("missing"), gettext_noop("orphaned")
WRONGLY_OWNED, STALE = gettext_noop("wrongly owned"), gettext_noop("stale")
# `missing`: indexed, but without a vector. `orphaned`: a vector without its photo. `wrongly owned`:
# a vector in another person's partition. `stale`: a vector with a time that has been changed since.
FAULTS = (MISSING, ORPHANED, WRONGLY_OWNED, STALE)


@dataclass(frozen=True, slots=True)
class _Expected:
    """What PostgreSQL says of one photo in one generation."""

    owner_id: int
    taken_at: int
    indexed: bool
    failed: bool
    known: bool


@dataclass(slots=True)
class _Faults:
    by_kind: dict[str, list[int]] = field(default_factory=lambda: {kind: [] for kind in FAULTS})

    def add(self, kind: str, photo_id: int) -> None:
        self.by_kind[kind].append(photo_id)

    def photo_ids(self) -> set[int]:
        return {photo_id for ids in self.by_kind.values() for photo_id in ids}


def verify_step(run: IndexRun) -> bool:
    """Compare one page, from `run.position` on; returns whether it was the last.

    `run.options`: `repair` (bool); `only`, a list of the faults that are repaired. `run.findings`
    counts the photos and vectors that were seen, each kind of fault, what was repaired, and holds
    up to ten photo ids of each kind as samples.

    Raises:
        MilvusUnavailable
    """
    index = run.index
    index.refresh_from_db()
    photos = Photo.objects.filter(pk__gt=run.position)
    if run.owner is not None:
        photos = photos.filter(owner=run.owner)
    page = _expected(index, photos.order_by("pk")[:PAGE_SIZE])
    is_last = len(page) < PAGE_SIZE
    last = LARGEST_KEY if is_last else max(page)
    owner_id = run.owner.pk if run.owner else None
    found = {
        facts.photo_id: facts
        for facts in milvus.facts_between(
            index.collection_name, run.position + 1, last, owner_id=owner_id
        )
    }
    faults = _confirmed(index, _compare(page, found).photo_ids())
    _count(run, page, found, faults)
    if run.options.get("repair"):
        for kind in run.options.get("only") or FAULTS:
            _repair(index, kind, faults.by_kind[kind])
            run.findings["repaired"] += len(faults.by_kind[kind])
    run.position = last
    return is_last


def _expected(index: SearchIndex, photos: QuerySet[Photo]) -> dict[int, _Expected]:
    rows = photos.annotate(
        row=FilteredRelation("indexings", condition=Q(indexings__index=index))
    ).annotate(row_state=F("row__state"), row_indexed_at=F("row__indexed_at"))
    return {
        photo.pk: _Expected(
            owner_id=photo.owner_id,
            taken_at=taken_at(photo),
            # What is still to be put back into a lost collection is not missing.
            indexed=photo.row_indexed_at is not None
            and (index.refilled_to is None or photo.pk <= index.refilled_to),
            # What can't be rendered is never embedded either.
            failed=photo.row_state == PhotoIndexing.State.FAILED
            or photo.state == Photo.State.FAILED,
            known=photo.row_state is not None
            or photo.state != Photo.State.READY
            or (index.backfilled_to is not None and photo.pk > index.backfilled_to),
        )
        for photo in rows.only("pk", "owner_id", "taken_at", "state")
    }


def _compare(expected: dict[int, _Expected], found: dict[int, Facts]) -> _Faults:
    faults = _Faults()
    for photo_id, photo in expected.items():
        vector = found.get(photo_id)
        if vector is None:
            if photo.indexed or not photo.known:
                faults.add(MISSING, photo_id)
        elif vector.owner_id != photo.owner_id:
            faults.add(WRONGLY_OWNED, photo_id)
        elif photo.indexed and vector.taken_at != photo.taken_at:
            faults.add(STALE, photo_id)
    for photo_id in found.keys() - expected.keys():
        faults.add(ORPHANED, photo_id)
    return faults


def _confirmed(index: SearchIndex, suspects: Collection[int]) -> _Faults:
    """Look at the suspects once more, PostgreSQL first: what is true now counts."""
    if not suspects:
        return _Faults()
    expected = _expected(index, Photo.objects.filter(pk__in=suspects))
    going = set(
        PendingDeletion.objects.filter(photo_id__in=suspects).values_list("photo_id", flat=True)
    )
    found = {
        facts.photo_id: facts for facts in milvus.facts_of(index.collection_name, list(suspects))
    }
    return _compare(
        expected, {photo_id: facts for photo_id, facts in found.items() if photo_id not in going}
    )


def _count(
    run: IndexRun,
    page: dict[int, _Expected],
    found: dict[int, Facts],
    faults: _Faults,
) -> None:
    findings: dict[str, Any] = run.findings
    for name in ("photos", "vectors", "waiting", "failed", "repaired", *FAULTS):
        findings.setdefault(name, 0)
    findings["photos"] += len(page)
    findings["vectors"] += len(found)
    findings["failed"] += sum(photo.failed for photo in page.values())
    findings["waiting"] += sum(
        not photo.indexed and not photo.failed and photo.known for photo in page.values()
    )
    samples = findings.setdefault("samples", {})
    for kind, photo_ids in faults.by_kind.items():
        findings[kind] += len(photo_ids)
        if photo_ids:
            samples[kind] = [*samples.get(kind, []), *sorted(photo_ids)][:SAMPLE_SIZE]


def _repair(index: SearchIndex, kind: str, photo_ids: list[int]) -> None:
    if not photo_ids:
        return
    if kind in {ORPHANED, WRONGLY_OWNED}:
        milvus.delete(index.collection_name, photo_ids)
    if kind == ORPHANED:
        return
    rows = PhotoIndexing.objects.filter(
        index=index, photo_id__in=photo_ids, indexed_at__isnull=False
    ).select_related("photo")
    kept = [row for row in rows if row.embedding is not None]
    put_back(index, kept)
    _embed_again(index, set(photo_ids) - {row.photo_id for row in kept})


def _embed_again(index: SearchIndex, photo_ids: Iterable[int]) -> None:
    """For those whose embedding is not kept, or that were never taken in."""
    there = list(
        Photo.objects.filter(pk__in=photo_ids, state=Photo.State.READY).values_list("pk", flat=True)
    )
    if there and index.is_living:
        embed_lost(index, there)
        wake(index_photos)


def is_clean(findings: dict[str, Any]) -> bool:
    """Whether a finished verification found no fault."""
    return not any(findings.get(kind) for kind in FAULTS)
