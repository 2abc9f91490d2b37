from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from gallery import signals
from gallery.albums import add_to_album, choose_cover, create_album
from gallery.models import Album, DiscardedFile, Photo
from gallery.tasks import purge_trash
from gallery.trash import delete_for_good, empty_trash, move_to_trash, purge_due_photos, restore
from tests.accounts.rows import photo_of


@pytest.fixture
def client(client: Client, ann: User) -> Client:
    client.force_login(ann)
    return client


def trashed(owner: User, *, days_ago: float = 0) -> Photo:
    photo = photo_of(owner)
    moment = timezone.now() - timedelta(days=days_ago)
    Photo.objects.filter(pk=photo.pk).update(trashed_at=moment)
    return photo


def test_into_the_trash_and_out_again(ann: User, ben: User) -> None:
    own, theirs = photo_of(ann), photo_of(ben)
    ids = [own.pk, theirs.pk, 10**9]
    assert move_to_trash(owner=ann, photo_ids=ids) == 1
    assert move_to_trash(owner=ann, photo_ids=ids) == 0
    assert list(Photo.objects.owned_by(ann)) == []
    assert list(Photo.objects.trashed_of(ann)) == [own]
    assert list(Photo.objects.owned_by(ben)) == [theirs]
    assert restore(owner=ben, photo_ids=ids) == 0
    assert restore(owner=ann, photo_ids=ids) == 1
    assert list(Photo.objects.owned_by(ann)) == [own]


def test_what_is_not_in_the_trash_cannot_be_deleted_for_good(ann: User, ben: User) -> None:
    photos = [photo_of(ann), trashed(ben)]
    assert delete_for_good(owner=ann, photo_ids=[photo.pk for photo in photos]) == 0
    assert purge_due_photos(for_seconds=5) is False
    assert Photo.objects.count() == 2


def test_what_is_deleted_for_good_is_gone_at_once_and_its_files_soon(ann: User) -> None:
    gone, kept, other = trashed(ann), trashed(ann), photo_of(ann)
    heard: list[int] = []

    def hear(photo_id: int, **_: object) -> None:
        heard.append(photo_id)

    signals.photo_deleted.connect(hear)
    try:
        assert delete_for_good(owner=ann, photo_ids=[gone.pk]) == 1
        assert list(Photo.objects.trashed_of(ann)) == [kept]
        assert restore(owner=ann, photo_ids=[gone.pk]) == 0
        purge_trash()
    finally:
        signals.photo_deleted.disconnect(hear)
    assert set(Photo.objects.all()) == {kept, other}
    assert heard == [gone.pk]
    assert DiscardedFile.objects.filter(name=gone.original.name).exists()


def test_after_its_time_a_photo_is_deleted(ann: User, settings: Settings) -> None:
    settings.TRASH_DAYS = 30
    old, young = trashed(ann, days_ago=30.01), trashed(ann, days_ago=29.9)
    assert list(Photo.objects.trashed_of(ann)) == [young]
    purge_trash()
    assert list(Photo.objects.all()) == [young]
    assert old.pk not in Photo.objects.values_list("pk", flat=True)


def test_a_full_trash_is_deleted_in_turns(ann: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gallery.trash.PURGED_AT_ONCE", 2)
    for _ in range(5):
        trashed(ann, days_ago=100)
    assert purge_due_photos(for_seconds=0) is True
    assert Photo.objects.count() == 5
    assert purge_due_photos(for_seconds=60) is False
    assert not Photo.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_an_album_is_locked_before_what_it_is_shown_by(ann: User) -> None:
    """The order that all keep to: who holds the album gets the photos as well."""
    photo = photo_of(ann)
    album = create_album(owner=ann, title="Lake")
    add_to_album(album, photo_ids=[photo.pk])
    choose_cover(album, photo=photo)
    Photo.objects.update(trashed_at=timezone.now() - timedelta(days=100))

    def purge() -> None:
        try:
            purge_due_photos(for_seconds=60)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as threads:
        with transaction.atomic():
            Album.objects.select_for_update().get(pk=album.pk)
            purged = threads.submit(purge)
            time.sleep(0.5)
            Photo.objects.select_for_update(nowait=True).get(pk=photo.pk)
        purged.result(timeout=30)
    # It may have found the photo locked.
    purge_due_photos(for_seconds=60)
    assert not Photo.objects.exists()
    assert Album.objects.get().cover is None


def test_emptying(client: Client, ann: User, ben: User) -> None:
    kept, theirs = photo_of(ann), trashed(ben)
    for _ in range(3):
        trashed(ann)
    assert client.post("/trash/empty/")["Location"] == "/trash/"
    assert "The trash is empty" in client.get("/trash/").content.decode()
    purge_trash()
    assert set(Photo.objects.all()) == {kept, theirs}
    assert empty_trash(owner=ann) == 0


def test_an_upload_brings_back_what_is_about_to_be_deleted(ann: User) -> None:
    """The bytes are there still, so the photo is: not a second one that the deletion would meet."""
    photo = trashed(ann)
    delete_for_good(owner=ann, photo_ids=[photo.pk])
    Photo.objects.filter(pk=photo.pk).update(trashed_at=None)  # as `add_photo` does
    purge_trash()
    assert Photo.objects.get() == photo


def test_pages(client: Client, ann: User, ben: User) -> None:
    photo, older, theirs = photo_of(ann), photo_of(ann), photo_of(ben)
    Photo.objects.filter(pk=older.pk).update(taken_at="2020-01-01T00:00:00Z")
    assert client.post(f"/photos/{theirs.pk}/trash/").status_code == 404
    # One goes on with the photo after it.
    assert client.post(f"/photos/{photo.pk}/trash/")["Location"] == f"/photos/{older.pk}/"
    assert client.post(f"/photos/{older.pk}/trash/")["Location"] == "/"
    assert client.post(f"/photos/{older.pk}/trash/").status_code == 404
    for path in (f"/photos/{photo.pk}/", f"/photos/{photo.pk}/original/"):
        assert client.get(path).status_code == 404
    page = client.get("/trash/")
    assert 'data-count="2"' in page.content.decode()
    tiles = client.get("/timeline/tiles/?trash=1").json()
    assert {tile["id"] for tile in tiles["items"]} == {photo.pk, older.pk}


def test_the_files_of_the_trash_are_its_owners(client: Client, ann: User, ben: User) -> None:
    own, theirs = trashed(ann), trashed(ben)
    Photo.objects.update(thumbnail="missing.jpg")
    assert client.get(f"/trash/{theirs.pk}/thumbnail/").status_code == 404
    assert client.get(f"/trash/{photo_of(ann).pk}/thumbnail/").status_code == 404
    assert client.get(f"/trash/{own.pk}/original/").status_code == 404
