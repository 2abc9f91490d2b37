"""That nobody sees or changes what is another's: every address of the site, asked by everybody.

The table is `tests/isolation.py`. An address or an operation of the API that is in no row of it
fails here by its name.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.http.response import HttpResponseBase
from django.test import Client
from django.urls import resolve
from drf_spectacular.generators import SchemaGenerator
from pytest_django import Settings
from rest_framework.throttling import ScopedRateThrottle

from accounts.models import User
from gallery.models import Photo
from search.models import SearchIndex
from tests.isolation import (
    OPERATIONS,
    ROUTES,
    Access,
    Ask,
    Row,
    World,
    build_world,
    undone,
    url_patterns,
)

PASSWORD = "correct horse battery"
METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE"}
SIGN_IN = "/accounts/login/?next="
ROWS = [(key, row) for key, row in (ROUTES | OPERATIONS).items() if row.asks]


@pytest.fixture(autouse=True)
def media(settings: Settings, tmp_path: Path) -> None:
    default = settings.STORAGES["default"]
    options = default["OPTIONS"] | {"location": tmp_path / "media"}
    settings.STORAGES = settings.STORAGES | {"default": default | {"OPTIONS": options}}
    settings.UPLOADS_ROOT = tmp_path / "uploads"


@pytest.fixture(autouse=True)
def no_rates(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    settings.ACCOUNT_RATE_LIMITS = False
    for scope in ScopedRateThrottle.THROTTLE_RATES:
        monkeypatch.setitem(ScopedRateThrottle.THROTTLE_RATES, scope, None)


@pytest.fixture
def sessions(ann: User, ben: User) -> dict[str, str]:
    """The session of each who asks; "" for nobody. Signed in a moment ago, with the password."""
    people = {"ann": ann, "ben": ben}
    for name in ("staff", "root"):
        people[name] = User.objects.create_user(
            name, f"{name}@example.com", PASSWORD, is_staff=True, is_superuser=name == "root"
        )
    found = {"nobody": ""}
    for name in people:
        client = Client()
        client.post("/accounts/login/", {"login": name, "password": PASSWORD})
        # Pages about how one signs in want the password once more.
        client.post("/accounts/reauthenticate/", {"password": PASSWORD})
        found[name] = client.cookies[settings.SESSION_COOKIE_NAME].value
    return found


@pytest.fixture
def world(
    sessions: dict[str, str], ann: User, ben: User, add: Callable[..., Photo], index: SearchIndex
) -> World:
    return build_world(ann, ben, add, index)


def test_every_address_has_a_row() -> None:
    patterns = list(url_patterns())
    keys = [key for key, _ in patterns]
    assert [each for each in patterns if each[0] not in ROUTES] == [], "who may ask these?"
    assert [key for key in set(keys) if keys.count(key) > 1] == [], "two patterns of one name"
    assert set(ROUTES) - set(keys) == set(), "rows of addresses that are no more"
    for key, row in ROUTES.items():
        assert row.asks or row.access == Access.API, key


def operations() -> set[str]:
    generator = SchemaGenerator()  # type: ignore[no-untyped-call]
    schema = generator.get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return {
        f"{method.upper()} {path}"
        for path, methods in schema["paths"].items()
        for method in methods
        if method.upper() in METHODS
    }


def test_every_operation_of_the_api_has_a_row() -> None:
    found = operations()
    assert found - set(OPERATIONS) == set(), "who may call these?"
    assert set(OPERATIONS) - found == set(), "rows of operations that are no more"


def test_no_address_of_the_api_is_left_out_of_its_schema(world: World) -> None:
    called = {
        resolve(ask.path.partition("?")[0].format(**world.names)).view_name
        for row in OPERATIONS.values()
        for ask in row.asks
    }
    listed = {key for key, row in ROUTES.items() if row.access == Access.API}
    assert called == listed


def test_each_row_asks_its_own_address(world: World) -> None:
    for key, row in ROUTES.items():
        for ask in row.asks:
            match = resolve(ask.path.partition("?")[0].format(**world.names))
            assert (match.view_name if match.url_name else match.route) == key, ask.path


def send(session: str, ask: Ask, world: World) -> tuple[HttpResponseBase, bytes]:
    """The response, and all of it that could tell something: the body and the headers."""
    client = Client(raise_request_exception=False, REMOTE_ADDR="10.0.0.7")
    if session:
        client.cookies[settings.SESSION_COOKIE_NAME] = session
    path = ask.path.format(**world.names)
    data: Any = {name: world.fill(value) for name, value in ask.data.items()}
    options: dict[str, Any] = {}
    if path.startswith("/api/") and not any(hasattr(each, "read") for each in data.values()):
        data, options = json.dumps(data), {"content_type": "application/json"}
    if ask.method in {"GET", "HEAD"}:
        data, options = {}, {}
    elif ask.method != "POST" and not options:
        data = ""
    query = path.partition("?")[2]
    arguments = [path] if ask.method == "GET" and query else [path, data]
    send_it = getattr(client, ask.method.lower())
    response = send_it(*arguments, headers=ask.headers or None, **options)
    body = b"".join(response.streaming_content) if response.streaming else response.content
    headers = "".join(f"{name}: {value}\n" for name, value in response.items()).encode()
    return response, headers + body


def named_in(ask: Ask, world: World) -> str:
    """What the request itself names, and an answer may repeat."""
    return ask.path.format(**world.names) + json.dumps(
        [str(world.fill(value)) for value in ask.data.values()]
    )


def expected(access: Access, ask: Ask, who: str) -> int | None:
    """The status for somebody that is not who it is for; None: any."""
    if who == "ben" and ask.ben is not None:
        return ask.ben
    if access == Access.PUBLIC:
        return ask.nobody if who == "nobody" else ask.allowed
    if access == Access.LINK:
        return ask.allowed
    if access == Access.MACHINE:
        return 404
    if who == "nobody" or (access == Access.STAFF and who == "ben"):
        return 401 if ask.path.startswith("/api/") else 302
    if access == Access.ANOTHERS:
        return ask.others or 404
    if access == Access.STAFF:
        return ask.others or 403
    return ask.others or ask.allowed


def leaks(access: Access, ask: Ask, told: bytes, world: World) -> list[str]:
    named = named_in(ask, world)
    hidden = world.secrets if access == Access.LINK and "{token}" in ask.path else (
        world.secrets | world.shared
    )  # fmt: skip
    return [name for name, piece in hidden.items() if piece in told and name not in named]


def is_where_one_signs_in(response: HttpResponseBase) -> bool:
    location = response.headers.get("Location", "")
    return location.startswith((SIGN_IN, "/admin/login/?next="))


@pytest.mark.timeout(600)
def test_nobody_gets_at_what_is_anothers(
    subtests: pytest.Subtests, world: World, sessions: dict[str, str]
) -> None:
    before = world.holdings()
    for key, row in ROWS:
        for ask in row.asks:
            for who in ("nobody", "ben", "staff"):
                with subtests.test(f"{key}: {ask.method} {ask.path} by {who}"), undone():
                    response, told = send(sessions[who], ask, world)
                    wanted = expected(row.access, ask, who)
                    assert response.status_code == (wanted or response.status_code)
                    assert response.status_code < 500
                    if wanted == 302 and row.access in {Access.OWN, Access.ANOTHERS}:
                        assert who != "nobody" or is_where_one_signs_in(response)
                    assert leaks(row.access, ask, told, world) == []
                    assert world.holdings() == before


@pytest.mark.timeout(600)
def test_other_methods_do_nothing(
    subtests: pytest.Subtests, world: World, sessions: dict[str, str]
) -> None:
    before = world.holdings()
    for key, row in ROWS:
        path = row.asks[0].path
        asked = {ask.method for ask in row.asks}
        for method in sorted(METHODS - asked) if key in ROUTES else []:
            with subtests.test(f"{key}: {method} {path} by ben"), undone():
                ask = Ask(method, path)
                response, told = send(sessions["ben"], ask, world)
                assert response.status_code < 500
                assert leaks(row.access, ask, told, world) == []
                assert world.holdings() == before


@pytest.mark.timeout(600)
def test_who_it_is_for_gets_it(
    subtests: pytest.Subtests, world: World, sessions: dict[str, str]
) -> None:
    """Else the tests above would only say that addresses were written wrongly."""
    for key, row in ROWS:
        who = "root" if row.access == Access.STAFF else "ann"
        for ask in row.asks:
            if ask.allowed is None or row.access == Access.MACHINE:
                continue
            with subtests.test(f"{key}: {ask.method} {ask.path} by {who}"), undone():
                response, told = send(sessions[who], ask, world)
                assert response.status_code == ask.allowed
                if row.access == Access.OWN:
                    assert not is_where_one_signs_in(response)
                if row.access == Access.STAFF:
                    # Facts about photos and people, never a picture or a key.
                    assert not any(piece in told for piece in world.pictures.values())
                    assert not any(key in told for key in world.keys)


def test_the_rows_tell_a_leak(world: World, sessions: dict[str, str]) -> None:
    """What ann sees herself is found by what looks for leaks."""
    for path, name in (
        ("/photos/{secret}/original/", "original of secret"),
        ("/photos/{secret}/thumbnail/", "thumbnail of secret"),
        ("/export/", "original of trashed"),
        ("/api/v1/photos/", "ann-at-the-lake.jpg"),
        ("/api/v1/albums/", "Album of ann alone"),
        ("/search/saved/", "Search of ann alone"),
    ):
        ask = Ask("GET", path)
        _, told = send(sessions["ann"], ask, world)
        assert name in leaks(Access.ANOTHERS, ask, told, world), path
    row = Row(Access.ANOTHERS, (Ask("GET", "/"),))
    assert expected(row.access, row.asks[0], "ben") == 404
