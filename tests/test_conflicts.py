"""Requests that meet at the same rows: none fails, and what is deleted stays deleted.

`ROUNDS=30` has each pair meet as often as that.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier
from typing import Any
from unittest.mock import Mock

import pytest
from django.core.exceptions import ObjectDoesNotExist
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.test import Client
from psycopg.errors import ForeignKeyViolation

from accounts.models import AccessToken, Scope, User
from accounts.tokens import create_token
from gallery.albums import (
    add_to_album,
    choose_cover,
    create_album,
    delete_album,
    remove_from_album,
    rename_album,
)
from gallery.models import Album, AlbumPhoto, Photo, ShareLink
from gallery.services import change_photo
from gallery.sharing import share
from gallery.trash import delete_at_once
from search.history import save_search
from search.models import SavedSearch
from t2isearch.conflicts import met_another
from tests.accounts.rows import photo_of

ROUNDS = int(os.environ.get("ROUNDS", "1"))


@dataclass
class Things:
    album: Album
    inside: Photo
    outside: Photo
    link: ShareLink
    saved: SavedSearch
    token: AccessToken


def things_of(owner: User) -> Things:
    album = create_album(owner=owner, title="Summer")
    inside, outside = photo_of(owner), photo_of(owner)
    add_to_album(album, photo_ids=[inside.pk])
    return Things(
        album=album,
        inside=inside,
        outside=outside,
        link=share(owner=owner, album=album),
        saved=save_search(owner=owner, name="Cats", query="cats", by_date=False),
        token=create_token(owner=owner, name="Phone", scopes=[Scope.SEARCH]).token,
    )


# What a request asks: the method, the address and the body, as a form or, of the API, in JSON.
ASKS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "delete the album": ("POST", "/albums/{album}/delete/", {}),
    "delete the album (API)": ("DELETE", "/api/v1/albums/{album}/", {}),
    "rename it": ("POST", "/albums/{album}/rename/", {"title": "Lake"}),
    "rename it (API)": ("PATCH", "/api/v1/albums/{album}/", {"title": "Lake"}),
    "add": ("POST", "/photos/bulk/add-to-album/", {"album": "{album}", "ids": "{outside}"}),
    "add (API)": ("POST", "/api/v1/albums/{album}/add/", {"photos": ["{outside}", "{inside}"]}),
    "remove": ("POST", "/photos/bulk/remove-from-album/", {"album": "{album}", "ids": "{inside}"}),
    "remove (API)": ("POST", "/api/v1/albums/{album}/remove/", {"photos": ["{inside}"]}),
    "choose the cover": ("POST", "/albums/{album}/cover/", {"photo": "{inside}"}),
    "share the album": ("POST", "/links/create/", {"album": "{album}"}),
    "share photos": ("POST", "/links/create/", {"ids": "{inside},{outside}"}),
    "close the link": ("POST", "/links/{link}/close/", {}),
    "open the link": ("GET", "/s/{secret}/", {}),
    "delete the photo inside": ("DELETE", "/api/v1/photos/{inside}/", {}),
    "delete the photo outside": ("DELETE", "/api/v1/photos/{outside}/", {}),
    "write under the photo": ("POST", "/photos/{inside}/caption/", {"caption": "At the lake"}),
    "change the photo": ("PATCH", "/api/v1/photos/{inside}/", {"caption": "At the lake"}),
    "trash it": ("POST", "/photos/{inside}/trash/", {}),
    "new album": ("POST", "/albums/", {"title": "Winter"}),
    "save a search": ("POST", "/search/saved/new/", {"name": "Dogs", "query": "dogs"}),
    "delete the search": ("POST", "/search/saved/{saved}/delete/", {}),
    "revoke the token": ("POST", "/accounts/tokens/{token}/revoke/", {}),
    "ask for a token": (
        "POST", "/api/v1/auth/token/", {"username": "ann", "password": "correct horse battery"},
    ),
    "delete the account": ("POST", "/accounts/delete/", {"password": "correct horse battery"}),
}  # fmt: skip
DELETIONS = ("delete the album", "delete the album (API)")
CHANGES = (
    "rename it", "rename it (API)", "add", "add (API)", "remove", "remove (API)",
    "choose the cover", "share the album", "open the link", "close the link",
)  # fmt: skip
OF_PHOTOS = (
    "add", "add (API)", "remove (API)", "choose the cover", "share photos", "share the album",
    "write under the photo", "change the photo", "trash it",
)  # fmt: skip
RACES = [
    *((deletion, change) for change in CHANGES for deletion in DELETIONS),
    *(("delete the photo inside", change) for change in OF_PHOTOS),
    *(("delete the photo outside", change) for change in ("add (API)", "share photos")),
    *((name, name) for name in (*DELETIONS, "delete the photo inside", "delete the search",
        "revoke the token", "close the link", "rename it", "new album", "save a search",
        "ask for a token", "add (API)", "remove (API)", "delete the account")),
    *(("delete the account", change) for change in ("new album", "add", "rename it", "share photos",
        "save a search", "ask for a token", "close the link", "delete the photo inside")),
]  # fmt: skip


def send(who: User, name: str, things: Things, start: Barrier) -> int:
    client = Client(raise_request_exception=False)
    client.force_login(who)
    names = {
        key: getattr(things, key).pk
        for key in ("album", "inside", "outside", "link", "saved", "token")
    } | {"secret": things.link.token}
    method, path, data = ASKS[name]
    filled: dict[str, Any] = {
        key: [int(each.format(**names)) for each in value]
        if isinstance(value, list)
        else value.format(**names)
        for key, value in data.items()
    }
    start.wait(10)
    try:
        if path.startswith("/api/"):
            return client.generic(
                method, path.format(**names), json.dumps(filled), "application/json"
            ).status_code
        ask = client.get if method == "GET" else client.post
        return ask(path.format(**names), filled).status_code
    finally:
        connection.close()


@pytest.mark.timeout(3600)
@pytest.mark.django_db(transaction=True)
def test_no_request_fails_beside_another(subtests: pytest.Subtests) -> None:
    for race in RACES:
        for number in range(ROUNDS):
            with subtests.test(f"{' / '.join(race)} {number}"):
                meet(race)


def meet(race: tuple[str, str]) -> None:
    User.objects.all().delete()
    ann = User.objects.create_user("ann", "ann@example.com", "correct horse battery")
    things = things_of(ann)
    start = Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(send, ann, name, things, start) for name in race]
        statuses = [each.result(60) for each in asked]
    assert max(statuses) < 500, statuses
    if race[0] in DELETIONS:
        assert not Album.objects.filter(pk=things.album.pk).exists()
    if race[0] == "delete the photo inside":
        assert not Photo.objects.filter(pk=things.inside.pk).exists()
    if race[0] == "delete the account" and statuses[0] == 302:
        assert not User.objects.exists()


GONE: dict[str, Callable[[Things], object]] = {
    "rename": lambda it: rename_album(it.album, title="Lake"),
    "add": lambda it: add_to_album(it.album, photo_ids=[it.outside.pk]),
    "remove": lambda it: remove_from_album(it.album, photo_ids=[it.inside.pk]),
    "cover": lambda it: choose_cover(it.album, photo=it.inside),
    "delete": lambda it: delete_album(it.album),
    "share": lambda it: share(owner=it.album.owner, album=it.album),
    "photo": lambda it: delete_at_once(it.inside),
    "caption": lambda it: change_photo(it.inside, caption="At the lake"),
    "save": lambda it: it.album.save(),
    "save the photo": lambda it: it.inside.save(),
    "save the person": lambda it: it.album.owner.save(),
    "save the token": lambda it: it.token.save(),
}


@pytest.mark.parametrize("name", GONE)
def test_what_was_deleted_meanwhile_is_gone(ann: User, name: str) -> None:
    things = things_of(ann)
    User.objects.filter(pk=ann.pk).delete()
    with pytest.raises((ObjectDoesNotExist, DatabaseError)) as raised, transaction.atomic():
        GONE[name](things)
    problem = met_another(raised.value)
    assert problem is not None
    assert problem.status_code == 404
    assert not Album.objects.exists()
    assert not Photo.objects.exists()
    assert not User.objects.exists()


def test_what_hangs_on_nothing_is_a_conflict(ann: User) -> None:
    AlbumPhoto.objects.create(album_id=10**9, photo_id=10**9)
    with pytest.raises(IntegrityError) as raised:
        connection.check_constraints()
    assert getattr(met_another(raised.value), "status_code", None) == 409
    assert met_another(ValueError()) is None


def test_a_conflict_is_answered_in_words(
    client: Client, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    album = create_album(owner=ann, title="Summer")
    client.force_login(ann)
    error = IntegrityError()
    error.__cause__ = ForeignKeyViolation()
    monkeypatch.setattr("gallery.views.albums.delete_album", Mock(side_effect=error))
    monkeypatch.setattr("gallery.api.views.delete_album", Mock(side_effect=error))
    page = client.post(f"/albums/{album.pk}/delete/")
    assert (page.status_code, "Two changes at once" in page.text) == (409, True)
    answer = client.delete(f"/api/v1/albums/{album.pk}/")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
