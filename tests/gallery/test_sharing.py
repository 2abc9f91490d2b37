from __future__ import annotations

import io
import zipfile
from datetime import timedelta

import pytest
from django.core.files.base import ContentFile
from django.test import Client
from django.utils import timezone

from accounts.models import User
from gallery.albums import add_to_album, create_album
from gallery.models import Album, Photo, ShareLink
from gallery.processing import process_due_photos
from gallery.services import add_photo
from gallery.sharing import revoke, share
from gallery.trash import move_to_trash
from tests.conftest import draw_picture

PASSWORD = "only for friends"
PLACES = ("", "tiles/", "download/", "photos/{}/", "photos/{}/thumbnail/", "photos/{}/original/")


@pytest.fixture
def visitor(db: None) -> Client:
    """Somebody without an account."""
    return Client()


@pytest.fixture
def client(client: Client, ann: User) -> Client:
    client.force_login(ann)
    return client


def add(owner: User, number: int) -> Photo:
    file = ContentFile(draw_picture(number), name="a.jpg")
    photo = add_photo(owner=owner, file=file, filename=f"{number}.jpg").photo
    process_due_photos(for_seconds=30)
    return photo


@pytest.fixture
def shared(ann: User) -> Photo:
    return add(ann, 1)


@pytest.fixture
def other(ann: User) -> Photo:
    return add(ann, 2)


@pytest.fixture
def album(ann: User, shared: Photo) -> Album:
    album = create_album(owner=ann, title="Summer")
    add_to_album(album, photo_ids=[shared.pk])
    return album


@pytest.fixture
def link(ann: User, album: Album) -> ShareLink:
    return share(owner=ann, album=album)


def statuses(visitor: Client, link: ShareLink, photo: Photo) -> set[int]:
    url = link.get_absolute_url()
    return {visitor.get(url + place.format(photo.pk)).status_code for place in PLACES}


def test_whoever_has_the_link_sees_its_photos(
    visitor: Client, link: ShareLink, shared: Photo, other: Photo
) -> None:
    url = link.get_absolute_url()
    assert statuses(visitor, link, shared) == {200}
    page = visitor.get(url)
    assert "Summer" in page.content.decode()
    assert page["X-Robots-Tag"] == "noindex, nofollow"
    assert "private" in page["Cache-Control"]
    assert "Set-Cookie" not in page.headers
    assert not page.cookies
    # Nothing of the site is behind it: neither the search nor the account, nor other photos.
    for word in ("/search/", "/accounts/", 'href="/"', "ann@example.com"):
        assert word not in page.content.decode()
    for place in PLACES[3:]:
        assert visitor.get(url + place.format(other.pk)).status_code == 404
    assert [tile["id"] for tile in visitor.get(f"{url}tiles/").json()["items"]] == [shared.pk]
    assert visitor.get(f"/photos/{shared.pk}/original/").status_code == 302  # to the sign-in
    archive = zipfile.ZipFile(io.BytesIO(visitor.get(f"{url}download/").getvalue()))
    assert archive.namelist() == ["1.jpg"]


def test_favourites_are_the_owners_affair(visitor: Client, link: ShareLink, shared: Photo) -> None:
    Photo.objects.update(is_favourite=True)
    [tile] = visitor.get(f"{link.get_absolute_url()}tiles/").json()["items"]
    assert tile["favourite"] is False
    assert '"favourite": true' not in visitor.get(link.get_absolute_url()).content.decode()


def test_the_place_is_not_shown(visitor: Client, link: ShareLink, shared: Photo) -> None:
    Photo.objects.update(latitude=52.52, longitude=13.41)
    page = visitor.get(f"{link.get_absolute_url()}photos/{shared.pk}/").content.decode()
    assert "52.5" not in page
    assert "openstreetmap" not in page


def test_an_album_is_shared_with_what_comes_later(
    visitor: Client, link: ShareLink, album: Album, shared: Photo, other: Photo
) -> None:
    add_to_album(album, photo_ids=[other.pk])
    assert statuses(visitor, link, other) == {200}
    move_to_trash(owner=album.owner, photo_ids=[shared.pk])
    assert visitor.get(f"{link.get_absolute_url()}photos/{shared.pk}/").status_code == 404
    assert visitor.get(f"{link.get_absolute_url()}photos/{shared.pk}/original/").status_code == 404


def test_chosen_photos_are_shared(
    visitor: Client, ann: User, ben: User, shared: Photo, other: Photo
) -> None:
    theirs = add(ben, 3)
    link = share(owner=ann, photo_ids=[shared.pk, theirs.pk])
    assert list(link.shared_photos()) == [shared]
    for photo in (other, theirs):
        url = f"{link.get_absolute_url()}photos/{photo.pk}/original/"
        assert visitor.get(url).status_code == 404


def test_a_photo_that_changed_hands_is_not_shared(link: ShareLink, ben: User) -> None:
    """Whatever stands in the album, only photos of the link's owner are shown."""
    Photo.objects.update(owner=ben)
    assert list(link.shared_photos()) == []


@pytest.mark.parametrize("end", ["revoked", "expired", "album deleted", "owner inactive"])
def test_links_end(
    visitor: Client, link: ShareLink, album: Album, shared: Photo, ann: User, end: str
) -> None:
    if end == "revoked":
        revoke(link)
    elif end == "expired":
        ShareLink.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    elif end == "album deleted":
        album.delete()
    else:
        User.objects.update(is_active=False)
    assert statuses(visitor, link, shared) == {404}
    page = visitor.get(link.get_absolute_url())
    unknown = visitor.get("/s/unknown/")
    assert page.content == unknown.content
    assert "leads nowhere" in page.content.decode()
    assert "/accounts/" not in page.content.decode()


def test_tokens_cannot_be_guessed(ann: User, album: Album) -> None:
    tokens = {share(owner=ann, album=album).token for _ in range(20)}
    assert len(tokens) == 20
    assert all(len(token) >= 43 for token in tokens)  # 256 bits


def test_a_password_is_asked_for_once_a_session(
    visitor: Client, ann: User, album: Album, shared: Photo
) -> None:
    link = share(owner=ann, album=album, password=PASSWORD)
    url = link.get_absolute_url()
    assert PASSWORD not in link.password
    asked = visitor.get(url)
    assert asked.status_code == 200
    assert "Summer" not in asked.content.decode()
    for place in PLACES[1:]:
        assert visitor.get(url + place.format(shared.pk)).status_code == 404
    assert visitor.post(url, {"password": "something else"}).status_code == 403
    assert visitor.get(f"{url}tiles/").status_code == 404
    assert visitor.post(url, {"password": PASSWORD})["Location"] == url
    assert statuses(visitor, link, shared) == {200}
    assert Client().get(f"{url}tiles/").status_code == 404  # another session
    # The password of one link opens no other one, and a changed one closes again.
    second = share(owner=ann, album=album, password=PASSWORD)
    assert visitor.get(f"{second.get_absolute_url()}tiles/").status_code == 404
    ShareLink.objects.filter(pk=link.pk).update(password="")
    ShareLink.objects.filter(pk=link.pk).update(password=second.password)
    assert visitor.get(f"{url}tiles/").status_code == 404


def test_guessing_the_password_is_stopped(visitor: Client, ann: User, album: Album) -> None:
    link = share(owner=ann, album=album, password=PASSWORD)
    url = link.get_absolute_url()
    tries = [visitor.post(url, {"password": str(number)}).status_code for number in range(12)]
    assert tries == [403] * 10 + [429] * 2
    assert visitor.post(url, {"password": PASSWORD}).status_code == 429
    # Another link is another lock.
    second = share(owner=ann, album=album, password=PASSWORD)
    assert visitor.post(second.get_absolute_url(), {"password": PASSWORD}).status_code == 302


def test_links_are_made_and_closed_on_pages(
    client: Client, ann: User, ben: User, album: Album, shared: Photo
) -> None:
    made = client.post(
        "/links/create/", {"album": album.pk, "days": "7", "password": PASSWORD}, follow=True
    )
    link = ShareLink.objects.get()
    assert link.get_absolute_url() in made.content.decode()
    assert link.expires_at is not None
    assert timedelta(days=6) < link.expires_at - timezone.now() <= timedelta(days=7)
    assert "not opened yet" in made.content.decode()
    visitor = Client()
    visitor.post(link.get_absolute_url(), {"password": PASSWORD})
    visitor.get(link.get_absolute_url())
    assert "last opened" in client.get("/links/").content.decode()

    client.post("/links/create/", {"ids": str(shared.pk), "days": "", "password": ""})
    chosen = ShareLink.objects.get(album=None)
    assert (list(chosen.shared_photos()), chosen.expires_at) == ([shared], None)

    other = Client()
    other.force_login(ben)
    assert other.post(f"/links/{link.pk}/close/").status_code == 404
    assert link.token not in other.get("/links/").content.decode()
    client.post(f"/links/{link.pk}/close/")
    assert link.token not in client.get("/links/").content.decode()
    assert visitor.get(link.get_absolute_url()).status_code == 404


@pytest.mark.parametrize(
    "sent",
    [
        {"ids": ""}, {"ids": "x"}, {"ids": "999999999"}, {"ids": "{}", "password": "short"},
        {"ids": "{}", "days": "2"}, {"ids": "{}", "days": "x"},
    ],
)  # fmt: skip
def test_what_cannot_be_shared(client: Client, shared: Photo, sent: dict[str, str]) -> None:
    sent = {name: value.format(shared.pk) for name, value in sent.items()}
    response = client.post("/links/create/", sent)
    assert (response.status_code, ShareLink.objects.count()) == (400, 0)
    assert "field-errors" in response.content.decode() or "alert" in response.content.decode()
