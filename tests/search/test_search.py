from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client
from pytest_django import Settings

from accounts.models import User
from gallery.models import Photo
from search import milvus
from search.indexing import drain_deletions
from search.models import PendingDeletion, SearchIndex
from search.planning import PhotoTerm, Plan, parse
from search.query import search_photos

Add = Callable[[User, int], Photo]


def test_results_are_ones_own_and_in_rank_order(ann: User, ben: User, add: Add) -> None:
    own = [add(ann, number) for number in range(5)]
    add(ben, 7)
    page = search_photos(owner=ann, plan=parse("a cat"), limit=10, weak=True)
    assert {result.photo for result in page.results} == set(own)
    scores = [result.score or 0.0 for result in page.results]
    assert scores == sorted(scores, reverse=True)


def test_a_photo_is_most_similar_to_one_like_it(ann: User, add: Add) -> None:
    photos = [add(ann, number) for number in range(4)]
    page = search_photos(owner=ann, plan=Plan((PhotoTerm(photos[0].pk),)), limit=10)
    assert photos[0] not in [result.photo for result in page.results]
    assert len(page.results) == 3


def test_pages_neither_repeat_nor_skip(ann: User, add: Add) -> None:
    photos = {add(ann, number) for number in range(5)}
    seen: list[Photo] = []
    cursor: str | None = ""
    while cursor is not None:
        page = search_photos(owner=ann, plan=parse("dog"), limit=2, cursor=cursor, weak=True)
        seen += [result.photo for result in page.results]
        cursor = page.next_cursor
    assert len(seen) == 5
    assert set(seen) == photos


def test_a_vector_without_its_photo_costs_no_result(ann: User, add: Add) -> None:
    photos = [add(ann, number) for number in range(3)]
    photos[0].delete()
    page = search_photos(owner=ann, plan=parse("dog"), limit=2, weak=True)
    assert {result.photo for result in page.results} == set(photos[1:])


def test_a_deletion_leaves_milvus(ann: User, add: Add, index: SearchIndex) -> None:
    photo = add(ann, 1)
    key = photo.pk
    photo.delete()
    assert PendingDeletion.objects.filter(photo_id=key).exists()
    assert drain_deletions() == 1
    assert milvus.present_ids(index.collection_name, [key]) == set()


def test_an_outage_is_said(ann: User, add: Add, client: Client, settings: Settings) -> None:
    add(ann, 1)
    client.force_login(ann)
    settings.MILVUS_URI = "http://127.0.0.1:9"
    milvus.disconnect()
    try:
        page = client.get("/search/", {"q": "a cat"})
        api = client.get("/api/v1/search/", {"q": "a cat"})
        assert client.get("/").status_code == 200
    finally:
        milvus.disconnect()
    assert (page.status_code, api.status_code) == (503, 503)
    assert "Retry-After" in api.headers
    assert "Your photos are safe" in page.content.decode()


@pytest.mark.parametrize(
    "query", [{"q": ""}, {"q": "x", "photo": "none"}, {"q": "x", "taken_after": "soon"}]
)
def test_a_bad_query_is_refused(ann: User, client: Client, query: dict[str, str]) -> None:
    client.force_login(ann)
    assert client.get("/api/v1/search/", query).status_code == 400


def test_another_persons_photo_is_not_found(ann: User, ben: User, add: Add, client: Client) -> None:
    photo = add(ann, 1)
    client.force_login(ben)
    for path in (
        f"/photos/{photo.pk}/",
        f"/photos/{photo.pk}/tile/",
        f"/photos/{photo.pk}/thumbnail/",
        f"/photos/{photo.pk}/original/",
        f"/api/v1/photos/{photo.pk}/",
        f"/search/?photo={photo.pk}",
        f"/api/v1/search/?photo={photo.pk}",
    ):
        assert client.get(path).status_code == 404, path
    assert client.post(f"/photos/{photo.pk}/delete/").status_code == 404
    assert client.get("/api/v1/search/", {"q": "a cat", "weak": "true"}).json()["results"] == []
