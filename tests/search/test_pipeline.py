"""Photos to embeddings in batches, with the real encoder and the real Milvus."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from django.core.files.base import ContentFile
from PIL import Image
from pytest_django import Settings

from accounts.models import User
from gallery.models import Photo
from gallery.processing import process_due_photos
from gallery.services import add_photo
from search import indexing, milvus, pipeline
from search.encoders import load_image_encoder
from search.indexing import index_due_photos
from search.models import PhotoIndexing, SearchIndex
from search.pipeline import EmbeddingPipeline, batch_size
from tests.conftest import draw_picture


@pytest.fixture(autouse=True)
def _speed_unknown() -> None:
    pipeline._seconds_per_photo.clear()


@pytest.fixture
def render(index: SearchIndex) -> Callable[[User, range], list[Photo]]:
    """Uploads drawn pictures and renders them: what waits for being indexed."""

    def render_all(owner: User, numbers: range) -> list[Photo]:
        photos = [
            add_photo(
                owner=owner, file=ContentFile(draw_picture(n), name=f"{n}.jpg"), filename=f"{n}.jpg"
            ).photo
            for n in numbers
        ]
        process_due_photos(for_seconds=60)
        indexing.enqueue([photo.pk for photo in photos])
        return [Photo.objects.get(pk=photo.pk) for photo in photos]

    return render_all


def test_one_turn_takes_in_all_that_waits_each_photo_with_its_own_vector(
    ann: User,
    index: SearchIndex,
    render: Callable[[User, range], list[Photo]],
    settings: Settings,
) -> None:
    settings.INDEX_BATCH_SIZE = 5
    photos = render(ann, range(23))
    # One that cannot be read in the midst of a batch.
    broken = photos[7]
    with broken.thumbnail.storage.open(str(broken.thumbnail.name), "wb") as file:
        file.write(b"no picture")

    assert index_due_photos(for_seconds=60) is False

    encoder = load_image_encoder(index.encoder_info)
    for photo in photos:
        row = PhotoIndexing.objects.get(photo=photo, index=index)
        if photo == broken:
            assert row.state != PhotoIndexing.State.DONE
            assert row.attempts >= 1
            continue
        assert row.state == PhotoIndexing.State.DONE
        with photo.thumbnail.open("rb") as opened:
            alone = encoder.embed_images({1: Image.open(io.BytesIO(opened.read()))})[1]
        assert isinstance(alone, np.ndarray)
        assert isinstance(row.embedding, bytes | memoryview)
        assert alone @ indexing.read_embedding(row.embedding) >= 0.9999
    ids = [photo.pk for photo in photos]
    assert milvus.present_ids(index.collection_name, ids) == set(ids) - {broken.pk}


def test_an_outage_in_the_midst_gives_back_what_was_claimed_ahead(
    ann: User,
    index: SearchIndex,
    render: Callable[[User, range], list[Photo]],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.INDEX_BATCH_SIZE = 4
    photos = render(ann, range(10))

    def unreachable(*_: object, **_options: object) -> None:
        raise milvus.MilvusUnavailable("nothing answers")

    with monkeypatch.context() as fault:
        fault.setattr(milvus, "upsert", unreachable)
        assert index_due_photos(for_seconds=60) is False
    rows = PhotoIndexing.objects.filter(index=index)
    assert {(row.state, row.attempts) for row in rows} == {(PhotoIndexing.State.PENDING, 0)}
    assert rows.count() == len(photos)


def test_a_photo_that_is_gone_from_the_storage_fails_alone(
    ann: User, index: SearchIndex, render: Callable[[User, range], list[Photo]]
) -> None:
    first, second = render(ann, range(2))
    first.thumbnail.storage.delete(str(first.thumbnail.name))
    index_due_photos(for_seconds=30)
    assert PhotoIndexing.objects.get(photo=first).error == pipeline.MISSING
    assert PhotoIndexing.objects.get(photo=second).state == PhotoIndexing.State.DONE


def test_a_slow_model_gets_smaller_batches(index: SearchIndex, settings: Settings) -> None:
    settings.INDEX_BATCH_SIZE = 32
    info = index.encoder_info
    assert batch_size(info) == 8  # not yet known
    for seconds, photos in ((0.001, 32), (0.025, 10), (0.1, 2), (100.0, 1)):
        pipeline._seconds_per_photo[info] = seconds
        assert batch_size(info) == photos


def test_the_speed_is_learnt(
    ann: User, index: SearchIndex, render: Callable[[User, range], list[Photo]]
) -> None:
    photos = render(ann, range(3))
    with EmbeddingPipeline() as running:
        results = running.submit(index.encoder_info, {photo.pk: photo for photo in photos}).result()
    assert list(results) == [photo.pk for photo in photos]
    assert pipeline._seconds_per_photo[index.encoder_info] > 0


def test_a_batch_takes_in_what_becomes_ready_in_a_moment(
    ann: User,
    index: SearchIndex,
    render: Callable[[User, range], list[Photo]],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ready = render(ann, range(2))
    file = ContentFile(draw_picture(9), name="9.jpg")
    late = add_photo(owner=ann, file=file, filename="9.jpg").photo
    sizes = []
    real_upsert = milvus.upsert

    def counting(name: str, entries: list[milvus.Entry], *, seal: bool) -> None:
        sizes.append(len(entries))
        real_upsert(name, entries, seal=seal)

    def render_meanwhile(_seconds: float) -> None:
        process_due_photos(for_seconds=30)
        indexing.enqueue([late.pk])

    monkeypatch.setattr(milvus, "upsert", counting)
    monkeypatch.setattr("search.indexing.sleep", render_meanwhile)
    index_due_photos()
    assert sizes == [len(ready) + 1]


def test_vectors_are_sealed_now_and_then_and_at_the_end(
    ann: User,
    index: SearchIndex,
    render: Callable[[User, range], list[Photo]],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.INDEX_BATCH_SIZE = 2
    monkeypatch.setattr(indexing, "SEAL_AFTER", 4)
    render(ann, range(9))
    sealed = []
    real_upsert = milvus.upsert

    def watched(name: str, entries: list[milvus.Entry], *, seal: bool) -> None:
        sealed.append((len(entries), seal))
        real_upsert(name, entries, seal=seal)

    monkeypatch.setattr(milvus, "upsert", watched)
    assert index_due_photos(for_seconds=60) is False
    assert sealed == [(2, False), (2, True), (2, False), (2, True), (1, True)]


def test_on_a_gpu_batches_are_larger(
    index: SearchIndex, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = load_image_encoder(index.encoder_info)
    monkeypatch.setattr(encoder, "runtime", replace(encoder.runtime, device="cuda"))
    pipeline._seconds_per_photo[index.encoder_info] = 0.001
    assert batch_size(index.encoder_info) == settings.INDEX_BATCH_SIZE_ON_GPU
