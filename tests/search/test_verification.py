"""Comparing Milvus with PostgreSQL, mending, refilling, re-indexing: on a real Milvus."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from pymilvus import MilvusClient  # noqa: TID251 - watched
from pytest_django import Settings

from accounts.models import User
from gallery.models import Photo
from search import milvus, refill, verification
from search.generations import prepare_index
from search.indexing import index_due_photos, read_embedding
from search.milvus import Entry
from search.models import IndexRun, PendingDeletion, PhotoIndexing, SearchIndex
from search.planning import PhotoTerm, Plan, parse
from search.query import search_photos
from search.reindexing import FAILED, reindex, reindex_missing
from search.runs import start_run, work_on_due_runs
from search.verification import is_clean

Add = Callable[[User, int], Photo]
LATER = 4_000_000_000


def vector(index: SearchIndex) -> Any:
    return np.eye(index.dimension, dtype=np.float32)[0]


def verify(index: SearchIndex, **options: Any) -> dict[str, Any]:
    owner = options.pop("owner", None)
    run = start_run(index, IndexRun.Kind.VERIFY, owner=owner, options=options)
    work_on_due_runs(for_seconds=30)
    run.refresh_from_db()
    assert run.state == IndexRun.State.DONE, run.traceback
    findings: dict[str, Any] = run.findings
    return findings


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "PAGE_SIZE", 2)
    monkeypatch.setattr(refill, "PAGE_SIZE", 2)
    monkeypatch.setattr(milvus, "MOST_ROWS", 3)


@pytest.mark.usefixtures("small_pages")
def test_every_fault_is_found_and_mended(
    ann: User, ben: User, add: Add, index: SearchIndex
) -> None:
    name = index.collection_name
    photos = [add(ann, number) for number in range(7)]
    assert verify(index) == {
        "photos": 7, "vectors": 7, "waiting": 0, "failed": 0, "repaired": 0,
        "missing": 0, "orphaned": 0, "wrongly owned": 0, "stale": 0, "samples": {},
    }  # fmt: skip

    missing, owned, stale = photos[0], photos[3], photos[5]
    kept = {row.photo_id: row for row in index.indexings.all()}
    milvus.delete(name, [missing.pk, owned.pk])
    orphans = [photos[6].pk + more for more in (1, 50, 51, 52, 10**12)]
    milvus.upsert(
        name,
        [
            *(Entry(orphan, ann.pk, 0, vector(index)) for orphan in orphans),
            Entry(owned.pk, ben.pk, milvus.NO_TIME, vector(index)),
            Entry(stale.pk, ann.pk, 12345, vector(index)),
        ],
    )
    found = verify(index)
    assert found["samples"] == {
        "missing": [missing.pk],
        "orphaned": orphans,
        "wrongly owned": [owned.pk],
        "stale": [stale.pk],
    }
    assert found["repaired"] == 0

    assert verify(index, repair=True)["repaired"] == 8
    assert is_clean(verify(index))
    facts = milvus.facts_between(name, 0, 10**13)
    assert [each.photo_id for each in facts] == [photo.pk for photo in photos]
    assert {each.owner_id for each in facts} == {ann.pk}
    # Mended from the embeddings that were kept, without the model.
    assert {row.photo_id: row.indexed_at for row in index.indexings.all()} == {
        photo_id: row.indexed_at for photo_id, row in kept.items()
    }
    stored = milvus.embedding(name, stale.pk)
    assert stored is not None
    embedding = kept[stale.pk].embedding
    assert embedding is not None
    assert float(stored @ read_embedding(embedding)) == pytest.approx(1, abs=1e-5)


def test_without_kept_embeddings_what_is_missing_is_embedded_again(
    ann: User, add: Add, index: SearchIndex, settings: Settings
) -> None:
    settings.KEEP_EMBEDDINGS = False
    photo = add(ann, 1)
    assert index.indexings.get().embedding is None
    similar = search_photos(owner=ann, plan=Plan((PhotoTerm(photo.pk),)), limit=5)
    assert similar.results == []  # the vector itself came from Milvus

    milvus.delete(index.collection_name, [photo.pk])
    verify(index, repair=True)
    assert index.indexings.get().state == PhotoIndexing.State.PENDING
    index_due_photos()
    assert is_clean(verify(index))


def test_a_photo_that_was_never_taken_in_is_missing(
    ann: User, add: Add, index: SearchIndex
) -> None:
    photo = add(ann, 1)
    index.indexings.all().delete()
    milvus.delete(index.collection_name, [photo.pk])
    SearchIndex.objects.update(backfilled_to=0)
    assert verify(index)["missing"] == 0  # the back-fill has not come to it yet
    SearchIndex.objects.update(backfilled_to=None)
    assert verify(index, repair=True)["missing"] == 1
    index_due_photos()
    assert is_clean(verify(index))


def test_what_failed_before_it_could_be_embedded_does_not_wait(
    ann: User, add: Add, index: SearchIndex
) -> None:
    broken, waiting = add(ann, 1), add(ann, 2)
    index.indexings.filter(photo__in=[broken, waiting]).delete()
    milvus.delete(index.collection_name, [broken.pk, waiting.pk])
    Photo.objects.filter(pk=broken.pk).update(state="failed", error="No.")
    Photo.objects.filter(pk=waiting.pk).update(state="processing")
    found = verify(index, repair=True)
    assert (found["photos"], found["failed"], found["waiting"]) == (2, 1, 1)
    assert is_clean(found)


def test_a_deletion_that_waits_is_no_orphan(ann: User, add: Add, index: SearchIndex) -> None:
    add(ann, 1).delete()
    assert PendingDeletion.objects.exists()
    assert is_clean(verify(index))


def test_one_person_can_be_verified(ann: User, ben: User, add: Add, index: SearchIndex) -> None:
    anns, bens = add(ann, 1), add(ben, 2)
    milvus.delete(index.collection_name, [anns.pk, bens.pk])
    found = verify(index, owner=ben)
    assert (found["photos"], found["samples"]) == (1, {"missing": [bens.pk]})


def test_a_lost_collection_is_filled_again_without_the_model(
    ann: User, add: Add, index: SearchIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refill, "PAGE_SIZE", 2)
    photos = {add(ann, number) for number in range(5)}
    before = [
        r.score for r in search_photos(owner=ann, plan=parse("x"), limit=9, weak=True).results
    ]
    milvus.drop_collection(index.collection_name)
    monkeypatch.setattr("search.pipeline.load_image_encoder", None)

    again, created = prepare_index()
    assert not created
    assert again.refilled_to == 0
    page = search_photos(owner=ann, plan=parse("x"), limit=9, weak=True)
    assert (page.results, page.incomplete) == ([], True)

    work_on_due_runs(for_seconds=30)
    page = search_photos(owner=ann, plan=parse("x"), limit=9, weak=True)
    assert {result.photo for result in page.results} == photos
    assert not page.incomplete
    assert [result.score for result in page.results] == pytest.approx(before, abs=2e-3)
    assert index.runs.get(kind=IndexRun.Kind.REFILL).findings["put back"] == 5
    assert is_clean(verify(index))


@pytest.mark.parametrize("photos", [4, 5])
def test_what_was_filled_again_is_sealed_at_the_end(
    ann: User, add: Add, index: SearchIndex, monkeypatch: pytest.MonkeyPatch, photos: int
) -> None:
    monkeypatch.setattr(refill, "PAGE_SIZE", 2)
    for number in range(photos):
        add(ann, number)
    sealed: list[int] = []
    seal = milvus._seal

    def sealing(client: MilvusClient, name: str, timeout_s: float) -> None:
        sealed.append(milvus.count(name))
        seal(client, name, timeout_s)

    monkeypatch.setattr(milvus, "_seal", sealing)
    milvus.drop_collection(index.collection_name)
    prepare_index()
    work_on_due_runs(for_seconds=30)
    assert sealed == [photos]


def test_failed_photos_are_tried_again(ann: User, add: Add, index: SearchIndex) -> None:
    failed, fine = add(ann, 1), add(ann, 2)
    index.indexings.filter(photo=failed).update(state="failed", error="broken", indexed_at=None)
    reindex(index, scope=FAILED)
    work_on_due_runs(for_seconds=30)
    assert [row.photo for row in index.indexings.filter(state="pending")] == [failed]
    index_due_photos()
    assert set(index.indexings.filter(state="done").values_list("photo", flat=True)) == {
        failed.pk,
        fine.pk,
    }


def test_photos_stay_searchable_while_they_are_indexed_anew(
    ann: User, add: Add, index: SearchIndex
) -> None:
    add(ann, 1)
    reindex(index)
    work_on_due_runs(for_seconds=30)
    assert index.indexings.get().state == PhotoIndexing.State.PENDING
    assert Photo.objects.owned_by(ann).for_display().get().searchable


def test_missing_is_what_milvus_does_not_have(ann: User, add: Add, index: SearchIndex) -> None:
    lost, orphan = add(ann, 1), 10**9
    milvus.delete(index.collection_name, [lost.pk])
    milvus.upsert(index.collection_name, [Entry(orphan, ann.pk, 0, vector(index))])
    reindex_missing(index)
    work_on_due_runs(for_seconds=30)
    # And nothing else is touched.
    assert milvus.present_ids(index.collection_name, [lost.pk, orphan]) == {lost.pk, orphan}


def test_an_interrupted_run_goes_on_where_it_stopped(
    ann: User, add: Add, index: SearchIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "PAGE_SIZE", 2)
    photos = [add(ann, number) for number in range(5)]
    facts_between = milvus.facts_between

    def interrupted(name: str, first: int, *args: Any, **kwargs: Any) -> Any:
        if first > photos[2].pk:
            raise KeyboardInterrupt
        return facts_between(name, first, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(milvus, "facts_between", interrupted)
        with pytest.raises(CommandError, match=f"Interrupted after photo {photos[3].pk}"):
            call_command("verify_index")
    run = index.runs.get(kind=IndexRun.Kind.VERIFY)
    assert (run.state, run.findings["photos"]) == (IndexRun.State.INTERRUPTED, 4)

    call_command("verify_index")
    run.refresh_from_db()
    assert (run.state, run.findings["photos"]) == (IndexRun.State.DONE, 5)


def test_a_run_waits_for_milvus_and_counts_no_attempt(
    ann: User, add: Add, index: SearchIndex, settings: Settings
) -> None:
    add(ann, 1)
    run = start_run(index, IndexRun.Kind.VERIFY)
    uri = settings.MILVUS_URI
    settings.MILVUS_URI = "http://127.0.0.1:9"
    milvus.disconnect()
    try:
        work_on_due_runs(for_seconds=0.5)
    finally:
        settings.MILVUS_URI = uri
        milvus.disconnect()
    run.refresh_from_db()
    assert (run.state, run.attempts) == (IndexRun.State.RUNNING, 0)
    assert "MilvusUnavailable" in run.error
    run.due_at = run.created_at
    run.save()
    work_on_due_runs(for_seconds=30)
    run.refresh_from_db()
    assert (run.state, run.error) == (IndexRun.State.DONE, "")


def test_a_run_that_keeps_failing_ends_with_its_traceback(
    ann: User, add: Add, index: SearchIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **kwargs: Any) -> Any:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(milvus, "facts_between", broken)
    run = start_run(index, IndexRun.Kind.VERIFY)
    for _ in range(4):
        IndexRun.objects.update(due_at=run.created_at)
        work_on_due_runs(for_seconds=0.1)
    run.refresh_from_db()
    assert (run.state, run.error) == (IndexRun.State.FAILED, "ZeroDivisionError: a bug")
    assert "in broken" in run.traceback


def test_verify_index_says_by_its_exit_code_whether_all_is_well(
    ann: User, add: Add, index: SearchIndex, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = add(ann, 1)
    call_command("verify_index")
    milvus.delete(index.collection_name, [photo.pk])
    with pytest.raises(SystemExit) as ended:
        call_command("verify_index", owner="ann")
    assert ended.value.code == 1
    assert f"missing: 1 (photos {photo.pk})" in capsys.readouterr().out
    call_command("verify_index", repair=True)
    call_command("verify_index")
