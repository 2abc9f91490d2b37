from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.models import User
from gallery.albums import add_to_album, choose_cover, create_album, remove_from_album, rename_album
from gallery.models import Album, AlbumPhoto, Photo
from tests.accounts.rows import photo_of


@pytest.fixture
def client(client: Client, ann: User) -> Client:
    client.force_login(ann)
    return client


@pytest.fixture
def album(ann: User) -> Album:
    return create_album(owner=ann, title="Summer")


def shown(album: Album) -> Album:
    return Album.objects.owned_by(album.owner).for_display().get(pk=album.pk)


@pytest.mark.parametrize("title", ["Summer", " summer ", "SUMMER"])
def test_a_title_is_there_once_whatever_its_case(album: Album, ben: User, title: str) -> None:
    with pytest.raises(ValidationError):
        create_album(owner=album.owner, title=title)
    assert create_album(owner=ben, title=title).owner == ben
    other = create_album(owner=album.owner, title="Winter")
    with pytest.raises(ValidationError):
        rename_album(other, title=title)
    assert rename_album(album, title="SUMMER").title == "SUMMER"


@pytest.mark.parametrize("title", ["", "   ", "\x00\n", "x" * 201])
def test_titles_that_are_refused(ann: User, title: str) -> None:
    with pytest.raises(ValidationError):
        create_album(owner=ann, title=title)
    assert not Album.objects.exists()


def test_only_own_photos_get_in_and_each_once(album: Album, ann: User, ben: User) -> None:
    own, theirs, trashed = photo_of(ann), photo_of(ben), photo_of(ann)
    Photo.objects.filter(pk=trashed.pk).update(trashed_at=timezone.now())
    ids = [own.pk, theirs.pk, trashed.pk, 10**9]
    assert add_to_album(album, photo_ids=ids) == 1
    assert add_to_album(album, photo_ids=ids) == 0
    assert list(album.photos.all()) == [own]
    assert remove_from_album(album, photo_ids=ids) == 1
    assert Photo.objects.count() == 3


@pytest.mark.django_db(transaction=True)
def test_adding_at_once_adds_once(ann: User) -> None:
    album = create_album(owner=ann, title="Summer")
    ids = [photo_of(ann).pk for _ in range(20)]

    def add(_: int) -> int:
        try:
            return add_to_album(album, photo_ids=ids)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(add, range(4))) == 20
    assert AlbumPhoto.objects.count() == 20


def test_the_cover_is_the_chosen_one_or_the_newest(album: Album, ann: User, ben: User) -> None:
    assert (shown(album).photo_count, shown(album).cover_pk) == (0, None)
    photos = [photo_of(ann) for _ in range(3)]
    Photo.objects.filter(owner=ann).update(thumbnail="a.jpg")
    add_to_album(album, photo_ids=[photo.pk for photo in photos])
    assert (shown(album).photo_count, shown(album).cover_pk) == (3, photos[2].pk)
    choose_cover(album, photo=photos[0])
    assert shown(album).cover_pk == photos[0].pk
    # In the trash it is no cover, back from there it is one again.
    Photo.objects.filter(pk=photos[0].pk).update(trashed_at=timezone.now())
    assert (shown(album).photo_count, shown(album).cover_pk) == (2, photos[2].pk)
    Photo.objects.update(trashed_at=None)
    assert shown(album).cover_pk == photos[0].pk
    photos[0].delete()
    assert shown(album).cover_pk == photos[2].pk
    for photo in (photo_of(ann), photo_of(ben)):
        with pytest.raises(ValidationError):
            choose_cover(album, photo=photo)


def test_pages(client: Client, album: Album, ann: User) -> None:
    photo = photo_of(ann)
    add_to_album(album, photo_ids=[photo.pk])
    assert "Summer" in client.get("/albums/").content.decode()
    page = client.get(f"/albums/{album.pk}/").content.decode()
    assert f'href="/photos/{photo.pk}/?album={album.pk}"' in page
    inside = client.get(f"/photos/{photo.pk}/?album={album.pk}").content.decode()
    assert f'href="/albums/{album.pk}/"' in inside
    made = client.post("/albums/", {"title": "<b>Lake"}, follow=True)
    assert "&lt;b&gt;Lake" in made.content.decode()
    again = client.post("/albums/", {"title": "summer"})
    assert "You have an album of this title already." in again.content.decode()
    refused = client.post(f"/albums/{album.pk}/rename/", {"title": "<b>lake"})
    assert refused.status_code == 400
    client.post(f"/albums/{album.pk}/rename/", {"title": "Autumn"})
    client.post(f"/albums/{album.pk}/cover/", {"photo": photo.pk})
    album.refresh_from_db()
    assert (album.title, album.cover) == ("Autumn", photo)
    client.post(f"/albums/{album.pk}/delete/")
    assert not Album.objects.filter(pk=album.pk).exists()
    assert Photo.objects.filter(pk=photo.pk).exists()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("get", "/albums/{album}/"), ("post", "/albums/{album}/rename/"),
        ("post", "/albums/{album}/delete/"), ("post", "/albums/{album}/cover/"),
        ("get", "/albums/{album}/download/"), ("get", "/photos/{photo}/?album={album}"),
        ("get", "/timeline/days/?album={album}"), ("get", "/timeline/tiles/?album={album}"),
        ("get", "/timeline/keys/?album={album}"),
        ("post", "/photos/bulk/add-to-album/"), ("post", "/photos/bulk/remove-from-album/"),
        ("post", "/links/create/"),
    ],
)  # fmt: skip
def test_another_persons_album_is_not_found(
    client: Client, ann: User, ben: User, method: str, path: str
) -> None:
    theirs = create_album(owner=ben, title="Private")
    add_to_album(theirs, photo_ids=[photo_of(ben).pk])
    photo = photo_of(ann)
    sent = {"title": "Mine", "photo": photo.pk, "ids": str(photo.pk), "album": theirs.pk}
    if "/bulk/" in path:
        del sent["title"]
    url = path.format(album=theirs.pk, photo=photo.pk)
    assert getattr(client, method)(url, sent if method == "post" else None).status_code == 404
    theirs.refresh_from_db()
    assert (theirs.title, theirs.photos.count()) == ("Private", 1)
    assert "Private" not in client.get("/albums/").content.decode()
    assert "Private" not in client.get("/albums/choices/").content.decode()
