"""The page of results: chips, details, similar photos."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client

from accounts.models import User
from gallery.models import Album, Photo
from search.planning import parse
from search.search_forms import DetailsForm

Add = Callable[[User, int], Photo]


def test_chips_say_how_it_was_understood(ann: User, add: Add, client: Client) -> None:
    photo = add(ann, 1)
    Album.objects.create(owner=ann, title="Sea")
    client.force_login(ann)
    query = f'"a dog" - 2:photo:{photo.pk} + 0.5:snow after:2024-05 -album:sea is:favourite'
    chips = client.get("/search/", {"q": query}).context["chips"]
    assert [chip.label for chip in chips] == [
        "“a dog”",
        "not like picture-1.jpg (× 2)",
        "a little: “snow” (× 0.5)",
        "from May 2024",
        "not in the album “sea”",
        "favourites",
    ]
    assert chips[3].remaining == str(parse(query.replace("after:2024-05", "")))
    assert client.get("/search/", {"q": "a dog"}).context["chips"] == []


def test_a_bad_query_says_where(ann: User, client: Client) -> None:
    client.force_login(ann)
    for path in ("/search/", "/api/v1/search/"):
        response = client.get(path, {"q": "a dog after:soon"})
        assert response.status_code == 400
        assert "At character 7 (after:soon)" in response.content.decode()
    missing = client.get("/search/", {"q": "album:None"})
    assert missing.status_code == 400
    assert "You have no album “None”." in missing.content.decode()
    assert client.get("/api/v1/search/", {"q": "album:None"}).status_code == 400


@pytest.mark.parametrize(
    "query",
    [
        "a dog",
        'a dog after:2024-05-01 before:2024-06-01 album:Sea type:png name:"y z" is:favourite',
        '"a dog" - "snow" + 2:beach photo:7 -type:gif type:png',
    ],
)
def test_the_details_write_the_same_query(ann: User, client: Client, query: str) -> None:
    Album.objects.create(owner=ann, title="Sea")
    client.force_login(ann)
    shown = DetailsForm.showing(ann, parse(query))
    sent = {
        name: str(value) if value is not True else "on"
        for name, value in shown.initial.items()
        if value
    }
    location = client.get("/search/details/", sent)["Location"]
    written = parse(parse_qs(urlsplit(location).query)["q"][0])
    assert set(written.parts) == set(parse(query).parts)


def test_details_with_bad_dates_lead_back(ann: User, client: Client) -> None:
    client.force_login(ann)
    response = client.get("/search/details/", {"q": "a dog", "after": "soon"}, follow=True)
    assert response.redirect_chain == [("/search/?q=a+dog", 302)]
    assert [message.level_tag for message in response.context["messages"]] == ["error"]


def test_similar_photos_are_a_fragment(ann: User, ben: User, add: Add, client: Client) -> None:
    photos = [add(ann, number) for number in range(15)]
    add(ben, 30)
    client.force_login(ann)
    page = client.get(f"/search/similar/{photos[0].pk}/")
    assert "<html" not in page.content.decode()
    shown = [result.photo.pk for result in page.context["results"]]
    assert len(shown) == 12
    assert set(shown) < {photo.pk for photo in photos[1:]}
    client.force_login(ben)
    assert client.get(f"/search/similar/{photos[0].pk}/").status_code == 404
