"""Generations: built, completed, activated, rolled back, paused, cancelled, dropped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.files.base import ContentFile

from accounts.models import User
from gallery.models import Photo
from gallery.processing import process_due_photos
from gallery.services import add_photo
from search import milvus
from search.encoders import describe
from search.generations import (
    NotPossible,
    activate,
    cancel,
    complete_builds,
    drop,
    lost_by_switching_to,
    pause,
    prepare_index,
    progress,
    resume,
    start_build,
)
from search.indexing import drain_deletions, index_due_photos
from search.models import IndexRun, PhotoIndexing, SearchIndex
from search.planning import parse
from search.query import SearchUnavailable, search_photos
from search.runs import work_on_due_runs
from tests.conftest import draw_picture
from tests.tiny_clip import save_tiny_clip

Add = Callable[[User, int], Photo]


@pytest.fixture(scope="session")
def other_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another encoder, with another dimension."""
    return save_tiny_clip(tmp_path_factory.mktemp("other"), seed=1, dimension=48)


def index_everything() -> None:
    while index_due_photos():
        pass


def found_by(owner: User, text: str = "a cat") -> set[Photo]:
    page = search_photos(owner=owner, plan=parse(text), limit=50, weak=True)
    return {result.photo for result in page.results}


def test_a_build_is_filled_beside_the_active_one_and_switched_to(
    ann: User, add: Add, index: SearchIndex, other_clip: Path
) -> None:
    photos = {add(ann, number) for number in range(3)}
    build = start_build(str(other_clip), by=ann)
    assert build.dimension == 48
    assert progress(build).unknown == 3
    assert lost_by_switching_to(build) == 3
    with pytest.raises(NotPossible, match="3 photos"):
        activate(build)
    assert found_by(ann) == photos  # searches go on with the one before

    index_everything()
    photos.add(add(ann, 3))  # goes to both
    complete_builds()
    build.refresh_from_db()
    assert build.completed_at is not None
    assert (progress(build).searchable, progress(build).remaining) == (4, 0)
    assert build.status == SearchIndex.Status.BUILDING  # not by itself

    activate(build, by=ann)
    index.refresh_from_db()
    assert (build.status, index.status) == ("active", "retired")
    assert found_by(ann) == photos
    page = search_photos(owner=ann, plan=parse("a cat"), limit=1, weak=True)
    assert page.encoder == str(other_clip)
    assert [(run.kind, run.state) for run in build.runs.order_by("pk")] == [
        ("build", "done"),
        ("activate", "done"),
    ]


def test_a_complete_build_is_activated_by_itself_where_that_was_asked_for(
    ann: User, add: Add, other_clip: Path
) -> None:
    add(ann, 1)
    build = start_build(str(other_clip), activate_when_complete=True)
    complete_builds()
    build.refresh_from_db()
    assert build.status == SearchIndex.Status.BUILDING
    index_everything()
    complete_builds()
    build.refresh_from_db()
    assert build.status == SearchIndex.Status.ACTIVE


def test_a_photo_that_can_not_be_rendered_any_more_holds_up_no_switch(
    ann: User, add: Add, other_clip: Path
) -> None:
    add(ann, 1)
    broken = add(ann, 2)
    Photo.objects.filter(pk=broken.pk).update(state="failed", error="broken")
    build = start_build(str(other_clip), activate_when_complete=True)
    index_everything()
    complete_builds()
    build.refresh_from_db()
    assert build.status == SearchIndex.Status.ACTIVE


def test_rolling_back_takes_in_what_was_added_since(
    ann: User, add: Add, index: SearchIndex, other_clip: Path
) -> None:
    photos = {add(ann, 1)}
    build = start_build(str(other_clip))
    index_everything()
    activate(build)
    index.refresh_from_db()
    assert index.indexings.count() == 1

    file_photo = _added_while_retired(ann, 2)
    photos.add(file_photo)
    assert not index.indexings.filter(photo=file_photo).exists()

    activate(index, by=ann)
    build.refresh_from_db()
    assert (index.status, build.status) == ("active", "retired")
    index_everything()
    assert found_by(ann) == photos


def _added_while_retired(owner: User, number: int) -> Photo:
    file = ContentFile(draw_picture(number), name="later.jpg")
    photo = add_photo(owner=owner, file=file, filename="later.jpg").photo
    process_due_photos(for_seconds=30)
    index_everything()
    photo.refresh_from_db()
    return photo


def test_results_for_a_retired_generation_are_dropped(
    ann: User, add: Add, index: SearchIndex, other_clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = add(ann, 1)
    build = start_build(str(other_clip))
    index_everything()
    PhotoIndexing.objects.filter(index=index).update(state="pending", attempts=0)
    before = index.indexings.get().indexed_at
    upsert = milvus.upsert

    def switch_meanwhile(name: str, entries: list[milvus.Entry], *, seal: bool) -> None:
        upsert(name, entries, seal=seal)
        activate(build, force=True)

    monkeypatch.setattr(milvus, "upsert", switch_meanwhile)
    index_due_photos()
    row = index.indexings.get(photo=photo)
    assert (row.state, row.indexed_at) == (PhotoIndexing.State.PENDING, before)


def test_a_paused_build_is_left_alone(ann: User, add: Add, other_clip: Path) -> None:
    add(ann, 1)
    build = start_build(str(other_clip))
    pause(build)
    index_everything()
    assert not build.indexings.exists()
    with pytest.raises(NotPossible):
        pause(build)
    later = add(ann, 2)  # taken in for later
    assert build.indexings.get(photo=later).indexed_at is None
    resume(build)
    index_everything()
    assert progress(build).searchable == 2


def test_a_cancelled_build_leaves_nothing_behind(
    ann: User, add: Add, index: SearchIndex, other_clip: Path
) -> None:
    photo = add(ann, 1)
    build = start_build(str(other_clip))
    index_everything()
    cancel(build, by=ann)
    assert (build.status, build.error) == ("failed", "Cancelled by ann.")
    work_on_due_runs(for_seconds=30)
    assert not milvus.has_collection(build.collection_name)
    assert not build.indexings.exists()
    assert found_by(ann) == {photo}
    with pytest.raises(NotPossible):
        activate(build)
    with pytest.raises(NotPossible):
        cancel(index)


def test_only_what_is_not_in_use_can_be_dropped(
    ann: User, add: Add, index: SearchIndex, other_clip: Path
) -> None:
    add(ann, 1)
    with pytest.raises(NotPossible):
        drop(index)
    build = start_build(str(other_clip))
    index_everything()
    activate(build)
    drop(index, by=ann)
    work_on_due_runs(for_seconds=30)
    assert not milvus.has_collection(index.collection_name)
    with pytest.raises(NotPossible):
        activate(index)
    run = index.runs.get(kind=IndexRun.Kind.DROP)
    assert (run.state, run.started_by, run.findings) == ("done", ann, {"rows": 1})


def test_one_build_at_a_time(index: SearchIndex, other_clip: Path) -> None:
    start_build(str(other_clip))
    with pytest.raises(NotPossible, match="is being built"):
        start_build(str(other_clip))


def test_a_deletion_leaves_every_kept_generation(
    ann: User, add: Add, index: SearchIndex, other_clip: Path
) -> None:
    photo = add(ann, 1)
    build = start_build(str(other_clip))
    index_everything()
    activate(build)
    key = photo.pk
    photo.delete()
    drain_deletions()
    for kept in (index, build):
        assert milvus.present_ids(kept.collection_name, [key]) == set()


def test_photos_that_were_there_before_the_first_index_are_taken_in(
    ann: User, add: Add, index: SearchIndex
) -> None:
    photo = add(ann, 1)
    SearchIndex.objects.all().delete()
    with pytest.raises(SearchUnavailable):
        search_photos(owner=ann, plan=parse("a cat"), limit=1, weak=True)
    prepare_index()
    index_everything()
    assert found_by(ann) == {photo}


def test_the_dimension_of_each_generation_is_its_own(
    ann: User, add: Add, index: SearchIndex, other_clip: Path
) -> None:
    add(ann, 1)
    build = start_build(str(other_clip))
    index_everything()
    assert milvus.collection_dimension(index.collection_name) == 32
    assert milvus.collection_dimension(build.collection_name) == 48


def test_an_upgraded_starter_encoder_gets_a_generation_of_its_own(
    ann: User, add: Add, index: SearchIndex
) -> None:
    add(ann, 1)
    # As it is after an upgrade: the revision that the generation was built with can't be had.
    SearchIndex.objects.filter(pk=index.pk).update(encoder="starter", revision="0-before")

    renewed, created = prepare_index()

    assert not created
    assert (renewed.encoder, renewed.status, renewed.backfilled_to) == ("starter", "active", 0)
    assert renewed.revision == describe("starter").revision
    index.refresh_from_db()
    assert index.status == "retired"
    assert index.dropped_at is not None
    assert progress(renewed).unknown == 1
    assert prepare_index()[0] == renewed
