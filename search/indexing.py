"""Brings photos into the index and out of it. Safe to run any number of times and at once."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from math import inf
from time import monotonic, sleep

import numpy as np
from django.conf import settings
from django.db import transaction
from django.db.models import Count, Exists, OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext_noop
from numpy.typing import NDArray

from gallery.models import Photo
from gallery.querysets import Annotations, PhotoQuerySet
from gallery.storage import StorageUnavailable
from search import milvus
from search.encoders import EncoderUnavailable, EncodingError, load_image_encoder
from search.milvus import Entry, MilvusUnavailable
from search.models import IndexRun, PendingDeletion, PhotoIndexing, SearchIndex
from search.pipeline import EmbeddingPipeline, Results, batch_size
from t2isearch.leases import Outages, Priority, backoff, claim, exhausted, give_back

logger = logging.getLogger(__name__)

GAVE_UP = gettext_noop(
    "The photo could not be made searchable, although it was tried several times."
)
# How long photos that are ready wait for others that will be in a moment.
FILL_SECONDS = 0.1
# How many photos are taken into a new generation at a time.
BACKFILL_CHUNK = 1000
# How many vectors are written in a turn before they are sealed; at its end they are in any case.
SEAL_AFTER = 256

_storage_outages = Outages()


def search_state() -> Annotations:
    """`searchable` and `search_problem` of each photo, in the active generation."""
    active = PhotoIndexing.objects.filter(
        photo=OuterRef("pk"), index__status=SearchIndex.Status.ACTIVE
    )
    return {
        "searchable": Exists(active.filter(indexed_at__isnull=False)),
        "search_problem": Coalesce(
            Subquery(active.filter(state=PhotoIndexing.State.FAILED).values("error")[:1]), Value("")
        ),
    }


def count_waiting(photos: PhotoQuerySet) -> int:
    """How many of these ready photos the active generation does not hold yet, but will."""
    index = SearchIndex.objects.active()
    if index is None:
        return photos.count()
    rows = PhotoIndexing.objects.filter(index=index)
    waiting = rows.filter(
        state=PhotoIndexing.State.PENDING, indexed_at=None, photo__in=photos
    ).count()
    if index.backfilled_to is not None:
        # Those that were there before the generation have no row until their turn comes.
        later = photos.filter(pk__gt=index.backfilled_to)
        waiting += later.exclude(pk__in=rows.values("photo")).count()
    return waiting


def count_failed(photos: PhotoQuerySet) -> int:
    """How many of these photos could not be taken into the active generation."""
    index = SearchIndex.objects.active()
    failed = PhotoIndexing.objects.filter(index=index, state=PhotoIndexing.State.FAILED)
    return failed.filter(photo__in=photos).count()


def retry_failed(owner_id: int) -> int:
    """Have embedded again what failed of a person's photos; returns how many photos."""
    failed = PhotoIndexing.objects.filter(
        state=PhotoIndexing.State.FAILED,
        index__status__in=[SearchIndex.Status.ACTIVE, SearchIndex.Status.BUILDING],
        photo__owner=owner_id,
        photo__trashed_at=None,
    )
    photos = failed.aggregate(photos=Count("photo", distinct=True))["photos"]
    failed.update(
        state=PhotoIndexing.State.PENDING,
        error="",
        attempts=0,
        due_at=timezone.now(),
        owner_id=owner_id,
        priority=Priority.PERSON,
    )
    return int(photos)


def enqueue(
    photo_ids: Sequence[int],
    *,
    indexes: Sequence[SearchIndex] | None = None,
    priority: Priority | None = None,
) -> None:
    """Have these photos embedded (again) in every living generation, or in `indexes`.

    Until that is done, a photo that is in Milvus stays there. `priority` is each photo's own unless
    given; what waits with a higher one already is left alone.
    """
    if indexes is None:
        indexes = list(SearchIndex.objects.living())
    photos = Photo.objects.filter(pk__in=photo_ids).values_list("pk", "owner_id", "priority")
    # Many rows are locked in one order everywhere, so that two never wait for each other.
    indexes = sorted(indexes, key=lambda index: index.pk)
    sooner: set[tuple[int, int]] = set()
    if priority is not None and priority > Priority.PERSON:
        pending = PhotoIndexing.objects.filter(state=PhotoIndexing.State.PENDING)
        sooner = set(
            pending.filter(
                index__in=indexes, photo__in=photo_ids, priority__lt=priority
            ).values_list("photo_id", "index_id")
        )
    PhotoIndexing.objects.bulk_create(
        [
            PhotoIndexing(
                photo_id=photo_id,
                index=index,
                owner_id=owner_id,
                priority=own if priority is None else priority,
            )
            for photo_id, owner_id, own in photos.order_by("pk")
            for index in indexes
            if (photo_id, index.pk) not in sooner
        ],
        update_conflicts=True,
        unique_fields=["photo", "index"],
        update_fields=["state", "error", "attempts", "due_at", "owner_id", "priority"],
    )


def embed_lost(index: SearchIndex, photo_ids: Sequence[int]) -> None:
    """Have photos embedded again whose vectors are lost and whose embeddings are not kept."""
    enqueue(photo_ids, indexes=[index], priority=Priority.BACKGROUND)
    index.indexings.filter(photo__in=photo_ids, state=PhotoIndexing.State.PENDING).update(
        indexed_at=None
    )


def backfill(index: SearchIndex, *, at_most: int = BACKFILL_CHUNK) -> int:
    """Take in the next photos that were there before the generation; returns how many.

    Goes through the photos by primary key and remembers where it is in `index.backfilled_to`.
    """
    with transaction.atomic():
        # Another worker that is at it does it for this one as well.
        locked = (
            SearchIndex.objects.select_for_update(skip_locked=True)
            .filter(pk=index.pk, backfilled_to__isnull=False)
            .first()
        )
        if locked is None or not locked.is_living:
            return 0
        ready = Photo.objects.filter(pk__gt=locked.backfilled_to, state=Photo.State.READY)
        photos = list(ready.order_by("pk").values_list("pk", "owner_id")[:at_most])
        PhotoIndexing.objects.bulk_create(
            [
                PhotoIndexing(
                    photo_id=photo_id,
                    index=locked,
                    owner_id=owner_id,
                    priority=Priority.BACKGROUND,
                )
                for photo_id, owner_id in photos
            ],
            ignore_conflicts=True,
        )
        locked.backfilled_to = photos[-1][0] if photos else None
        locked.save(update_fields=["backfilled_to"])
    return len(photos)


def work_waits() -> bool:
    """Whether a photo waits for being embedded right now."""
    return (
        _waiting().filter(due_at__lte=timezone.now()).exists()
        or SearchIndex.objects.living().filter(backfilled_to__isnull=False, paused_at=None).exists()
    )


def _waiting() -> QuerySet[PhotoIndexing]:
    return PhotoIndexing.objects.filter(
        state=PhotoIndexing.State.PENDING, attempts__lt=settings.WORK_MAX_ATTEMPTS
    )


@dataclass(frozen=True)
class _Batch:
    """Claimed rows of one generation, the photos of them that still exist, and their embeddings."""

    index: SearchIndex
    claimed: list[PhotoIndexing]
    photos: dict[int, Photo]
    results: Future[Results]


def index_due_photos(*, for_seconds: float = 0.0) -> bool:
    """Embed and upsert waiting photos, a batch at least; returns whether there may be more.

    Goes on for about `for_seconds`: while one batch is embedded, the next is claimed and decoded,
    and the one before is written. The active generation comes first: people wait for it. A batch is
    of several owners and of one priority, so whoever waits is in the next one that is claimed. An
    outage of Milvus or an encoder that can't be loaded gives the batches back and counts for no
    photo's attempts.
    """
    deadline = monotonic() + for_seconds
    unsealed = 0
    with EmbeddingPipeline() as pipeline:
        running: _Batch | None = None
        while True:
            following = None
            if running is None or monotonic() < deadline:
                following = _next_batch(pipeline, running)
            if running is None and following is None:
                return False
            if running is not None:
                unsealed += len(running.photos)
                is_last = following is None or following.index != running.index
                seal = is_last or unsealed >= SEAL_AFTER
                if not _finish(running, seal=seal):
                    if following is not None:
                        give_back(following.claimed, after=backoff(1))
                    return False
                unsealed = 0 if seal else unsealed
            if following is None and monotonic() >= deadline:
                return True
            running = following


def _next_batch(pipeline: EmbeddingPipeline, running: _Batch | None) -> _Batch | None:
    """Claim the next photos and start to decode them."""
    for index in SearchIndex.objects.living().filter(paused_at=None):
        waiting = _waiting().filter(index=index)
        if not _encoder_is_at_hand(index, waiting):
            continue
        limit = batch_size(index.encoder_info)
        while not (claimed := claim(waiting, limit=limit)):
            if not backfill(index):
                break
        if claimed:
            _fill(claimed, waiting, limit, running)
            photos = Photo.objects.in_bulk([row.photo_id for row in claimed])
            return _Batch(index, claimed, photos, pipeline.submit(index.encoder_info, photos))
    return None


def _encoder_is_at_hand(index: SearchIndex, waiting: QuerySet[PhotoIndexing]) -> bool:
    """Whether there is work for the encoder and it is loaded.

    Loaded before photos are claimed: a first download may take longer than their lease.
    """
    if index.backfilled_to is None and not waiting.filter(due_at__lte=timezone.now()).exists():
        return False
    try:
        load_image_encoder(index.encoder_info)
    except EncoderUnavailable as error:
        logger.warning("the generation %s waits for its encoder: %s", index.pk, error)
        _note_obstacle(index, str(error))
        return False
    return True


def _fill(
    claimed: list[PhotoIndexing],
    waiting: QuerySet[PhotoIndexing],
    limit: int,
    running: _Batch | None,
) -> None:
    """Add to a batch the photos of its kind that are just being rendered, as they become ready.

    Costs no time while the batch before is embedded, and at most FILL_SECONDS otherwise.
    """
    if claimed[0].attempts > 1:  # claimed alone, for what it may do to others
        return
    priority = claimed[0].priority
    coming = Photo.objects.filter(state=Photo.State.PROCESSING, priority=priority)
    deadline = monotonic() + FILL_SECONDS
    while len(claimed) < limit and coming.exists():
        if running.results.done() if running else monotonic() >= deadline:
            return
        sleep(FILL_SECONDS / 8)
        alike = waiting.filter(attempts=0, priority=priority)
        claimed += claim(alike, limit=limit - len(claimed))


def _finish(batch: _Batch, *, seal: bool) -> bool:
    """Write a batch's results; returns whether it makes sense to go on at once."""
    index, photos = batch.index, batch.photos
    rows = {row.photo_id: row for row in batch.claimed if row.photo_id in photos}
    try:
        results = batch.results.result()
        embeddings = {
            photo_id: result
            for photo_id, result in results.items()
            if not isinstance(result, Exception)
        }
        milvus.upsert(
            index.collection_name,
            [
                Entry(photo_id, photos[photo_id].owner_id, taken_at(photos[photo_id]), embedding)
                for photo_id, embedding in embeddings.items()
            ],
            seal=seal,
        )
    except (MilvusUnavailable, EncoderUnavailable) as error:
        logger.warning("indexing waits: %s", error)
        give_back(batch.claimed, after=backoff(1))
        _note_obstacle(index, str(error))
        return False
    except Exception as error:
        # It may have been any of them: from now on each is tried alone.
        logger.exception("a batch of %s could not be embedded", len(batch.claimed))
        results = dict.fromkeys(rows, error)
        embeddings = {}
    _note_obstacle(index, "")
    _record(index, rows, embeddings)
    for photo_id, result in results.items():
        row = rows[photo_id]
        if isinstance(result, StorageUnavailable):
            logger.warning("photo %s waits for the storage: %s", photo_id, result)
            _storage_outages.put_off(row)
            continue
        _storage_outages.over(row)
        if isinstance(result, Exception):
            _record_failure(row, result)
    return True


def _note_obstacle(index: SearchIndex, reason: str) -> None:
    """Say in a build's run what it waits for; nothing when it goes on."""
    IndexRun.objects.filter(
        index=index, kind=IndexRun.Kind.BUILD, state=IndexRun.State.RUNNING
    ).exclude(error=reason).update(error=reason)


def taken_at(photo: Photo) -> int:
    """The photo's time as Milvus holds it."""
    return seconds(photo.taken_at) if photo.taken_at else milvus.NO_TIME


def seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def _record(
    index: SearchIndex,
    rows: dict[int, PhotoIndexing],
    embeddings: dict[int, NDArray[np.float32]],
) -> None:
    with transaction.atomic():
        # A generation that was retired meanwhile takes in nothing more.
        if not SearchIndex.objects.living().filter(pk=index.pk).exists():
            logger.info("results for the generation %s are dropped: it is retired", index.pk)
            return
        # Locked, so that a photo is either still here and recorded, or its deletion is seen here.
        alive = dict(
            PhotoIndexing.objects.select_for_update()
            .filter(pk__in=[rows[photo_id].pk for photo_id in embeddings])
            .order_by("photo_id")
            .values_list("photo_id", "due_at")
        )
        # A lease that is no longer ours: the photo changed and was enqueued anew meanwhile, or
        # another worker has it. That one's result counts.
        done = [
            rows[photo_id]
            for photo_id in embeddings
            if photo_id in alive and alive[photo_id] == rows[photo_id].due_at
        ]
        for row in done:
            row.state = PhotoIndexing.State.DONE
            row.error = ""
            row.embedding = kept_embedding(embeddings[row.photo_id])
            row.indexed_at = timezone.now()
        # All of them are there and locked. `bulk_update`, which makes a CASE of every value, would
        # take longer than all else here.
        PhotoIndexing.objects.bulk_create(
            done,
            update_conflicts=True,
            unique_fields=["pk"],
            update_fields=["state", "error", "embedding", "indexed_at"],
        )
        # Deleted while it was being embedded: its vector has to go once more.
        PendingDeletion.objects.bulk_create(
            [
                PendingDeletion(photo_id=photo_id)
                for photo_id in embeddings
                if photo_id not in alive
            ],
            ignore_conflicts=True,
        )


def put_back(index: SearchIndex, rows: Sequence[PhotoIndexing], *, seal: bool = True) -> None:
    """Write the vectors of indexed photos to Milvus again, from the embeddings that are kept.

    `rows` have their `photo` at hand and an `embedding`; `seal` as in `milvus.upsert`. Raises
    MilvusUnavailable.
    """
    milvus.upsert(
        index.collection_name,
        [
            Entry(
                row.photo_id,
                row.photo.owner_id,
                taken_at(row.photo),
                read_embedding(row.embedding),
            )
            for row in rows
            if row.embedding is not None
        ],
        seal=seal,
    )
    note_gone([row.photo_id for row in rows])


def note_gone(photo_ids: Sequence[int]) -> None:
    """Of photos whose vectors were just written, note those that were deleted meanwhile."""
    with transaction.atomic():
        there = set(
            Photo.objects.filter(pk__in=photo_ids)
            .select_for_update(no_key=True)
            .values_list("pk", flat=True)
        )
        PendingDeletion.objects.bulk_create(
            [PendingDeletion(photo_id=gone) for gone in set(photo_ids) - there],
            ignore_conflicts=True,
        )


def kept_embedding(embedding: NDArray[np.float32]) -> bytes | None:
    """What PostgreSQL keeps of an embedding: little-endian float16, or nothing."""
    return embedding.astype("<f2").tobytes() if settings.KEEP_EMBEDDINGS else None


def read_embedding(kept: bytes | memoryview) -> NDArray[np.float32]:
    """The embedding that `kept_embedding` made bytes of, normalised again."""
    vector = np.frombuffer(bytes(kept), dtype="<f2").astype(np.float32)
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)


def _record_failure(row: PhotoIndexing, error: Exception) -> None:
    permanent = isinstance(error, EncodingError)
    if not permanent:
        logger.warning("photo %s: attempt %s failed: %r", row.photo_id, row.attempts, error)
    leased = PhotoIndexing.objects.filter(pk=row.pk, due_at=row.due_at)
    if permanent or exhausted(row):
        changes = {
            "state": PhotoIndexing.State.FAILED,
            "error": str(error) if permanent else GAVE_UP,
        }
        leased.update(**changes)
    else:
        leased.update(due_at=timezone.now() + backoff(row.attempts))


def fail_abandoned() -> int:
    """Fail what has used up its attempts by ending the worker each time; returns how many."""
    return PhotoIndexing.objects.filter(
        state=PhotoIndexing.State.PENDING,
        due_at__lte=timezone.now(),
        attempts__gte=settings.WORK_MAX_ATTEMPTS,
    ).update(state=PhotoIndexing.State.FAILED, error=GAVE_UP)


def drain_deletions(*, for_seconds: float = inf) -> int:
    """Remove the vectors of deleted photos from every generation; returns how many photos."""
    deadline = monotonic() + for_seconds
    names = list(SearchIndex.objects.kept().values_list("collection_name", flat=True))
    removed = 0
    while monotonic() < deadline and (rows := claim(PendingDeletion.objects.all(), limit=500)):
        try:
            for name in names:
                milvus.delete(name, [row.photo_id for row in rows])
        except MilvusUnavailable as error:
            logger.warning("deletions wait for Milvus: %s", error)
            PendingDeletion.objects.filter(pk__in=[row.pk for row in rows]).update(
                attempts=0, due_at=timezone.now() + backoff(1)
            )
            break
        PendingDeletion.objects.filter(pk__in=[row.pk for row in rows]).delete()
        removed += len(rows)
    return removed
