"""Searching with a picture that is not one of the gallery's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from unittest.mock import patch

import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from gallery.models import Photo
from search import images, tasks, views
from search.encoders import EncoderUnavailable
from search.images import (
    ImagePending,
    embed_waiting_pictures,
    forget_expired_pictures,
    image_embedding,
    take_picture,
)
from search.models import ImageQuery, SearchIndex
from search.query import photo_embedding
from tests.conftest import draw_picture

Add = Callable[[User, int], Photo]


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    with patch.object(views, "PICTURE_PATIENCE_S", 0.0):
        yield


def send(client: Client, data: bytes, name: str = "mine.jpg") -> str:
    response = client.post("/search/picture/", {"picture": SimpleUploadedFile(name, data)})
    assert response.status_code == 302
    return response["Location"]


def test_a_picture_finds_the_photo_that_is_like_it(
    ann: User, add: Add, client: Client, index: SearchIndex
) -> None:
    photos = [add(ann, number) for number in range(4)]
    client.force_login(ann)
    address = send(client, draw_picture(2))
    taken = ImageQuery.objects.get()
    assert address == f"/search/?q=image%3A{taken.pk}"
    assert Photo.objects.count() == 4
    pending = client.get(address).content.decode()
    assert 'data-testid="picture-pending"' in pending
    assert 'data-testid="result"' not in pending

    tasks.embed_pictures()
    found = client.get(f"{address}&weak=true")
    assert found.context["results"][0].photo == photos[2]
    assert found.context["results"][0].score == pytest.approx(1, abs=0.01)
    np.testing.assert_allclose(
        image_embedding(index, ann, taken.pk), photo_embedding(index, photos[2]), atol=0.01
    )
    both = client.get("/search/", {"q": f'image:{taken.pk} + "a cat"', "weak": "true"})
    assert len(both.context["results"]) == 4


def test_it_is_ones_own_and_expires(
    ann: User, ben: User, client: Client, index: SearchIndex
) -> None:
    taken = take_picture(ann, SimpleUploadedFile("mine.jpg", draw_picture(1)))
    embed_waiting_pictures()
    client.force_login(ben)
    assert client.get(f"/search/?q=image:{taken.pk}").status_code == 404
    assert client.get(f"/search/picture/{taken.pk}/").status_code == 404
    assert client.get(f"/api/v1/search/?q=image:{taken.pk}").status_code == 404
    client.force_login(ann)
    shown = client.get(f"/search/picture/{taken.pk}/")
    assert (shown.status_code, shown["Content-Type"]) == (200, "image/jpeg")
    assert "private" in shown["Cache-Control"]
    assert taken.expires_at <= timezone.now() + timedelta(days=1)

    ImageQuery.objects.update(expires_at=timezone.now())
    gone = client.get(f"/search/?q=image:{taken.pk}")
    assert gone.status_code == 404
    assert "no longer kept" in gone.content.decode()
    assert forget_expired_pictures() == 1
    assert not ImageQuery.objects.exists()


@pytest.mark.parametrize("data", [b"", b"no picture", draw_picture(1)[:400]])
def test_what_is_no_picture_is_refused(ann: User, client: Client, data: bytes) -> None:
    client.force_login(ann)
    response = client.post(
        "/search/picture/", {"picture": SimpleUploadedFile("x.jpg", data)}, follow=True
    )
    assert [message.level_tag for message in response.context["messages"]] == ["error"]
    assert not ImageQuery.objects.exists()


def test_limits_are_those_of_uploads(ann: User, client: Client, settings: Settings) -> None:
    client.force_login(ann)
    settings.MAX_PIXELS = 100
    assert send(client, draw_picture(1)) == "/search/"
    settings.MAX_PIXELS = 10_000_000
    settings.MAX_UPLOAD_BYTES = 100
    assert send(client, draw_picture(1)) == "/search/"
    assert client.post("/search/picture/").status_code == 302
    assert not ImageQuery.objects.exists()


def test_only_a_small_rendition_is_kept_and_only_the_latest(ann: User, index: SearchIndex) -> None:
    with patch.object(images, "MOST_KEPT", 2):
        taken = [
            take_picture(
                ann, SimpleUploadedFile("x.jpg", draw_picture(number, size=(2000, 1500)))
            ).pk
            for number in range(4)
        ]
    assert set(ImageQuery.objects.values_list("pk", flat=True)) == set(taken[2:])
    assert images._opened(ImageQuery.objects.latest("pk")).size == (512, 384)


def test_a_new_generation_embeds_it_anew(ann: User, index: SearchIndex) -> None:
    taken = take_picture(ann, SimpleUploadedFile("x.jpg", draw_picture(1)))
    embed_waiting_pictures()
    other = SearchIndex.objects.create(
        encoder=index.encoder, revision=index.revision, dimension=index.dimension,
        collection_name="another", status="building",
    )  # fmt: skip
    with pytest.raises(ImagePending):
        image_embedding(other, ann, taken.pk)
    assert ImageQuery.objects.waiting().exists()


def test_an_encoder_that_is_away_costs_nothing_but_time(ann: User, index: SearchIndex) -> None:
    taken = take_picture(ann, SimpleUploadedFile("x.jpg", draw_picture(1)))
    with patch.object(images, "load_image_encoder", side_effect=EncoderUnavailable("away")):
        assert not embed_waiting_pictures()
    with patch.object(images, "load_image_encoder", side_effect=RuntimeError("broken")):
        for _ in range(8):
            ImageQuery.objects.update(due_at=timezone.now())
            embed_waiting_pictures()
    taken.refresh_from_db()
    assert taken.error == images.NOT_UNDERSTOOD
