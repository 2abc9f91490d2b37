from __future__ import annotations

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client
from django.utils import timezone

from accounts.models import User
from gallery.models import Photo
from gallery.processing import process_due_photos
from gallery.services import add_photo
from tests.conftest import draw_picture

VARIANTS = ["thumbnail", "preview", "original"]


@pytest.fixture
def client(client: Client, ann: User) -> Client:
    client.force_login(ann)
    return client


def add(owner: User, filename: str = "holiday.png") -> Photo:
    file = ContentFile(draw_picture(1, picture_format="PNG"), name="a.png")
    photo = add_photo(owner=owner, file=file, filename=filename).photo
    process_due_photos(for_seconds=30)
    photo.refresh_from_db()
    return photo


@pytest.fixture
def photo(ann: User) -> Photo:
    return add(ann)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_owner_gets_the_file(client: Client, photo: Photo, variant: str) -> None:
    response = client.get(f"/photos/{photo.pk}/{variant}/")
    content = response.getvalue()
    assert content == default_storage.open(getattr(photo, variant).name).read()
    assert response["Content-Type"] == ("image/png" if variant == "original" else "image/jpeg")
    assert int(response["Content-Length"]) == len(content)
    caching = "private, no-cache" if variant == "original" else "private, max-age=86400"
    assert response["Cache-Control"] == caching
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert {"Cookie", "Authorization"} <= set(response["Vary"].split(", "))


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_the_browser_has_is_not_sent_again(client: Client, photo: Photo, variant: str) -> None:
    url = f"/photos/{photo.pk}/{variant}/"
    etag = client.get(url)["ETag"]
    for condition in (etag, f'"other", W/{etag}', "*"):
        response = client.get(url, headers={"If-None-Match": condition})
        assert (response.status_code, response.content) == (304, b"")
        assert response["ETag"] == etag
        assert response["Cache-Control"].startswith("private")
    assert client.get(url, headers={"If-None-Match": '"other"'}).status_code == 200
    others = {client.get(f"/photos/{photo.pk}/{name}/")["ETag"] for name in VARIANTS}
    assert len(others) == 3


def test_a_new_rendering_has_a_new_etag(client: Client, photo: Photo) -> None:
    url = f"/photos/{photo.pk}/thumbnail/"
    etag = client.get(url)["ETag"]
    Photo.objects.update(state="processing", attempts=0, due_at=timezone.now())
    process_due_photos(for_seconds=30)
    assert client.get(url, headers={"If-None-Match": etag}).status_code == 200


@pytest.mark.parametrize("variant", VARIANTS)
def test_head(client: Client, photo: Photo, variant: str) -> None:
    got, head = (getattr(client, m)(f"/photos/{photo.pk}/{variant}/") for m in ("get", "head"))
    assert head.status_code == 200
    assert head.getvalue() == b""
    for name in ("ETag", "Content-Type", "Content-Length", "Cache-Control"):
        assert head[name] == got[name]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("method", ["get", "head"])
def test_another_persons_is_not_found(photo: Photo, ben: User, variant: str, method: str) -> None:
    url = f"/photos/{photo.pk}/{variant}/"
    etag = f'"{photo.sha256}-{getattr(photo, variant).name.rsplit("/", 1)[-1]}"'
    client = Client()
    client.force_login(ben)
    # Not even to somebody who has seen it.
    for headers in ({}, {"If-None-Match": etag}, {"If-None-Match": "*"}):
        response = getattr(client, method)(url, headers=headers)
        assert response.status_code == 404
        assert "ETag" not in response


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_file_that_is_gone_is_not_found(client: Client, photo: Photo, variant: str) -> None:
    default_storage.delete(getattr(photo, variant).name)
    assert client.get(f"/photos/{photo.pk}/{variant}/").status_code == 404


@pytest.mark.parametrize("path", ["thumbnail", "preview", "other", "original/x"])
def test_what_is_not_there_yet_is_not_found(client: Client, ann: User, path: str) -> None:
    file = ContentFile(draw_picture(1), name="a.jpg")
    waiting = add_photo(owner=ann, file=file, filename="a.jpg").photo
    assert client.get(f"/photos/{waiting.pk}/{path}/").status_code == 404


def test_in_the_trash_it_is_not_found(client: Client, photo: Photo) -> None:
    Photo.objects.update(trashed_at=timezone.now())
    assert client.get(f"/photos/{photo.pk}/original/").status_code == 404


@pytest.mark.parametrize(
    ("filename", "disposition"),
    [
        ("holiday.png", 'attachment; filename="holiday.png"'),
        ('a "b" c;.png', 'attachment; filename="a \\"b\\" c;.png"'),
        ("été.png", "attachment; filename*=utf-8''%C3%A9t%C3%A9.png"),
        ("a\r\nSet-Cookie: x.png", 'attachment; filename="aSet-Cookie: x.png"'),
        ("夏 %0d%0a.png", "attachment; filename*=utf-8''%E5%A4%8F%20%250d%250a.png"),
    ],
)
def test_names_of_downloads(client: Client, ann: User, filename: str, disposition: str) -> None:
    photo = add(ann, filename)
    response = client.get(f"/photos/{photo.pk}/original/?download=1")
    assert response["Content-Disposition"] == disposition
    # Looked at, it is no download; a rendition never is.
    for url in (f"/photos/{photo.pk}/original/", f"/photos/{photo.pk}/preview/?download=1"):
        assert client.get(url)["Content-Disposition"].startswith("inline")


def test_files_can_be_had_with_a_token(ann: User, photo: Photo) -> None:
    """The API names these addresses, so its clients must be able to use them."""
    token = (
        Client()
        .post("/api/v1/auth/token/", {"username": "ann", "password": "correct horse battery"})
        .json()["token"]
    )
    for variant in VARIANTS:
        url = f"/photos/{photo.pk}/{variant}/"
        assert Client().get(url, headers={"Authorization": f"Token {token}"}).status_code == 200
        refused = Client().get(url, headers={"Authorization": "Token wrong"})
        assert refused.status_code == 401
        assert "ETag" not in refused
