from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from gallery.models import Photo
from search import milvus, query, relevance
from search.encoders import EncoderUnavailable, load_text_encoder
from search.indexing import enqueue, index_due_photos
from search.models import PhotoIndexing, SearchIndex
from search.planning import PhotoTerm, Plan, parse
from search.query import NothingMeant, NotSearchableYet, Order, search_photos
from search.snapshots import BadCursor
from t2isearch.cache import derived

Add = Callable[[User, int], Photo]


@pytest.fixture
def asked(index: SearchIndex) -> Any:
    """The texts that the real encoder was asked to embed."""
    encoder = load_text_encoder(index.encoder_info)
    relevance.background(index)
    texts: list[str] = []
    embed = encoder.embed_texts

    def spy(sentences: Sequence[str]) -> Any:
        texts.extend(sentences)
        return embed(sentences)

    with patch.object(encoder, "embed_texts", spy):
        yield texts


def search(owner: User, query: str, limit: int = 50) -> list[int]:
    page = search_photos(owner=owner, plan=parse(query), limit=limit, weak=True)
    return [result.photo.pk for result in page.results]


def test_a_query_asked_before_costs_no_model_call(
    ann: User, ben: User, add: Add, asked: list[str]
) -> None:
    add(ann, 1)
    first = search_photos(owner=ann, plan=parse("a cat"), limit=9, weak=True)
    again = search_photos(owner=ann, plan=parse("  a \n cat "), limit=9, weak=True)
    search(ben, "a cat")
    assert asked == ["a cat"]
    assert [r.score for r in first.results] == [r.score for r in again.results]
    search(ann, "a dog")
    assert asked == ["a cat", "a dog"]


def test_a_cached_vector_is_the_models_own(index: SearchIndex, asked: list[str]) -> None:
    first, second = (query.embed_text(index, "a cat") for _ in range(2))
    assert asked == ["a cat"]
    assert first.dtype == second.dtype == np.float32
    np.testing.assert_array_equal(first, second)
    other = SearchIndex(
        pk=index.pk + 1,
        encoder=index.encoder,
        revision=index.revision,
        dimension=index.dimension,
    )
    query.embed_text(other, "a cat")  # another generation's vectors are its own
    assert len(asked) == 2


@pytest.fixture
def dated(ann: User, add: Add) -> dict[str, int]:
    """Photos by their day in Berlin, and one without a time."""
    moments = {
        "1969": "1969-07-20T20:17:40+00:00",
        "june": "2021-06-30T23:59:59+02:00",
        "july": "2021-07-01T00:00:00+02:00",
        "august": "2021-08-01T00:00:00+02:00",
        "never": None,
    }
    photos = {}
    for number, (name, moment) in enumerate(moments.items()):
        photo = add(ann, number)
        photo.taken_at = datetime.fromisoformat(moment) if moment else None
        photo.save()
        photos[name] = photo.pk
    enqueue(list(photos.values()))
    while index_due_photos():
        pass
    return photos


@pytest.mark.parametrize(
    ("after", "before", "names"),
    [
        ("", "", {"1969", "june", "july", "august", "never"}),
        ("2021-07-01", "2021-07-31", {"july"}),
        ("2021-06-30", "2021-07-01", {"june", "july"}),
        ("2021-07-01", "", {"july", "august"}),
        ("", "2021-06-30", {"1969", "june"}),
        ("1969-07-20", "1969-07-20", {"1969"}),
        ("0001-01-01", "9999-12-31", {"1969", "june", "july", "august"}),
        ("2022-01-01", "", set()),
    ],
)
def test_days_are_whole_days_of_the_sites_time(
    ann: User, client: Client, settings: Settings, dated: dict[str, int],
    after: str, before: str, names: set[str],
) -> None:  # fmt: skip
    settings.TIME_ZONE = "Europe/Berlin"
    client.force_login(ann)
    days = {"q": "cat", "taken_after": after, "taken_before": before, "weak": "true"}
    found = client.get("/api/v1/search/", {name: day for name, day in days.items() if day}).json()
    assert {result["photo"]["id"] for result in found["results"]} == {dated[n] for n in names}
    page = client.get("/search/", days).content.decode()
    assert page.count('data-testid="result"') == len(names)


def test_days_in_the_wrong_order_are_refused(ann: User, client: Client) -> None:
    client.force_login(ann)
    days = {"q": "cat", "taken_after": "2021-07-02", "taken_before": "2021-07-01"}
    assert list(client.get("/api/v1/search/", days).json()["errors"]) == ["taken_before"]
    page = client.get("/search/", days)
    assert page.status_code == 400
    assert "must not be before the first one" in page.content.decode()


def test_places_of_hits_that_are_gone_are_filled_up(
    ann: User, add: Add, index: SearchIndex
) -> None:
    """Every hit of the first answer is stale: the page is full of what follows all the same."""
    for number in range(4):
        add(ann, number)
    ranked = search(ann, "cat")
    words = query.embed_text(index, "cat")
    gone = [milvus.Entry(2**40 + number, ann.pk, 0, words) for number in range(20)]
    milvus.upsert(index.collection_name, gone)
    Photo.objects.filter(pk=ranked[0]).update(trashed_at=timezone.now())
    with (
        patch.object(query, "FIRST_DEPTH", 3),
        patch.object(milvus, "search", wraps=milvus.search) as asked,
    ):
        page = search_photos(owner=ann, plan=parse("cat"), limit=2, weak=True)
    assert asked.call_count == 2
    assert [result.photo.pk for result in page.results] == ranked[1:3]
    assert page.next_cursor


def test_another_persons_vector_shows_nothing(
    ann: User, ben: User, add: Add, index: SearchIndex
) -> None:
    """Were a vector in the wrong partition, it would cost a place and never show a photo."""
    own, foreign = add(ann, 1), add(ben, 2)
    vector = query.photo_embedding(index, foreign)
    milvus.upsert(index.collection_name, [milvus.Entry(foreign.pk, ann.pk, 0, vector)])
    assert search(ann, "cat") == [own.pk]


def test_similar_photos(ann: User, add: Add, index: SearchIndex) -> None:
    photos = [add(ann, number) for number in range(4)]
    page = search_photos(owner=ann, plan=Plan((PhotoTerm(photos[0].pk),)), limit=9)
    vectors = {photo.pk: query.photo_embedding(index, photo) for photo in photos}
    own = vectors.pop(photos[0].pk)
    expected = sorted(vectors, key=lambda key: -float(vectors[key] @ own))
    assert [result.photo.pk for result in page.results] == expected
    for result in page.results:
        assert result.score == pytest.approx(float(vectors[result.photo.pk] @ own), abs=0.01)


def test_words_and_a_photo_together_lie_between_both(
    ann: User, add: Add, index: SearchIndex
) -> None:
    photo = add(ann, 1)
    vector = query.query_vector(index, ann, parse(f"cat photo:{photo.pk}"))
    words, picture = query.embed_text(index, "cat"), query.photo_embedding(index, photo)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    assert float(vector @ words) == pytest.approx(float(vector @ picture), abs=0.01)


def test_a_photo_that_is_not_searchable_yet(ann: User, add: Add, client: Client) -> None:
    photo = add(ann, 1)
    PhotoIndexing.objects.update(state="pending", embedding=None, indexed_at=None)
    with pytest.raises(NotSearchableYet):
        search(ann, f"photo:{photo.pk}")
    client.force_login(ann)
    response = client.get("/api/v1/search/", {"photo": photo.pk})
    assert response.status_code == 503
    assert response.json()["detail"] == "This photo is not searchable yet."
    assert client.get("/search/", {"photo": photo.pk}).status_code == 503


def test_before_the_first_generation_and_without_a_model_it_says_so(
    ann: User, client: Client, index: SearchIndex
) -> None:
    client.force_login(ann)
    with patch.object(query, "load_text_encoder", side_effect=EncoderUnavailable("no model")):
        response = client.get("/api/v1/search/", {"q": "cat"})
    assert (response.status_code, response["Retry-After"]) == (503, "10")
    assert "can't understand words" in response.json()["detail"]
    assert "no model" not in response.json()["detail"]
    SearchIndex.objects.update(status="retired")
    assert "still being set up" in client.get("/api/v1/search/", {"q": "cat"}).json()["detail"]


def test_pages_of_results(ann: User, add: Add, client: Client, settings: Settings) -> None:
    settings.SEARCH_PAGE_SIZE = 2
    for number in range(3):
        add(ann, number)
    client.force_login(ann)
    whole = client.get("/search/", {"q": "cat", "weak": "true"})
    assert "<html" in whole.content.decode()
    assert whole.content.decode().count('data-testid="result"') == 2
    rest = {"q": "cat", "weak": "true", "cursor": str(whole.context["next_cursor"])}
    more = client.get("/search/", rest, headers={"HX-Request": "true"})
    assert "HX-Request" in more["Vary"]
    assert more.content.decode().count('data-testid="result"') == 1
    assert '<div class="page"' not in more.content.decode()
    back = client.get("/search/", {"q": "cat", "weak": "true", "shown": "3"})
    assert back.content.decode().count('data-testid="result"') == 3
    part = client.get(
        "/search/",
        {"q": "<script>"},
        headers={"HX-Request": "true", "HX-Trigger": "search-form"},
    )
    assert "<script>" not in part.content.decode()
    assert "“&lt;script&gt;”" in part.content.decode()
    assert part["HX-Push-Url"] == "/search/?q=%3Cscript%3E"


def read_on(owner: User, text: str, *, limit: int, cursor: str | None, **options: Any) -> list[int]:
    """What follows `cursor`, to the end."""
    seen: list[int] = []
    while cursor is not None:
        page = search_photos(owner=owner, plan=parse(text), limit=limit, cursor=cursor, **options)
        seen += [result.photo.pk for result in page.results]
        cursor = page.next_cursor
    return seen


@pytest.mark.parametrize("cache_is_lost", [False, True])
@pytest.mark.parametrize(
    ("text", "order"),
    [("cat", Order.RELEVANCE), ("cat", Order.DATE), ("type:jpeg", Order.RELEVANCE)],
)
def test_going_on_neither_repeats_nor_skips_while_photos_come_and_go(
    ann: User, add: Add, text: str, order: Order, cache_is_lost: bool
) -> None:
    photos = [add(ann, number) for number in range(8)]
    options: dict[str, Any] = {"order": order, "weak": True}
    whole = read_on(ann, text, limit=50, cursor="", **options)
    assert set(whole) == {photo.pk for photo in photos}
    first = search_photos(owner=ann, plan=parse(text), limit=3, **options)
    assert [result.photo.pk for result in first.results] == whole[:3]
    Photo.objects.get(pk=whole[1]).delete()  # shown
    Photo.objects.get(pk=whole[4]).delete()  # not yet
    new = [add(ann, number).pk for number in range(20, 23)]
    if cache_is_lost:
        derived.clear()
    rest = read_on(ann, text, limit=2, cursor=first.next_cursor, **options)
    assert [key for key in rest if key not in new] == [whole[3], *whole[5:]]
    assert len(rest) == len(set(rest))


def test_a_ranking_grows_while_it_is_read(ann: User, add: Add) -> None:
    photos = {add(ann, number).pk for number in range(9)}
    whole = read_on(ann, "cat", limit=50, cursor="", weak=True)
    with patch.object(query, "FIRST_DEPTH", 2):
        assert read_on(ann, "cat", limit=2, cursor="", weak=True) == whole
    assert set(whole) == photos


def test_a_cursor_is_good_for_one_persons_one_search(ann: User, ben: User, add: Add) -> None:
    for number in range(3):
        add(ann, number)
        add(ben, number + 5)
    cursor = search_photos(owner=ann, plan=parse("cat"), limit=1, weak=True).next_cursor
    assert cursor
    for owner, text, made in ((ben, "cat", cursor), (ann, "dog", cursor), (ann, "cat", "made up")):
        with pytest.raises(BadCursor):
            search_photos(owner=owner, plan=parse(text), limit=1, cursor=made, weak=True)


def test_filters_alone_list_by_date_without_milvus(
    ann: User, add: Add, index: SearchIndex, dated: dict[str, int]
) -> None:
    with patch.object(milvus, "search", side_effect=milvus.MilvusUnavailable("down")):
        page = search_photos(owner=ann, plan=parse("after:1960"), limit=9)
    assert [result.photo.pk for result in page.results] == [
        dated[name] for name in ("august", "july", "june", "1969")
    ]
    assert {result.score for result in page.results} == {None}


def test_by_date_within_the_cut_off(ann: User, index: SearchIndex, dated: dict[str, int]) -> None:
    everything = relevance.CutOff(-1.0, -1.0)
    with patch.object(query, "cut_off", return_value=everything):
        page = search_photos(owner=ann, plan=parse("cat after:1960"), limit=9, order=Order.DATE)
    assert [result.photo.pk for result in page.results] == [
        dated[name] for name in ("august", "july", "june", "1969")
    ]
    by_likeness = search(ann, "cat after:1960")
    scores = search_photos(owner=ann, plan=parse("cat after:1960"), limit=9, weak=True).results
    two = relevance.CutOff(scores[1].score or 0, 0.0)
    with patch.object(query, "cut_off", return_value=two):
        strong = search_photos(owner=ann, plan=parse("cat after:1960"), limit=9, order=Order.DATE)
        tail = search_photos(
            owner=ann, plan=parse("cat after:1960"), limit=9, order=Order.DATE, weak=True
        )
    assert {result.photo.pk for result in strong.results} == set(by_likeness[:2])
    assert strong.has_weak
    assert strong.next_cursor is None
    assert [result.photo.pk for result in tail.results][2:] == by_likeness[2:]
    assert [result.weak for result in tail.results] == [False, False, True, True]
    assert [result.divides for result in tail.results] == [False, False, True, False]


def test_terms_that_cancel_each_other_out(ann: User, add: Add, client: Client) -> None:
    add(ann, 1)
    with pytest.raises(NothingMeant):
        search(ann, '"cat" - "cat"')
    client.force_login(ann)
    assert client.get("/search/", {"q": '"cat" - "cat"'}).status_code == 400
    assert "cancel" in client.get("/api/v1/search/", {"q": '"cat" -"cat"'}).json()["q"][0]


def test_a_weight_pulls_the_vector_towards_its_term(ann: User, index: SearchIndex) -> None:
    cat, dog = (query.embed_text(index, text) for text in ("cat", "dog"))
    vector = query.query_vector(index, ann, parse("3:cat -0.5:dog"))
    expected = 3 * cat - 0.5 * dog
    np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-5)


def test_the_api_leaves_the_tail_out(ann: User, add: Add, client: Client) -> None:
    for number in range(3):
        add(ann, number)
    client.force_login(ann)
    nothing, everything = relevance.CutOff(2.0, 0.0), relevance.CutOff(-1.0, -1.0)
    with patch.object(query, "cut_off", return_value=nothing):
        assert client.get("/api/v1/search/", {"q": "cat"}).json()["results"] == []
        tail = client.get("/api/v1/search/", {"q": "cat", "weak": "true"}).json()["results"]
        assert [result["weak"] for result in tail] == [True] * 3
        page = client.get("/search/", {"q": "cat"}).content.decode()
        assert "Nothing close to" in page
        assert 'data-testid="result"' not in page
        page = client.get("/search/", {"q": "cat", "weak": "true"}).content.decode()
        assert page.count('data-testid="result"') == 3
        assert page.count('data-testid="weaker"') == 1
    with patch.object(query, "cut_off", return_value=everything):
        found = client.get("/api/v1/search/", {"q": "cat", "limit": "2"}).json()
        assert [result["weak"] for result in found["results"]] == [False, False]
        rest = client.get(found["next"]).json()
    assert len(rest["results"]) == 1
    assert rest["next"] is None
