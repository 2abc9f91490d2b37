"""Whatever becomes of Milvus's files, the index is whole again: PostgreSQL has all of it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from milvus_lite.adapter.grpc.server import start_server_in_thread  # type: ignore[import-untyped]
from pytest_django import Settings

from accounts.models import User
from gallery.models import Photo
from search import mending, milvus
from search.generations import mend_collection, prepare_index, replace_collection
from search.indexing import kept_embedding, put_back
from search.milvus import CollectionDamaged, MilvusUnavailable
from search.models import IndexRun, PhotoIndexing, SearchIndex
from search.runs import start_run, work_on_due_runs
from search.tasks import sweep
from t2isearch.embedded.milvus import clear_of_damage
from tests.damages import DAMAGES, damage, remove

PHOTOS = 12


class Lite:
    """Milvus Lite in this process, on a directory that can be damaged while it is stopped."""

    def __init__(self, data: Path) -> None:
        self.data = data

    @contextmanager
    def running(self, settings: Settings) -> Iterator[None]:
        server, database, port = start_server_in_thread(str(self.data))
        settings.MILVUS_URI = f"http://127.0.0.1:{port}"
        milvus.disconnect()
        try:
            yield
        finally:
            milvus.disconnect()
            server.stop(grace=None).wait()
            database.close()

    def files(self, pattern: str) -> list[Path]:
        return sorted(self.data.glob(f"collections/*/{pattern}"))


@pytest.fixture
def lite(tmp_path: Path, settings: Settings, tiny_clip: Path) -> Lite:
    settings.SEARCH_ENCODER = str(tiny_clip)
    return Lite(tmp_path / "milvus")


def fill(owner: User) -> SearchIndex:
    """An index with some photos' vectors, in PostgreSQL and in Milvus."""
    index, _created = prepare_index()
    photos = Photo.objects.bulk_create(
        Photo(
            owner=owner,
            sha256=hashlib.sha256(bytes([number])).hexdigest(),
            original=f"{number}.jpg",
            thumbnail=f"{number}.webp",
            preview=f"{number}.webp",
            size_bytes=1,
            width=1,
            height=1,
            state=Photo.State.READY,
        )
        for number in range(PHOTOS)
    )
    vectors = np.random.default_rng(1).standard_normal((PHOTOS, index.dimension))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    PhotoIndexing.objects.bulk_create(
        PhotoIndexing(
            photo=photo,
            index=index,
            state=PhotoIndexing.State.DONE,
            indexed_at=timezone.now(),
            embedding=kept_embedding(vector),
        )
        for photo, vector in zip(photos, vectors, strict=True)
    )
    put_back(index, list(index.indexings.select_related("photo")))
    assert found(owner) == PHOTOS
    return index


def found(owner: User) -> int:
    index = SearchIndex.objects.active()
    assert index is not None
    vector = np.full(index.dimension, index.dimension**-0.5, dtype=np.float32)
    return len(milvus.search(index.collection_name, vector, owner_id=owner.pk, limit=100))


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize(
    "pattern",
    [
        "schema.json",
        "manifest.json*",
        "partitions/*/data/*.parquet",
        "partitions/*/indexes/*.idx",
    ],
)
def test_it_is_whole_after_a_start_on_damaged_files(
    ann: User, lite: Lite, settings: Settings, pattern: str, how: str
) -> None:
    with lite.running(settings):
        fill(ann)
    files = lite.files(pattern)
    assert files
    for file in files:
        damage(file, how)
    clear_of_damage(lite.data)
    with lite.running(settings):
        prepare_index()
        work_on_due_runs(for_seconds=30)
        assert found(ann) == PHOTOS


@pytest.mark.parametrize("how", ["emptied", "zeroed", "a directory"])
@pytest.mark.parametrize(
    "name",
    ["LOCK", "aliases.json", "database_properties.json", "collections", "databases", "*/*/wal"],
)
def test_it_is_whole_after_damage_around_the_collections(
    ann: User, lite: Lite, settings: Settings, name: str, how: str
) -> None:
    with lite.running(settings):
        fill(ann)
    for path in list(lite.data.glob(name)) or [lite.data / name]:
        remove(path)
        path.write_bytes(bytes(10))
        damage(path, how)
    clear_of_damage(lite.data)
    with lite.running(settings):
        prepare_index()
        work_on_due_runs(for_seconds=30)
        assert found(ann) == PHOTOS


def test_intact_files_are_left_alone(ann: User, lite: Lite, settings: Settings) -> None:
    with lite.running(settings):
        fill(ann)
    before = {path: path.stat().st_mtime_ns for path in lite.data.rglob("*")}
    assert clear_of_damage(lite.data) == []
    assert {path: path.stat().st_mtime_ns for path in lite.data.rglob("*")} == before
    with lite.running(settings):
        prepare_index()
        assert found(ann) == PHOTOS
    assert not IndexRun.objects.filter(kind=IndexRun.Kind.REFILL).exists()


@pytest.fixture
def cut(ann: User, lite: Lite, settings: Settings) -> Iterator[SearchIndex]:
    """An index whose index files were cut: it can be described, and not searched."""
    with lite.running(settings):
        index = fill(ann)
    for file in lite.files("partitions/*/indexes/*.idx"):
        damage(file, "halved")
    with lite.running(settings):
        with pytest.raises(CollectionDamaged):
            found(ann)
        yield index


def test_the_sweep_mends_what_goes_on_failing(
    ann: User, cut: SearchIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep()
    assert not IndexRun.objects.filter(kind=IndexRun.Kind.REFILL).exists()
    monkeypatch.setattr(mending, "PATIENCE_S", 0.0)
    sweep()
    work_on_due_runs(for_seconds=30)
    assert found(ann) == PHOTOS
    assert IndexRun.objects.get(kind=IndexRun.Kind.REFILL).findings["damaged"]


def test_what_mending_does_not_help_is_not_mended_for_ever(
    ann: User, cut: SearchIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mending, "PATIENCE_S", 0.0)

    def fail(name: str, dimension: int) -> None:
        raise CollectionDamaged("it is always so")

    monkeypatch.setattr(milvus, "try_collection", fail)
    for _ in range(6):
        sweep()
    assert IndexRun.objects.filter(kind=IndexRun.Kind.REFILL).count() == mending.MOST_TRIES


def test_a_server_gets_time_to_start(cut: SearchIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mending, "PATIENCE_S", 0.0)
    monkeypatch.setattr(milvus, "fails_for_good", lambda: False)
    sweep()
    prepare_index()
    assert not IndexRun.objects.filter(kind=IndexRun.Kind.REFILL).exists()


def test_refilling_by_hand_mends_it(ann: User, cut: SearchIndex) -> None:
    call_command("refill_index", stdout=StringIO())
    assert found(ann) == PHOTOS


def test_verifying_by_hand_mends_it(ann: User, cut: SearchIndex) -> None:
    with pytest.raises(CommandError, match="CollectionDamaged"):
        call_command("verify_index", "--repair", stdout=StringIO())
    work_on_due_runs(for_seconds=30)
    assert found(ann) == PHOTOS
    call_command("verify_index", stdout=StringIO())


def test_a_refill_begins_anew_with_a_new_collection(
    ann: User, lite: Lite, settings: Settings
) -> None:
    with lite.running(settings):
        index = fill(ann)
        halfway = start_run(index, IndexRun.Kind.REFILL)
        photos = index.indexings.order_by("photo").values_list("photo_id", flat=True)
        IndexRun.objects.filter(pk=halfway.pk).update(
            state=IndexRun.State.INTERRUPTED, position=photos[PHOTOS // 2]
        )
        milvus.drop_collection(index.collection_name)
        assert mend_collection(index)
        work_on_due_runs(for_seconds=30)
        assert found(ann) == PHOTOS


def test_two_that_replace_it_at_once_do_it_once(cut: SearchIndex) -> None:
    seen_by_another = SearchIndex.objects.get(pk=cut.pk)
    assert replace_collection(cut, reason="cut")
    assert replace_collection(seen_by_another, reason="cut")
    assert seen_by_another.collection_name == cut.collection_name
    assert IndexRun.objects.filter(kind=IndexRun.Kind.REFILL).count() == 1


@pytest.mark.parametrize("text", ["[Errno 28] No space left on device", "Cannot allocate memory"])
def test_a_full_disk_is_no_damage(
    ann: User, lite: Lite, settings: Settings, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(text)

    with lite.running(settings):
        fill(ann)
        monkeypatch.setattr("milvus_lite.engine.collection.Collection.search", fail)
        with pytest.raises(MilvusUnavailable) as raised:
            found(ann)
        assert not isinstance(raised.value, CollectionDamaged)


def test_an_answer_that_takes_too_long_is_no_damage(
    ann: User, lite: Lite, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lite.running(settings):
        fill(ann)
        monkeypatch.setattr(
            "milvus_lite.engine.collection.Collection.search", lambda *a, **k: time.sleep(1)
        )
        settings.MILVUS_SEARCH_TIMEOUT_S = 0.2
        with pytest.raises(MilvusUnavailable) as raised:
            found(ann)
        assert not isinstance(raised.value, CollectionDamaged)
