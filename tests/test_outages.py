"""What goes on while the Redis of `CACHE_URL` or PostgreSQL is away, and what does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from unittest.mock import patch

import psycopg
import pytest
from django.db import InterfaceError, OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import Client
from pytest_django import Settings

from accounts.models import User
from gallery.models import Photo
from search.models import SearchIndex
from t2isearch.cache import derived
from t2isearch.outages import is_database_away

Add = Callable[[User, int], Photo]

NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture
def no_redis(settings: Settings) -> Iterator[None]:
    before = settings.CACHES
    options = {"LOCATION": NOWHERE, "OPTIONS": {"socket_connect_timeout": 1}}
    settings.CACHES = {
        "default": options | {"BACKEND": "t2isearch.cache.PromptRedisCache"},
        "derived": options | {"BACKEND": "t2isearch.cache.ForgivingRedisCache"},
    }
    yield
    settings.CACHES = before  # what empties the cache after a test comes later


@pytest.mark.usefixtures("no_redis")
def test_searching_and_looking_go_on(
    client: Client, ann: User, add: Add, index: SearchIndex
) -> None:
    photo = add(ann, 1)
    client.force_login(ann)
    page = client.get("/search/", {"q": "a circle", "weak": "true"})
    assert page.status_code == 200
    assert page.content.count(b'data-testid="result"') == 1
    assert client.get("/").status_code == 200
    answer = client.get("/api/v1/search/", {"q": "a circle", "weak": "true"})
    assert [result["photo"]["id"] for result in answer.json()["results"]] == [photo.pk]
    derived.set("key", 1)
    assert derived.get("key", 2) == 2


@pytest.mark.usefixtures("no_redis")
def test_passwords_can_not_be_tried_uncounted(client: Client, ann: User) -> None:
    answer = client.post("/accounts/login/", {"login": "ann", "password": "correct horse battery"})
    assert answer.status_code == 503
    assert "Back in a moment" in answer.content.decode()
    assert answer["Retry-After"] == "15"
    assert "_auth_user_id" not in client.session

    answer = client.post(
        "/api/v1/auth/token/", {"username": "ann", "password": "correct horse battery"}
    )
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer["Retry-After"] == "15"


def test_without_postgres_every_page_says_so(client: Client, ann: User) -> None:
    client.force_login(ann)
    client.raise_request_exception = False
    away = OperationalError("connection refused")
    away.__cause__ = psycopg.OperationalError()
    with patch.object(BaseDatabaseWrapper, "cursor", side_effect=away):
        pages = [
            client.get("/"),
            client.get("/albums/"),
            client.post("/accounts/login/", {"login": "ann", "password": "x"}),
        ]
        problems = [
            client.get("/api/v1/photos/"),
            client.get("/api/v1/search/", {"q": "a circle"}),
            client.get("/api/v1/photos/", headers={"Authorization": "Token x"}),
        ]
        assert client.get("/healthz").status_code == 200
    for answer in pages + problems:
        assert (answer.status_code, answer["Retry-After"]) == (503, "15")
    for answer in pages:
        assert "Back in a moment" in answer.content.decode()
    for answer in problems:
        assert answer.json()["code"] == "unavailable"


def test_what_postgres_says_of_a_statement_is_no_outage() -> None:
    def said(cause: Exception | None) -> OperationalError:
        error = OperationalError()
        error.__cause__ = cause
        return error

    for gone in (
        psycopg.OperationalError(),
        psycopg.errors.AdminShutdown(),
        psycopg.errors.CannotConnectNow(),
        psycopg.errors.TooManyConnections(),
    ):
        assert is_database_away(said(gone))
    assert is_database_away(InterfaceError("the connection is closed"))
    for of_a_statement in (psycopg.errors.DeadlockDetected(), psycopg.errors.LockNotAvailable()):
        assert not is_database_away(said(of_a_statement))
