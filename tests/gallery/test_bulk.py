from __future__ import annotations

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from gallery.albums import create_album
from gallery.models import Photo
from tests.accounts.rows import photo_of


@pytest.fixture
def client(client: Client, ann: User) -> Client:
    client.force_login(ann)
    return client


def act(client: Client, action: str, photos: list[Photo], **fields: object) -> tuple[int, str]:
    ids = ",".join(str(photo.pk) for photo in photos)
    response = client.post(f"/photos/bulk/{action}/", {"ids": ids, **fields})
    return response.status_code, response.json()["message"]


def test_each_action_leaves_other_peoples_photos_alone(
    client: Client, ann: User, ben: User
) -> None:
    own, theirs = photo_of(ann), photo_of(ben)
    both = [own, theirs]
    assert act(client, "favourite", both) == (200, "1 photo is a favourite.")
    assert list(Photo.objects.favourites()) == [own]
    assert act(client, "unfavourite", both) == (200, "1 photo is no favourite any more.")
    assert act(client, "trash", both) == (200, "1 photo is in the trash.")
    assert list(Photo.objects.exclude(trashed_at=None)) == [own]
    Photo.objects.update(trashed_at=timezone.now(), is_favourite=False)
    assert act(client, "restore", both) == (200, "1 photo is back.")
    assert act(client, "trash", both) == (200, "1 photo is in the trash.")
    assert act(client, "delete", both) == (200, "1 photo is deleted for good.")
    assert list(Photo.objects.trashed_of(ben)) == [theirs]
    assert list(Photo.objects.trashed_of(ann)) == []


def test_albums(client: Client, ann: User, ben: User) -> None:
    photos = [photo_of(ann), photo_of(ann), photo_of(ben)]
    assert act(client, "add-to-album", photos, title="Summer") == (200, "2 photos were added.")
    status, message = act(client, "add-to-album", photos, title="summer")
    assert (status, message) == (400, "You have an album of this title already.")
    assert act(client, "add-to-album", photos, title=" ")[0] == 400
    winter = create_album(owner=ann, title="Winter")
    assert act(client, "add-to-album", photos[:1], album=winter.pk)[0] == 200
    message = "1 photo was taken out of the album."
    assert act(client, "remove-from-album", photos, album=winter.pk) == (200, message)
    ids = {"ids": str(photos[0].pk)}
    for album in ("", "x", "0"):
        sent = {**ids, "album": album}
        assert client.post("/photos/bulk/add-to-album/", sent).status_code == 404


@pytest.mark.parametrize("ids", ["", ",,", "x,²,-1", "9" * 40])
def test_keys_that_are_none(client: Client, ann: User, ids: str) -> None:
    photo_of(ann)
    for action in ("trash", "favourite", "restore", "delete"):
        response = client.post(f"/photos/bulk/{action}/", {"ids": ids})
        assert response.json()["message"].startswith("0 photos")
    assert Photo.objects.owned_by(ann).count() == 1


@pytest.mark.parametrize("action", ["explode", "trash/x", ""])
def test_actions_that_do_not_exist(client: Client, action: str) -> None:
    assert client.post(f"/photos/bulk/{action}/").status_code == 404
