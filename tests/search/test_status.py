"""The facts that the console shows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from gallery.models import Photo
from search import milvus, status
from search.generations import start_build
from search.heartbeat import PATIENCE
from search.indexing import enqueue, index_due_photos
from search.models import IndexRun, PendingDeletion, PhotoIndexing, SearchIndex, WorkerHeartbeat
from search.runs import work_on_due_runs
from t2isearch.cache import derived

Add = Callable[[User, int], Photo]


def test_a_generation_counts_and_gives_reasons(ann: User, add: Add, index: SearchIndex) -> None:
    photos = [add(ann, number) for number in range(4)]
    rows = PhotoIndexing.objects.filter(index=index)
    rows.filter(photo__in=photos[:2]).update(state="failed", error="One", indexed_at=None)
    rows.filter(photo=photos[2]).update(state="failed", error="Another", indexed_at=None)

    (generation,) = status.generations()

    assert (generation.progress.searchable, generation.progress.failed) == (1, 3)
    assert generation.failures == (status.Failure("One", 2), status.Failure("Another", 1))
    assert not generation.reasons_are_cut
    assert generation.percent == 100


def test_the_reasons_are_the_most_frequent_ten(ann: User, add: Add, index: SearchIndex) -> None:
    for number in range(status.MOST_FAILURES + 1):
        photo = add(ann, number)
        PhotoIndexing.objects.filter(photo=photo).update(state="failed", error=f"{number}")
    (generation,) = status.generations()
    assert len(generation.failures) == status.MOST_FAILURES
    assert generation.reasons_are_cut


def test_the_active_generation_comes_first(index: SearchIndex) -> None:
    built = start_build("starter")
    assert [each.index for each in status.generations()] == [index, built]
    assert [each.is_building for each in status.generations()] == [False, True]


def test_what_keeps_a_build_waiting_is_said(
    ann: User, add: Add, index: SearchIndex, settings: Settings
) -> None:
    add(ann, 1)
    built = start_build("starter")
    SearchIndex.objects.filter(pk=built.pk).update(revision="of another day")
    index_due_photos()
    obstacle = next(each for each in status.generations() if each.is_building).obstacle
    assert "revision of another day" in obstacle

    SearchIndex.objects.filter(pk=built.pk).update(revision=built.revision)
    PhotoIndexing.objects.filter(index=built).update(due_at=timezone.now())
    derived.clear()
    assert index_due_photos()
    assert next(each for each in status.generations() if each.is_building).obstacle == ""


def test_counts_are_remembered_for_a_moment(ann: User, add: Add, index: SearchIndex) -> None:
    assert status.generations()[0].progress.photos == 0
    add(ann, 1)
    assert status.generations()[0].progress.photos == 0
    derived.clear()
    assert status.generations()[0].progress.photos == 1


def test_milvus_says_how_many_vectors(ann: User, add: Add) -> None:
    add(ann, 1)
    found = status.milvus_state()
    assert (found.vectors, found.problem) == (1, "")
    assert "lite" in found.version or found.version.startswith("v")


def test_a_lost_collection_is_said(index: SearchIndex) -> None:
    milvus.drop_collection(index.collection_name)
    found = status.milvus_state()
    assert found.version
    assert found.vectors is None
    assert "is gone" in found.problem


def test_a_milvus_that_is_away_is_a_fact(index: SearchIndex, settings: Settings) -> None:
    settings.MILVUS_URI = "http://127.0.0.1:9"
    milvus.disconnect()
    try:
        found = status.milvus_state()
    finally:
        milvus.disconnect()
    assert found.problem
    assert (found.version, found.vectors) == ("", None)


def test_the_broker_can_be_reached() -> None:
    assert status.broker_state().problem == ""


def test_workers_and_the_queues_that_nobody_serves(db: None) -> None:
    now = timezone.now()
    WorkerHeartbeat.objects.create(name="worker", queues="default,renditions", seen_at=now)
    WorkerHeartbeat.objects.create(name="old", queues="index", seen_at=now - PATIENCE * 2)

    found = status.workers()

    assert [(each.name, each.queues, each.lives) for each in found.workers] == [
        ("old", ("index",), False),
        ("worker", ("default", "renditions"), True),
    ]
    assert found.unserved == ("index",)


def test_what_waits_and_since_when(ann: User, add: Add, index: SearchIndex) -> None:
    assert status.work_waiting() == status.WorkWaiting(*[status.Waiting(0, None) for _ in range(3)])
    photo, tried = add(ann, 1), add(ann, 2)
    long_ago = timezone.now() - timedelta(hours=3)
    enqueue([photo.pk])
    Photo.objects.filter(pk=tried.pk).update(
        state="processing", attempts=1, created_at=long_ago, due_at=timezone.now()
    )
    deletion = PendingDeletion.objects.create(photo_id=10**9)
    derived.clear()

    found = status.work_waiting()

    assert found.to_render == status.Waiting(1, long_ago)
    row = PhotoIndexing.objects.get(photo=photo)
    assert found.to_index == status.Waiting(1, row.due_at)
    assert found.deletions == status.Waiting(1, deletion.created_at)


@pytest.mark.parametrize(
    ("kind", "findings", "words"),
    [
        ("build", {"searchable": 1200, "failed": 0}, "1,200 searchable"),
        ("build", {"searchable": 1, "failed": 2}, "1 searchable, 2 failed"),
        ("refill", {"put back": 5, "to be embedded": 1}, "5 put back, 1 to be embedded again"),
        ("reindex", {"enqueued": 0}, "0 enqueued"),
        ("drop", {"rows": 7}, "7 removed"),
        ("activate", {}, ""),
        ("verify", {"photos": 1, "missing": 0}, "1 photo compared, no fault"),
        (
            "verify",
            {"photos": 9, "missing": 2, "stale": 1, "repaired": 3, "samples": {"missing": [4]}},
            "9 photos compared, 2 missing (photos 4, …), 1 stale, 3 repaired",
        ),
    ],
)
def test_findings_in_words(kind: str, findings: dict[str, object], words: str) -> None:
    assert status.findings_in_words(IndexRun(kind=kind, findings=findings)) == words


def test_the_last_runs(ann: User, index: SearchIndex) -> None:
    for _ in range(status.MOST_RUNS + 1):
        IndexRun.objects.create(index=index, kind="verify", state="done")
    IndexRun.objects.create(
        index=index, kind="reindex", owner=ann, options={"scope": "failed"}, state="running"
    )
    found = status.last_runs()
    assert len(found) == status.MOST_RUNS
    assert (found[0].scope, found[0].may_be_interrupted) == ("what failed, of ann", True)
    assert not found[1].may_go_on
    work_on_due_runs(for_seconds=10)
    assert not status.last_runs()[0].may_be_interrupted
