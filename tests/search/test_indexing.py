from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from django.core.files.storage import default_storage
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from accounts.models import User
from gallery.models import Photo
from gallery.storage import StorageUnavailable, read_file
from search import indexing, milvus, pipeline, tasks
from search.encoders import EncoderInfo, EncoderUnavailable, EncodingError
from search.indexing import (
    GAVE_UP,
    backfill,
    drain_deletions,
    enqueue,
    fail_abandoned,
    index_due_photos,
    work_waits,
)
from search.models import PendingDeletion, PhotoIndexing, SearchIndex
from search.pipeline import MISSING, EmbeddingPipeline, Results
from search.planning import parse
from search.query import search_photos
from t2isearch.leases import claim

Add = Callable[[User, int], Photo]


class FaultyEncoder:
    """The real encoder with a fault: `meanwhile` is called with the photos of each batch."""

    def __init__(self, index: SearchIndex, meanwhile: Callable[[set[int]], Any]) -> None:
        self.info = index.encoder_info
        self.meanwhile = meanwhile
        self.batches: list[set[int]] = []

    def in_place(self) -> Any:
        """In the thread of the test, whose transaction no other sees."""
        submit = EmbeddingPipeline.submit

        def submit_faulty(
            pipeline: EmbeddingPipeline, info: EncoderInfo, photos: Mapping[int, Photo]
        ) -> Future[Results]:
            self.batches.append(set(photos))
            future: Future[Results] = Future()
            try:
                failures = self.meanwhile(set(photos)) or {}
                future.set_result(submit(pipeline, info, photos).result() | failures)
            except Exception as error:
                future.set_exception(error)
            return future

        return patch.object(EmbeddingPipeline, "submit", submit_faulty)


def raising(error: Exception) -> Callable[[set[int]], None]:
    def fail(keys: set[int]) -> None:
        raise error

    return fail


def states() -> dict[int, tuple[str, str, int]]:
    rows = PhotoIndexing.objects.values_list("photo_id", "state", "error", "attempts")
    return {photo_id: (state, error, tried) for photo_id, state, error, tried in rows}


def run_all() -> None:
    """Everything that waits, until nothing does; the pauses are passed over."""
    for _ in range(50):
        PhotoIndexing.objects.filter(state="pending").update(due_at=timezone.now())
        if not index_due_photos():
            return
    raise AssertionError("there is no end to it")


@pytest.fixture
def photos(ann: User, add: Add) -> list[Photo]:
    """Four photos, each with a vector already; they wait for being embedded anew."""
    photos = [add(ann, number) for number in range(4)]
    enqueue([photo.pk for photo in photos])
    return photos


@pytest.fixture
def no_milvus(photos: list[Photo], settings: Settings) -> Iterator[None]:
    """Milvus can't be reached from now on."""
    settings.MILVUS_URI = "http://127.0.0.1:9"
    settings.MILVUS_TIMEOUT_S = 0.5
    milvus.disconnect()
    yield
    milvus.disconnect()


def test_what_waits_is_counted(ann: User, ben: User, add: Add, index: SearchIndex) -> None:
    done, again, waiting, failed, trashed = (add(ann, number) for number in range(5))
    foreign = add(ben, 9)
    rows = PhotoIndexing.objects.filter(photo__in=[waiting, trashed, foreign])
    rows.update(state="pending", indexed_at=None)
    PhotoIndexing.objects.filter(photo=again).update(state="pending")  # searchable meanwhile
    PhotoIndexing.objects.filter(photo=failed).update(state="failed", indexed_at=None, error="no")
    Photo.objects.filter(pk=trashed.pk).update(trashed_at=timezone.now())
    own = Photo.objects.owned_by(ann)
    assert own.count_not_searchable_yet() == 1

    size = {"size_bytes": 1, "width": 1, "height": 1}
    Photo.objects.create(owner=ann, sha256="1" * 64, state="processing", **size)
    Photo.objects.create(owner=ann, sha256="2" * 64, state="failed", error="no", **size)
    assert own.count_not_searchable_yet() == 2

    # A generation that still takes in what was there before it.
    PhotoIndexing.objects.filter(photo=done).delete()
    SearchIndex.objects.filter(pk=index.pk).update(backfilled_to=0)
    assert own.count_not_searchable_yet() == 3
    SearchIndex.objects.filter(pk=index.pk).update(backfilled_to=done.pk)
    assert own.count_not_searchable_yet() == 2

    SearchIndex.objects.filter(pk=index.pk).update(status="retired")
    assert own.count_not_searchable_yet() == 5


def test_a_batch_is_embedded_and_stored(photos: list[Photo], index: SearchIndex) -> None:
    assert work_waits()
    assert index_due_photos() is True
    assert index_due_photos() is False
    assert set(states().values()) == {("done", "", 1)}
    for row in PhotoIndexing.objects.all():
        vector = np.frombuffer(row.embedding or b"", dtype="<f2").astype(np.float32)
        assert vector.shape == (index.dimension,)
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-2)
        assert row.indexed_at is not None


def test_one_that_cannot_be_embedded_fails_alone(photos: list[Photo], index: SearchIndex) -> None:
    bad = photos[1].pk
    encoder = FaultyEncoder(index, lambda keys: {bad: EncodingError("No eyes for this.")})
    with encoder.in_place():
        index_due_photos()
    assert states().pop(bad) == ("failed", "No eyes for this.", 1)
    assert [state for state, *_ in states().values()].count("done") == 3
    shown = Photo.objects.for_display().get(pk=bad)
    assert (shown.status, shown.problem) == ("failed", "No eyes for this.")
    assert shown.searchable  # by the vector that it had before


def test_one_that_breaks_its_batch_is_found_out(photos: list[Photo], index: SearchIndex) -> None:
    """The batch is tried again one by one: one photo fails at last, three are done."""
    bad = photos[2].pk

    def break_down(keys: set[int]) -> None:
        if bad in keys:
            raise RuntimeError("a bug")

    encoder = FaultyEncoder(index, break_down)
    with encoder.in_place():
        index_due_photos()
        assert {state for state, *_ in states().values()} == {"pending"}
        run_all()
    assert states().pop(bad) == ("failed", GAVE_UP, 4)
    assert [state for state, *_ in states().values()].count("done") == 3
    assert [len(batch) for batch in encoder.batches] == [4, 1, 1, 1, 1, 1, 1]


def test_when_all_fail_each_has_its_attempts(
    photos: list[Photo], index: SearchIndex, settings: Settings
) -> None:
    with FaultyEncoder(index, raising(RuntimeError("a bug"))).in_place():
        run_all()
    assert set(states().values()) == {("failed", GAVE_UP, settings.WORK_MAX_ATTEMPTS)}


def test_an_encoder_that_cannot_be_loaded_costs_no_attempt(photos: list[Photo]) -> None:
    with patch.object(indexing, "load_image_encoder", side_effect=EncoderUnavailable("no model")):
        for _ in range(6):
            PhotoIndexing.objects.update(due_at=timezone.now())
            assert index_due_photos() is False  # at once it would be no better
    assert set(states().values()) == {("pending", "", 0)}
    run_all()
    assert {state for state, *_ in states().values()} == {"done"}


@pytest.mark.usefixtures("no_milvus")
def test_while_milvus_is_away_no_attempt_is_counted(photos: list[Photo]) -> None:
    for _ in range(2):
        PhotoIndexing.objects.update(due_at=timezone.now())
        assert index_due_photos() is False
    assert set(states().values()) == {("pending", "", 0)}


def test_one_enqueued_anew_during_an_outage_has_no_attempt_to_give_back(
    photos: list[Photo], index: SearchIndex
) -> None:
    def change_then_fail(keys: set[int]) -> None:
        enqueue([photos[0].pk])
        raise EncoderUnavailable("no model")

    with FaultyEncoder(index, change_then_fail).in_place():
        index_due_photos()
    assert set(states().values()) == {("pending", "", 0)}


def test_a_thumbnail_that_is_gone(photos: list[Photo]) -> None:
    default_storage.delete(str(photos[0].thumbnail.name))
    index_due_photos()
    assert states()[photos[0].pk] == ("failed", MISSING, 1)
    assert [state for state, *_ in states().values()].count("done") == 3


@pytest.mark.parametrize("unread", [1, 4])
def test_a_storage_that_is_away_counts_for_no_thumbnail(photos: list[Photo], unread: int) -> None:
    names = {str(photo.thumbnail.name) for photo in photos[:unread]}
    read = read_file

    def stalling(name: str) -> bytes:
        if name in names:
            raise StorageUnavailable("away")
        return read(name)

    with patch.object(pipeline, "read_file", stalling):
        for _ in range(6):
            PhotoIndexing.objects.update(due_at=timezone.now())
            index_due_photos()
    rows = states()
    assert [rows[photo.pk] for photo in photos[:unread]] == unread * [("pending", "", 0)]
    assert [rows[photo.pk][0] for photo in photos[unread:]] == (4 - unread) * ["done"]
    PhotoIndexing.objects.update(due_at=timezone.now())
    index_due_photos()
    assert {state for state, *_ in states().values()} == {"done"}


def test_a_photo_deleted_while_it_is_embedded_leaves_milvus(
    photos: list[Photo], index: SearchIndex
) -> None:
    key = photos[0].pk

    def delete(keys: set[int]) -> None:
        photos[0].delete()

    with FaultyEncoder(index, delete).in_place():
        index_due_photos()
    assert key not in states()
    assert drain_deletions() == 1
    others = [photo.pk for photo in photos[1:]]
    assert milvus.present_ids(index.collection_name, [key, *others]) == set(others)


@pytest.mark.usefixtures("no_milvus")
def test_deletions_wait_for_milvus(photos: list[Photo]) -> None:
    photos[0].delete()
    assert drain_deletions() == 0
    assert PendingDeletion.objects.get().attempts == 0


def test_what_changed_while_it_was_embedded_is_embedded_again(
    photos: list[Photo], index: SearchIndex, ann: User
) -> None:
    taken = datetime(2021, 7, 4, tzinfo=UTC)

    def change(keys: set[int]) -> None:
        Photo.objects.filter(pk=photos[0].pk).update(taken_at=taken)
        enqueue([photos[0].pk])

    with FaultyEncoder(index, change).in_place():
        index_due_photos()
    assert states()[photos[0].pk] == ("pending", "", 0)
    run_all()
    july = parse("cat after:2021-07-04 before:2021-07-05")
    found = search_photos(owner=ann, plan=july, limit=9, weak=True).results
    assert [result.photo.pk for result in found] == [photos[0].pk]


def test_a_changed_time_is_found_by(
    ann: User,
    add: Add,
    client: Client,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    photo = add(ann, 1)
    client.force_login(ann)

    def found_in_july() -> int:
        query = {
            "q": "cat",
            "taken_after": "2021-07-01",
            "taken_before": "2021-07-31",
            "weak": "true",
        }
        return len(client.get("/api/v1/search/", query).json()["results"])

    assert found_in_july() == 0
    with django_capture_on_commit_callbacks(execute=True):
        client.patch(
            f"/api/v1/photos/{photo.pk}/",
            {"taken_at": "2021-07-31T23:30:00Z"},
            content_type="application/json",
        )
    run_all()
    assert found_in_july() == 1


def test_a_generation_takes_in_what_was_there_before_it(
    ann: User, add: Add, index: SearchIndex
) -> None:
    photos = [add(ann, number) for number in range(4)]
    Photo.objects.filter(pk=photos[0].pk).update(state="processing")  # comes when it is ready
    Photo.objects.filter(pk=photos[1].pk).update(trashed_at=timezone.now())
    PhotoIndexing.objects.filter(photo=photos[2]).delete()
    SearchIndex.objects.update(backfilled_to=0)
    assert [backfill(index, at_most=2) for _ in range(3)] == [2, 1, 0]
    assert set(states()) == {photo.pk for photo in photos}
    assert [pk for pk, (state, *_) in states().items() if state == "pending"] == [photos[2].pk]
    SearchIndex.objects.update(status="retired", backfilled_to=0)
    assert backfill(index) == 0


def test_abandoned_leases(photos: list[Photo], settings: Settings) -> None:
    """One whose worker is killed each time fails; the others are not held up by it."""
    for _ in range(settings.WORK_MAX_ATTEMPTS):
        assert fail_abandoned() == 0
        claim(PhotoIndexing.objects.filter(photo=photos[0]), limit=1)
        PhotoIndexing.objects.update(due_at=timezone.now())
    run_all()
    tasks.sweep()
    assert states()[photos[0].pk] == ("failed", GAVE_UP, settings.WORK_MAX_ATTEMPTS)
    assert [state for state, *_ in states().values()].count("done") == 3


def test_a_failed_one_is_retried_by_its_owner(
    photos: list[Photo],
    client: Client,
    ann: User,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    PhotoIndexing.objects.filter(photo=photos[0]).update(state="failed", error=GAVE_UP, attempts=4)
    client.force_login(ann)
    assert "could not be made searchable" in client.get(f"/photos/{photos[0].pk}/").content.decode()
    with django_capture_on_commit_callbacks(execute=True):
        client.post(f"/photos/{photos[0].pk}/retry/")
    assert states()[photos[0].pk] == ("pending", "", 0)


def test_the_sweep_wakes_workers_for_what_was_left_behind(
    photos: list[Photo], django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    photos[0].delete()
    connection.run_on_commit.clear()  # the messages about it are lost
    with (
        patch.object(tasks.index_photos, "apply_async") as index_photos,
        patch.object(tasks.drain_deletions, "apply_async") as drain,
        django_capture_on_commit_callbacks(execute=True),
    ):
        tasks.sweep()
    assert (index_photos.call_count, drain.call_count) == (1, 1)
