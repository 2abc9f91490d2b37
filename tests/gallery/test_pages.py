from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.core.files.base import ContentFile
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from gallery.models import Photo
from gallery.processing import process_due_photos
from gallery.services import add_photo
from gallery.views import photos
from tests.accounts.rows import photo_of
from tests.conftest import draw_picture

Render = Callable[..., Photo]


@pytest.fixture
def client(client: Client, ann: User) -> Client:
    client.force_login(ann)
    return client


@pytest.fixture
def rendered(ann: User) -> Photo:
    file = ContentFile(draw_picture(1), name="a.jpg")
    photo = add_photo(owner=ann, file=file, filename="On <b>the lake.jpg").photo
    process_due_photos(for_seconds=30)
    photo.refresh_from_db()
    return photo


def failed(owner: User) -> Photo:
    photo = photo_of(owner)
    Photo.objects.filter(pk=photo.pk).update(state="failed", error="The picture can't be decoded.")
    return photo


def shown(content: bytes) -> list[int]:
    """The photos in the grid that is there for who has no scripts."""
    return [int(key) for key in re.findall(r'data-photo-id="(\d+)"', content.decode())]


def following(content: bytes) -> str | None:
    found = re.search(r'href="\?(cursor=\d+)"', content.decode())
    return f"/?{found[1]}" if found else None


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("get", "/"),
        ("get", "/photos/states/?ids={}"),
        ("get", "/photos/{}/"),
        ("get", "/photos/{}/thumbnail/"),
        ("get", "/photos/{}/preview/"),
        ("get", "/photos/{}/original/"),
        ("post", "/photos/{}/trash/"),
        ("post", "/photos/{}/retry/"),
        ("post", "/photos/{}/favourite/"),
        ("post", "/photos/{}/caption/"),
        ("post", "/photos/bulk/trash/"),
        ("post", "/photos/download/"),
        ("get", "/favourites/"),
        ("get", "/timeline/days/"),
        ("get", "/timeline/tiles/"),
        ("get", "/timeline/keys/"),
        ("get", "/albums/"),
        ("get", "/albums/choices/"),
        ("get", "/albums/1/"),
        ("post", "/albums/1/delete/"),
        ("get", "/albums/1/download/"),
        ("get", "/trash/"),
        ("get", "/trash/{}/thumbnail/"),
        ("post", "/trash/empty/"),
        ("get", "/links/"),
        ("post", "/links/create/"),
        ("post", "/links/1/close/"),
        ("get", "/export/"),
        ("get", "/search/?q=cat"),
        ("get", "/accounts/profile/"),
    ],
)
def test_everything_needs_a_signed_in_person(rendered: Photo, method: str, path: str) -> None:
    response = getattr(Client(), method)(path.format(rendered.pk))
    assert response.status_code == 302
    assert response["Location"].startswith("/accounts/login/?next=")
    assert Photo.objects.filter(pk=rendered.pk).exists()


@pytest.mark.parametrize("action", ["trash", "retry", "favourite", "caption"])
def test_what_changes_something_is_posted_with_a_csrf_token(
    ann: User, rendered: Photo, action: str
) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(ann)
    assert strict.post(f"/photos/{rendered.pk}/{action}/").status_code == 403
    assert strict.get(f"/photos/{rendered.pk}/{action}/").status_code == 405
    assert Photo.objects.filter(pk=rendered.pk).exists()


def test_the_grid_goes_on_where_it_ended(
    client: Client, ann: User, ben: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(photos, "PAGE_SIZE", 3)
    own = [photo_of(ann).pk for _ in range(7)]
    photo_of(ben)
    trashed = photo_of(ann)
    Photo.objects.filter(pk=trashed.pk).update(trashed_at=timezone.now())

    first = client.get("/")
    assert 'data-count="7"' in first.content.decode()
    pages, url = [shown(first.content)], following(first.content)
    newer = photo_of(ann)  # one that is added meanwhile moves nothing
    while url:
        page = client.get(url)
        pages.append(shown(page.content))
        url = following(page.content)
    assert pages == [own[:-4:-1], own[3:0:-1], own[:1]]
    assert all(newer.pk not in page for page in pages)


def test_the_grid_goes_by_the_time_taken(client: Client, ann: User) -> None:
    first, second, third = photo_of(ann), photo_of(ann), photo_of(ann)
    Photo.objects.filter(pk=third.pk).update(taken_at="2021-07-04T12:00:00Z")
    Photo.objects.filter(pk=first.pk).update(taken_at="2040-07-04T12:00:00Z")
    assert shown(client.get("/").content) == [first.pk, second.pk, third.pk]
    assert shown(client.get("/", {"cursor": second.pk}).content) == [third.pk]


@pytest.mark.parametrize("cursor", ["", "x", "-1", "0", "9" * 30, "1;drop", "²"])
def test_a_cursor_that_is_none_starts_anew(client: Client, ann: User, cursor: str) -> None:
    photo = photo_of(ann)
    page = client.get("/", {"cursor": cursor})
    assert (page.status_code, shown(page.content)) == (200, [photo.pk])


def test_an_empty_gallery_says_what_to_do(client: Client) -> None:
    page = client.get("/").content.decode()
    assert "Your photos go here" in page
    assert shown(page.encode()) == []


def test_pictures_have_an_alternative_text_and_a_size(client: Client, rendered: Photo) -> None:
    for path in ("/", f"/photos/{rendered.pk}/"):
        page = client.get(path).content.decode()
        images = re.findall(r"<img[^>]*>", page)
        assert images
        assert all(" alt=" in image for image in images)
        assert 'alt="Photo On &lt;b&gt;the lake"' in page
        assert "<b>the" not in page
    assert 'width="320" height="240"' in client.get("/").content.decode()


def test_a_photo_with_its_facts_and_neighbours(client: Client, ann: User, ben: User) -> None:
    older, _foreign, middle, newer = photo_of(ann), photo_of(ben), photo_of(ann), photo_of(ann)
    Photo.objects.filter(pk=middle.pk).update(
        camera="Pixel 8", latitude=52.52, longitude=-13.41, taken_at="2021-07-04T12:30:45Z"
    )
    Photo.objects.filter(pk=older.pk).update(taken_at="2021-07-03T12:30:45Z")
    page = client.get(f"/photos/{middle.pk}/").content.decode()
    assert re.search(rf'id="viewer-newer"[^>]*href="/photos/{newer.pk}/"', page)
    assert re.search(rf'id="viewer-older"[^>]*href="/photos/{older.pk}/"', page)
    for fact in ("Pixel 8", "July 4, 2021", "52.5200, -13.4100", "mlon=-13.41", "4 × 3"):
        assert fact in page, fact
    assert 'id="viewer-newer"' not in client.get(f"/photos/{newer.pk}/").content.decode()
    assert 'id="viewer-older"' not in client.get(f"/photos/{older.pk}/").content.decode()


def test_numbers_in_links_are_not_written_for_people(
    client: Client, ann: User, settings: Settings
) -> None:
    settings.LANGUAGE_CODE = "de"
    photo = photo_of(ann)
    Photo.objects.filter(pk=photo.pk).update(id=1_234_567, latitude=52.5, longitude=13.25)
    for path in ("/", "/photos/1234567/"):
        page = client.get(path).content.decode()
        assert 'data-photo-id="1234567"' in page
        assert not re.search(r'(?:href|action|src|id|hx-get|hx-post)="[^"]*1[.,]234', page), path
    assert "mlat=52.5&" in client.get("/photos/1234567/").content.decode()


@pytest.mark.parametrize(
    "path", ["/photos/0/", "/photos/99999999999999999999999/", "/photos/x/", "/albums/0/"]
)
def test_what_does_not_exist_is_not_found(client: Client, path: str) -> None:
    assert client.get(path).status_code == 404


def test_states(client: Client, ann: User, ben: User, rendered: Photo) -> None:
    waiting, broken, foreign = photo_of(ann), failed(ann), photo_of(ben)
    keys = [rendered.pk, waiting.pk, broken.pk, foreign.pk]
    response = client.get("/photos/states/", {"ids": ",".join(map(str, [*keys, "x", "9" * 40]))})
    assert "no-store" in response["Cache-Control"]
    body = response.json()
    assert {photo["id"]: (photo["status"], photo["searchable"]) for photo in body["photos"]} == {
        rendered.pk: ("ready", False),
        waiting.pk: ("processing", False),
        broken.pk: ("failed", False),
    }
    assert body["unsearchable"] == 2  # a failed one is not awaited
    errors = {photo["id"]: photo["error"] for photo in body["photos"]}
    assert errors[broken.pk] == "The picture can't be decoded."
    assert client.get("/photos/states/").json()["photos"] == []


def test_retrying(client: Client, ann: User, ben: User) -> None:
    first, second, theirs = failed(ann), failed(ann), failed(ben)
    answer = client.post(f"/photos/{first.pk}/retry/", headers={"Accept": "application/json"})
    assert (answer.status_code, answer.content) == (204, b"")
    assert client.post(f"/photos/{second.pk}/retry/")["Location"] == f"/photos/{second.pk}/"
    assert client.post(f"/photos/{theirs.pk}/retry/").status_code == 404
    assert list(Photo.objects.filter(state="failed")) == [theirs]


def test_favourites(client: Client, ann: User, ben: User) -> None:
    photo, other, theirs = photo_of(ann), photo_of(ann), photo_of(ben)
    assert client.post(f"/photos/{theirs.pk}/favourite/").status_code == 404
    client.post(f"/photos/{photo.pk}/favourite/", {"favourite": "true"})
    assert list(Photo.objects.favourites()) == [photo]
    assert shown(client.get("/favourites/").content) == [photo.pk]
    # Among the favourites, the neighbours are favourites.
    client.post(f"/photos/{other.pk}/favourite/")
    page = client.get(f"/photos/{other.pk}/?favourites=1").content.decode()
    assert f'href="/photos/{photo.pk}/?favourites=1"' in page
    client.post(f"/photos/{photo.pk}/favourite/", {"favourite": "false"})
    client.post(f"/photos/{other.pk}/favourite/", {"favourite": "false"})
    assert client.get(f"/photos/{photo.pk}/?favourites=1").status_code == 404
    assert "No favourites yet" in client.get("/favourites/").content.decode()


def test_captions(client: Client, ann: User, ben: User) -> None:
    photo, theirs = photo_of(ann), photo_of(ben)
    assert client.post(f"/photos/{theirs.pk}/caption/", {"caption": "x"}).status_code == 404
    sent = {"caption": "  <b>At\r\nthe lake\x00 " + "x" * 3000}
    client.post(f"/photos/{photo.pk}/caption/", sent)
    photo.refresh_from_db()
    assert photo.caption.startswith("<b>At\nthe lake")
    assert len(photo.caption) == 2000
    page = client.get(f"/photos/{photo.pk}/").content.decode()
    assert "&lt;b&gt;At\nthe lake" in page
    assert "<b>At" not in page
    client.post(f"/photos/{photo.pk}/caption/", {})
    photo.refresh_from_db()
    assert photo.caption == ""


def test_the_exposure_is_told(client: Client, ann: User) -> None:
    photo = photo_of(ann)
    Photo.objects.update(f_number=1.78, exposure_time_s=1 / 121, iso=64, focal_length_mm=6.86)
    assert (
        "f/1.8 · 1/121 s · ISO 64 · 6.86 mm" in client.get(f"/photos/{photo.pk}/").content.decode()
    )
    Photo.objects.update(f_number=None, exposure_time_s=2.5, iso=None, focal_length_mm=None)
    assert "2.5 s" in client.get(f"/photos/{photo.pk}/").content.decode()


def test_a_time_at_the_edge_can_be_shown_everywhere(
    client: Client, ann: User, settings: Settings
) -> None:
    """Whatever the API takes as a time, the pages can show in every time zone."""
    photo = photo_of(ann)
    taken = []
    for moment in ("1826-01-01T00:00:00Z", "9998-12-31T23:59:59Z"):
        response = client.patch(
            f"/api/v1/photos/{photo.pk}/", {"taken_at": moment}, content_type="application/json"
        )
        taken.append(response.status_code)
        for zone in ("Pacific/Kiritimati", "Etc/GMT+12"):
            settings.TIME_ZONE = zone
            assert client.get(f"/photos/{photo.pk}/").status_code == 200
        settings.TIME_ZONE = "UTC"
    assert taken == [200, 200]
