from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from django.test import Client
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase
from pytest_django import Settings

from accounts.models import User
from gallery.albums import add_to_album, create_album
from gallery.models import Photo
from gallery.sharing import share
from gallery.timeline import MOST_ITEMS, in_timeline, outline
from tests.accounts.rows import photo_of


@pytest.fixture
def client(client: Client, ann: User) -> Client:
    client.force_login(ann)
    return client


def taken(owner: User, moment: str, *, width: int = 4, height: int = 3) -> Photo:
    photo = photo_of(owner)
    Photo.objects.filter(pk=photo.pk).update(taken_at=moment, width=width, height=height)
    return photo


def ratios(shapes: str) -> list[float]:
    return [(ord(shape) - ord("!")) / 30 for shape in shapes]


def test_days_are_those_of_the_sites_time_zone(ann: User, settings: Settings) -> None:
    settings.TIME_ZONE = "Europe/Berlin"
    for moment in ("2024-05-03T21:59:00Z", "2024-05-03T22:01:00Z", "2024-05-04T21:59:00Z"):
        taken(ann, moment)
    days = outline(in_timeline(Photo.objects.owned_by(ann)))
    assert [(day, len(shapes)) for day, shapes in days] == [("2024-05-04", 2), ("2024-05-03", 1)]


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (4, 3, 4 / 3), (3, 4, 0.75), (1, 1, 1), (9000, 1000, 3), (10, 10_000, 0.5), (16, 9, 16 / 9),
        (120_000_000, 1, 3), (1, 120_000_000, 0.5), (2**31 - 1, 1, 3), (1, 2**31 - 1, 0.5),
        (0, 0, 0.5),
    ],
)  # fmt: skip
def test_shapes(ann: User, width: int, height: int, expected: float) -> None:
    taken(ann, "2024-05-03T12:00:00Z", width=width, height=height)
    [(_, shapes)] = outline(in_timeline(Photo.objects.owned_by(ann)))
    assert ratios(shapes) == [pytest.approx(expected, abs=1 / 59)]


@pytest.mark.parametrize("size", [(120_000_000, 1), (1, 120_000_000), (2**31 - 1, 1), (1, 1)])
def test_no_shape_makes_a_page_fail(client: Client, ann: User, size: tuple[int, int]) -> None:
    photo = taken(ann, "2024-05-03T12:00:00Z", width=size[0], height=size[1])
    link = share(owner=ann, photo_ids=[photo.pk])
    pages = (
        "/", f"/photos/{photo.pk}/", "/timeline/days/", link.get_absolute_url(),
        "/search/duplicates/", f"{link.get_absolute_url()}photos/{photo.pk}/",
        "/search/?q=is:favourite", "/api/v1/photos/",
    )  # fmt: skip
    assert [path for path in pages if client.get(path).status_code >= 500] == []


class TestOrder(TestCase):
    """The outline, the tiles, the keys and the neighbours tell one order."""

    @given(
        st.lists(
            st.tuples(st.integers(0, 5), st.none() | st.integers(0, 72), st.integers(1, 9)),
            max_size=12,
        )
    )
    @settings(max_examples=25, deadline=None)
    def test_all_agree(self, rows: list[tuple[int, int | None, int]]) -> None:
        owner = User.objects.create_user("kim", "kim@example.com", "x")
        start = datetime(2024, 5, 3, tzinfo=timezone.get_current_timezone())
        for hour, taken_hour, width in rows:
            photo = photo_of(owner)
            Photo.objects.filter(pk=photo.pk).update(
                created_at=start + timedelta(hours=hour),
                taken_at=None if taken_hour is None else start + timedelta(hours=taken_hour),
                width=width,
            )
        photos = list(Photo.objects.filter(owner=owner))
        expected = sorted(
            photos, key=lambda photo: (photo.taken_at or photo.created_at, photo.pk), reverse=True
        )
        own = Photo.objects.owned_by(owner)
        assert list(own.in_time_order()) == expected
        days = outline(in_timeline(own))
        shapes = "".join(shapes for _, shapes in days)
        assert ratios(shapes) == [
            pytest.approx(min(3, max(0.5, photo.width / 3)), abs=1 / 59) for photo in expected
        ]
        assert [day for day, _ in days] == sorted({day for day, _ in days}, reverse=True)
        for before, after in pairwise(expected):
            assert own.older_than(before).first() == after
            assert own.newer_than(after).first() == before
        if expected:
            assert own.newer_than(expected[0]).first() is None
            assert own.older_than(expected[-1]).first() is None


def test_tiles_and_keys(client: Client, ann: User, ben: User) -> None:
    own = [photo_of(ann).pk for _ in range(5)][::-1]
    photo_of(ben)
    everything = client.get("/timeline/tiles/").json()
    assert [item["id"] for item in everything["items"]] == own
    assert (everything["start"], everything["total"]) == (0, 5)
    assert everything["items"][0] | {"id": 0, "alt": "", "name": ""} == {
        "id": 0, "status": "processing", "searchable": False, "favourite": False, "alt": "",
        "name": "", "error": "", "retryable": False, "shown": False, "placeholder": "",
    }  # fmt: skip
    part = client.get("/timeline/tiles/?start=1&count=2").json()
    assert [item["id"] for item in part["items"]] == own[1:3]
    assert client.get("/timeline/keys/?start=3&count=9").json() == {"ids": own[3:]}
    assert client.get("/timeline/tiles/?start=99").json()["items"] == []


@pytest.mark.parametrize("query", ["start=-1", "start=x", "count=²", "count=" + "9" * 30])
def test_positions_that_are_none(client: Client, ann: User, query: str) -> None:
    photo_of(ann)
    for path in ("tiles", "keys"):
        assert client.get(f"/timeline/{path}/?{query}").status_code == 200
    assert MOST_ITEMS == 200


def test_sets(client: Client, ann: User, ben: User) -> None:
    photos = [photo_of(ann) for _ in range(3)]
    Photo.objects.filter(pk=photos[0].pk).update(is_favourite=True)
    Photo.objects.filter(pk=photos[1].pk).update(trashed_at=timezone.now())
    album = create_album(owner=ann, title="Summer")
    add_to_album(album, photo_ids=[photos[2].pk])
    for query, expected in (
        ("favourites=1", photos[0]), ("trash=1", photos[1]), (f"album={album.pk}", photos[2]),
    ):  # fmt: skip
        assert client.get(f"/timeline/keys/?count=9&{query}").json() == {"ids": [expected.pk]}
        [(_, shapes)] = client.get(f"/timeline/days/?{query}").json()["days"]
        assert len(shapes) == 1
    assert client.get("/timeline/days/?album=x").status_code == 404


def test_the_order_is_read_from_its_index(ann: User) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
    plan = Photo.objects.owned_by(ann).in_time_order()[:60].explain()
    assert "gallery_photo_timeline" in plan
