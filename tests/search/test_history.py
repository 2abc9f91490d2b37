from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client

from accounts.models import User
from gallery.models import Album, Photo
from search.history import (
    forget_searches,
    recent_searches,
    remember_search,
    save_search,
    saved_searches,
    suggestions,
)
from search.models import SavedSearch, SearchIndex
from search.planning import parse

Add = Callable[[User, int], Photo]


def recent(owner: User) -> list[str]:
    return [each.query for each in recent_searches(owner)]


def test_the_last_twenty_searches_are_kept_once_each(ann: User, ben: User) -> None:
    for number in range(25):
        remember_search(ann, parse(f"cat {number}"))
    remember_search(ann, parse("  cat   10 "))
    remember_search(ben, parse("dog"))
    assert recent(ann) == ["cat 10"] + [f"cat {n}" for n in range(24, 4, -1) if n != 10]
    forget_searches(ann)
    assert (recent(ann), recent(ben)) == ([], ["dog"])


def test_a_search_with_a_picture_is_not_remembered(ann: User) -> None:
    remember_search(ann, parse("image:5"))
    remember_search(ann, parse(""))
    assert recent(ann) == []


def test_what_the_page_searched_for_is_remembered_and_cleared(
    ann: User, add: Add, client: Client
) -> None:
    add(ann, 1)
    client.force_login(ann)
    client.get("/search/", {"q": "a cat after:2020"})
    client.get("/search/", {"q": "after:soon"})  # refused
    assert recent(ann) == ["a cat after:2020"]
    assert "a cat after:2020" in client.get("/search/").content.decode()
    client.post("/search/recent/clear/")
    assert recent(ann) == []


def test_saving_a_search(ann: User, ben: User, client: Client, index: SearchIndex) -> None:
    client.force_login(ann)
    fields = {"name": "Cats", "query": "  a   cat ", "by_date": "on"}
    response = client.post("/search/saved/new/", fields)
    assert response["Location"] == "/search/?q=a+cat&order=date"
    saved = SavedSearch.objects.get()
    assert (saved.name, saved.query, saved.by_date) == ("Cats", "a cat", True)
    assert "Cats" in client.get("/search/saved/").content.decode()
    assert "Cats" in client.get("/albums/").content.decode()

    client.force_login(ben)
    assert "Cats" not in client.get("/search/saved/").content.decode()
    assert client.post(f"/search/saved/{saved.pk}/delete/").status_code == 404
    client.force_login(ann)
    client.post(f"/search/saved/{saved.pk}/delete/", {"next": "//elsewhere.example/"})
    assert not SavedSearch.objects.exists()


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "", "query": "cat"},
        {"name": "x", "query": ""},
        {"name": "x", "query": '"cat'},
        {"name": "x", "query": "image:3"},
        {"name": "TAKEN", "query": "cat"},
    ],
)
def test_what_cannot_be_saved(ann: User, client: Client, fields: dict[str, Any]) -> None:
    save_search(owner=ann, name="taken", query="dog", by_date=False)
    client.force_login(ann)
    response = client.post("/search/saved/new/", fields, follow=True)
    assert [message.level_tag for message in response.context["messages"]] == ["error"]
    assert [each.name for each in saved_searches(ann)] == ["taken"]


def test_the_same_name_of_two_people(ann: User, ben: User) -> None:
    for owner in (ann, ben):
        save_search(owner=owner, name="Cats", query="cat", by_date=False)
    with pytest.raises(ValidationError):
        save_search(owner=ann, name="cats", query="dog", by_date=False)


def test_suggestions_are_ones_own(ann: User, ben: User, client: Client) -> None:
    for owner, word in ((ann, "beach"), (ben, "beacon")):
        save_search(owner=owner, name=f"My {word}", query=word, by_date=False)
        Album.objects.create(owner=owner, title=f"The {word}")
        remember_search(owner, parse(f"a sunny {word}"))
    client.force_login(ann)
    found = client.get("/search/suggestions/", {"q": "dog bea"}).json()["suggestions"]
    assert found == [{"kind": "album", "label": "The beach", "query": 'dog album:"The beach"'}]
    found = client.get("/search/suggestions/", {"q": "beac"}).json()["suggestions"]
    assert [(each["kind"], each["query"]) for each in found] == [
        ("saved", "beach"),
        ("album", 'album:"The beach"'),
        ("recent", "a sunny beach"),
    ]
    assert [each.query for each in suggestions(ann, "")] == ["a sunny beach"]
    assert client.get("/search/suggestions/", {"q": 'a"' * 300}).status_code == 200
