"""Errors of the API as problem details, and how often it may be called."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.cache import cache
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from redis.exceptions import ConnectionError as RedisConnectionError
from rest_framework.throttling import ScopedRateThrottle

from accounts.models import User
from t2isearch.problems import bad_request, server_error
from tests.accounts.rows import photo_of
from tests.conftest import draw_picture

API = "/api/v1"
MEMBERS = {"type", "title", "status", "detail", "instance", "code"}


@pytest.fixture
def client(client: Client, ann: User) -> Client:
    client.force_login(ann)
    return client


def send(client: Client, method: str, path: str, body: Any = None) -> Any:
    options = {} if body is None else {"data": body, "content_type": "application/json"}
    return getattr(client, method)(f"{API}{path}", **options)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "title", "code"),
    [
        ("get", "/photos/0/", None, 404, "Not Found", "not_found"),
        ("get", "/photos/x/", None, 404, "Not Found", "not_found"),
        ("get", "/no/such/thing/", None, 404, "Not Found", "not_found"),
        ("get", "/photos/?cursor=x", None, 404, "Not Found", "not_found"),
        ("put", "/photos/1/", {}, 405, "Method Not Allowed", "method_not_allowed"),
        ("post", "/albums/", "{", 400, "Bad Request", "parse_error"),
        ("post", "/photos/", {}, 415, "Unsupported Media Type", "unsupported_media_type"),
    ],
)
def test_what_an_error_looks_like(
    client: Client, method: str, path: str, body: Any, status: int, title: str, code: str
) -> None:
    response = send(client, method, path, body)
    assert response.status_code == status
    assert response["Content-Type"] == "application/problem+json"
    problem = response.json()
    assert set(problem) == MEMBERS
    assert (problem["type"], problem["title"]) == ("about:blank", title)
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["instance"] == f"{API}{path.partition('?')[0]}"
    assert problem["detail"]


def test_the_errors_of_fields(client: Client, ann: User) -> None:
    sent = {"filename": "", "taken_at": "soon"}
    problem = send(client, "patch", f"/photos/{photo_of(ann).pk}/", sent).json()
    assert set(problem) == MEMBERS | {"errors", "filename", "taken_at"}
    assert set(problem["errors"]) == set(sent)
    for name in sent:
        [message] = problem["errors"][name]
        assert message in problem["detail"]
        # As before there were problem details.
        assert problem[name] == [message]


def test_a_field_that_is_called_as_a_problems_own_member(client: Client) -> None:
    problem = send(client, "post", "/albums/", {"title": ""}).json()
    assert problem["title"] == "Bad Request"
    assert list(problem["errors"]) == ["title"]


def test_the_errors_in_a_list_are_told(client: Client, ann: User) -> None:
    url = f"/albums/{send(client, 'post', '/albums/', {'title': 'A'}).json()['id']}/add/"
    errors = send(client, "post", url, {"photos": [1, "x", None]}).json()["errors"]
    assert list(errors) == ["photos"]
    assert len(errors["photos"]) == 2
    assert all(isinstance(message, str) for message in errors["photos"])


def test_a_refused_upload(client: Client) -> None:
    file = SimpleUploadedFile("notes.txt", b"no picture")
    problem = client.post(f"{API}/photos/", {"file": file}).json()
    assert problem["file"] == problem["errors"]["file"] != []


def test_what_goes_wrong_outside_of_rest_framework(rf: RequestFactory) -> None:
    for path, kind in ((f"{API}/photos/", "application/problem+json"), ("/", "text/html")):
        request: HttpRequest = rf.get(path)
        for response, status in (
            (bad_request(request, ValueError("with a secret")), 400),
            (server_error(request), 500),
        ):
            assert isinstance(response, HttpResponse)
            assert response.status_code == status
            assert response["Content-Type"].startswith(kind)
            assert b"secret" not in response.content


def test_pages_keep_their_own_errors(client: Client) -> None:
    response = client.get("/no/such/page/")
    assert response.status_code == 404
    assert response["Content-Type"].startswith("text/html")


def test_only_json_is_answered_but_errors_are(client: Client) -> None:
    response = client.get(f"{API}/photos/", headers={"Accept": "text/html"})
    assert (response.status_code, response["Content-Type"]) == (406, "application/problem+json")


def limit(monkeypatch: pytest.MonkeyPatch, scope: str, rate: str) -> None:
    monkeypatch.setitem(ScopedRateThrottle.THROTTLE_RATES, scope, rate)


def test_calls_are_limited_by_what_they_do(
    client: Client, ben: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, "api", "2/minute")
    # All but uploads and searches count together.
    assert send(client, "get", "/photos/").status_code == 200
    assert send(client, "get", "/albums/").status_code == 200
    response = send(client, "get", "/trash/")
    assert response.status_code == 429
    assert int(response["Retry-After"]) > 0
    assert response.json()["code"] == "throttled"
    file = SimpleUploadedFile("a.jpg", draw_picture(1))
    assert client.post(f"{API}/photos/", {"file": file}).status_code == 201
    # Of another person there is another count.
    other = Client()
    other.force_login(ben)
    assert send(other, "get", "/photos/").status_code == 200


def test_uploads_have_their_own_limit(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, "upload", "1/minute")
    statuses = [
        client.post(
            f"{API}/photos/", {"file": SimpleUploadedFile("a.jpg", draw_picture(number))}
        ).status_code
        for number in range(2)
    ]
    assert statuses == [201, 429]
    assert send(client, "get", "/photos/").status_code == 200


def test_without_the_cache_the_gallery_goes_on(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: object, **kwargs: object) -> None:
        raise RedisConnectionError("away")

    monkeypatch.setattr(type(cache._connections["default"]), "get", away)  # type: ignore[attr-defined]
    assert send(client, "get", "/photos/").status_code == 200
