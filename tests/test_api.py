"""The public contract of the API, field by field, and its schema against what really happens."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import datetime
from io import StringIO
from typing import Any

import pytest
import schemathesis
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from django.test import Client
from hypothesis import HealthCheck, Phase, settings
from rest_framework.throttling import ScopedRateThrottle
from schemathesis.config import SchemathesisConfig

from accounts.models import User
from accounts.tokens import create_password_token
from gallery.models import Album, Photo
from search.models import SearchIndex
from t2isearch.wsgi import application
from tests.accounts.rows import photo_of
from tests.conftest import draw_picture

PASSWORD = "correct horse battery"
PHOTO_FIELDS = {
    "id", "filename", "status", "searchable", "error", "width", "height", "bytes", "media_type",
    "taken_at", "created_at", "is_favourite", "caption", "urls",
}  # fmt: skip
PROBLEM = {"type", "title", "status", "detail", "instance", "code"}
Add = Callable[[User, int], Photo]
API = "/api/v1"


@pytest.fixture
def token(ann: User) -> str:
    return create_password_token(owner=ann).secret


@pytest.fixture
def token_client(token: str) -> Client:
    """A client with a token and nothing else; CSRF is checked as for everybody."""
    return Client(enforce_csrf_checks=True, headers={"Authorization": f"Token {token}"})


def upload(client: Client, number: int = 1, name: str = "holiday.jpg") -> Any:
    return client.post(f"{API}/photos/", {"file": SimpleUploadedFile(name, draw_picture(number))})


def patch(client: Client, photo_id: int, **changes: Any) -> Any:
    return client.patch(f"{API}/photos/{photo_id}/", changes, content_type="application/json")


def test_a_photo_has_the_fields_of_the_contract(token_client: Client, ann: User) -> None:
    response = upload(token_client)
    assert (response.status_code, response["Content-Type"]) == (201, "application/json")
    body = response.json()
    assert set(body) == PHOTO_FIELDS | {"duplicate"}
    created = datetime.fromisoformat(body.pop("created_at"))
    assert created.tzinfo is not None
    key = body.pop("id")
    assert body == {
        "filename": "holiday.jpg",
        "status": "processing",
        "searchable": False,
        "error": "",
        "width": 320,
        "height": 240,
        "bytes": len(draw_picture(1)),
        "media_type": "image/jpeg",
        "taken_at": None,
        "is_favourite": False,
        "caption": "",
        "urls": {
            "thumbnail": None,
            "preview": None,
            "original": f"http://testserver/photos/{key}/original/",
        },
        "duplicate": False,
    }
    assert set(token_client.get(f"{API}/photos/{key}/").json()) == PHOTO_FIELDS


def test_a_searchable_photo(token_client: Client, ann: User, add: Add) -> None:
    photo = add(ann, 1)
    body = token_client.get(f"{API}/photos/{photo.pk}/").json()
    assert (body["status"], body["searchable"]) == ("ready", True)
    assert set(body["urls"].values()) == {
        f"http://testserver/photos/{photo.pk}/{variant}/"
        for variant in ("thumbnail", "preview", "original")
    }
    again = upload(token_client, 1)
    assert (again.status_code, again.json()["duplicate"]) == (200, True)
    assert (again.json()["id"], again.json()["searchable"]) == (photo.pk, True)


def test_a_failed_photo_says_why(token_client: Client, ann: User) -> None:
    photo = photo_of(ann)
    Photo.objects.update(state="failed", error="The stored original is gone.")
    body = token_client.get(f"{API}/photos/{photo.pk}/").json()
    assert (body["status"], body["error"]) == ("failed", "The stored original is gone.")


def test_the_list_is_read_page_by_page(token_client: Client, ann: User, ben: User) -> None:
    own = [photo_of(ann).pk for _ in range(5)]
    photo_of(ben)
    url, seen, pages = f"{API}/photos/?limit=2", [], 0
    while url:
        body = token_client.get(url).json()
        assert set(body) == {"next", "previous", "results"}
        seen += [photo["id"] for photo in body["results"]]
        if pages == 0:
            photo_of(ann)  # one that is added meanwhile moves nothing
        url, pages = body["next"], pages + 1
    assert (seen, pages) == (own[::-1], 3)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("limit=200", 200), ("limit=0", 400), ("limit=201", 400), ("limit=x", 400),
        ("limit=", 400), ("cursor=x", 404), ("cursor=cD1hYmM=", 404), ("cursor=cD05", 200),
        ("cursor=bz0tMQ==", 404), ("cursor=%F0%9F%98%80", 404),
    ],
)  # fmt: skip
def test_pages_that_do_not_exist(token_client: Client, query: str, status: int) -> None:
    assert token_client.get(f"{API}/photos/?{query}").status_code == status


def test_file_name_and_time_can_be_changed(token_client: Client, ann: User) -> None:
    photo = photo_of(ann)
    response = patch(
        token_client, photo.pk, filename="../é.jpg", taken_at="2021-07-04T12:00:00+02:00"
    )
    assert response.status_code == 200
    assert set(response.json()) == PHOTO_FIELDS
    assert response.json()["filename"] == "é.jpg"
    assert response.json()["taken_at"] == "2021-07-04T10:00:00Z"
    assert patch(token_client, photo.pk, taken_at=None).json()["taken_at"] is None
    assert patch(token_client, photo.pk).json()["filename"] == "é.jpg"
    patch(token_client, photo.pk, status="failed", bytes=1, owner=7, id=7, error="x")
    photo.refresh_from_db()
    assert (photo.state, photo.size_bytes, photo.owner) == ("processing", 1000, ann)
    assert token_client.put(f"{API}/photos/{photo.pk}/").status_code == 405


@pytest.mark.parametrize(
    "changes",
    [
        {"filename": ""}, {"filename": None}, {"filename": 7}, {"filename": "x" * 256},
        {"filename": "\x00"}, {"taken_at": "soon"}, {"taken_at": 7},
        {"taken_at": "1825-12-31T00:00:00Z"}, {"taken_at": "9999-12-31T23:59:59-12:00"},
        {"taken_at": "0001-01-01T00:00:00+14:00"}, {"caption": 7}, {"caption": "x" * 2001},
        {"is_favourite": "yes"}, {"is_favourite": None},
    ],
)  # fmt: skip
def test_changes_that_are_refused(token_client: Client, ann: User, changes: dict[str, Any]) -> None:
    photo = photo_of(ann)
    response = patch(token_client, photo.pk, **changes)
    assert response.status_code == 400
    assert list(response.json()["errors"]) == list(changes)


def test_a_photo_that_is_deleted_meanwhile_cannot_be_changed(
    token_client: Client, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = photo_of(ann)
    validate = "gallery.api.serializers.PhotoSerializer.validate_taken_at"

    def vanish(self: object, taken_at: object) -> object:
        photo.delete()
        return taken_at

    monkeypatch.setattr(validate, vanish)
    assert patch(token_client, photo.pk, taken_at=None).status_code == 404


def test_deleting(token_client: Client, ann: User) -> None:
    photo = photo_of(ann)
    response = token_client.delete(f"{API}/photos/{photo.pk}/")
    assert (response.status_code, response.content) == (204, b"")
    assert not Photo.objects.exists()


def test_caption_and_favourite(token_client: Client, ann: User) -> None:
    photo = photo_of(ann)
    body = patch(token_client, photo.pk, caption="At the lake", is_favourite=True).json()
    assert (body["caption"], body["is_favourite"]) == ("At the lake", True)
    assert patch(token_client, photo.pk, caption="").json()["caption"] == ""


def test_the_trash(token_client: Client, ann: User, ben: User) -> None:
    photo, theirs = photo_of(ann), photo_of(ben)
    assert token_client.post(f"{API}/photos/{theirs.pk}/trash/").status_code == 404
    assert token_client.post(f"{API}/photos/{photo.pk}/trash/").status_code == 204
    assert token_client.get(f"{API}/photos/{photo.pk}/").status_code == 404
    [trashed] = token_client.get(f"{API}/trash/").json()["results"]
    assert set(trashed) == PHOTO_FIELDS - {"urls"} | {"trashed_at", "purged_at"}
    assert trashed["trashed_at"] < trashed["purged_at"]
    restored = token_client.post(f"{API}/trash/{photo.pk}/restore/")
    assert (restored.status_code, set(restored.json())) == (200, PHOTO_FIELDS)
    assert token_client.get(f"{API}/photos/{photo.pk}/").status_code == 200

    assert token_client.delete(f"{API}/trash/{photo.pk}/").status_code == 404
    token_client.post(f"{API}/photos/{photo.pk}/trash/")
    assert token_client.delete(f"{API}/trash/{photo.pk}/").status_code == 204
    assert token_client.get(f"{API}/trash/").json()["results"] == []
    assert list(Photo.objects.owned_by(ben)) == [theirs]


def post(client: Client, path: str, **body: Any) -> Any:
    return client.post(f"{API}{path}", body, content_type="application/json")


def test_what_is_there_already_is_found_by_its_hash(
    token_client: Client, ann: User, ben: User
) -> None:
    own, trashed, theirs, given_up = photo_of(ann), photo_of(ann), photo_of(ben), photo_of(ann)
    token_client.post(f"{API}/photos/{trashed.pk}/trash/")
    Photo.objects.filter(pk=given_up.pk).update(trashed_at="2000-01-01T00:00:00Z")
    uploaded = upload(token_client, 3).json()["id"]
    sha256 = hashlib.sha256(draw_picture(3)).hexdigest()
    hashes = [each.sha256 for each in (own, trashed, theirs, given_up)]
    asked = [*hashes, own.sha256, sha256.upper(), "0" * 64]
    response = post(token_client, "/photos/check/", sha256=asked)
    assert response.status_code == 200
    assert response.json() == {
        "found": [
            {"sha256": own.sha256, "id": own.pk, "trashed": False},
            {"sha256": trashed.sha256, "id": trashed.pk, "trashed": True},
            {"sha256": sha256, "id": uploaded, "trashed": False},
        ]
    }


@pytest.mark.parametrize(
    "sha256",
    [
        None, "0" * 64, [], ["0" * 63], ["0" * 65], ["g" * 64], ["0" * 64 + "\n"], [" " + "0" * 63],
        [7], [None], ["0" * 64] * 1001,
    ],
)  # fmt: skip
def test_what_is_no_list_of_hashes(token_client: Client, sha256: Any) -> None:
    response = post(token_client, "/photos/check/", sha256=sha256)
    assert (response.status_code, list(response.json()["errors"])) == (400, ["sha256"])


def test_many_are_moved_to_the_trash(token_client: Client, ann: User, ben: User) -> None:
    first, second, kept, theirs = photo_of(ann), photo_of(ann), photo_of(ann), photo_of(ben)
    ids = [second.pk, first.pk, theirs.pk, 10**9, first.pk]
    expected = {"trashed": [first.pk, second.pk], "not_found": sorted([theirs.pk, 10**9])}
    # Once more makes no difference: whoever got no answer asks again.
    for _ in range(2):
        response = post(token_client, "/photos/delete/", ids=ids)
        assert (response.status_code, response.json()) == (200, expected)
    assert set(Photo.objects.trashed_of(ann)) == {first, second}
    assert list(Photo.objects.owned_by(ann)) == [kept]
    assert list(Photo.objects.owned_by(ben)) == [theirs]


@pytest.mark.parametrize("ids", [None, "1", [], [0], [-1], ["x"], [2**63], [1] * 1001])
def test_what_is_no_list_of_photos(token_client: Client, ann: User, ids: Any) -> None:
    response = post(token_client, "/photos/delete/", ids=ids)
    assert (response.status_code, list(response.json()["errors"])) == (400, ["ids"])


def test_albums(token_client: Client, ann: User, ben: User) -> None:
    photo, theirs = photo_of(ann), photo_of(ben)
    sent = {"title": "Summer"}
    created = token_client.post(f"{API}/albums/", sent, content_type="application/json")
    assert created.status_code == 201
    url = f"{API}/albums/{created.json()['id']}"
    again = token_client.post(f"{API}/albums/", sent, content_type="application/json")
    assert (again.status_code, list(again.json()["errors"])) == (400, ["title"])
    keys = {"photos": [photo.pk, theirs.pk, 10**9]}
    added = token_client.post(f"{url}/add/", keys, content_type="application/json")
    assert added.json() == {"changed": 1}
    assert [found["id"] for found in token_client.get(f"{url}/photos/").json()["results"]] == [
        photo.pk
    ]
    assert token_client.get(f"{url}/").json()["photo_count"] == 1
    renamed = token_client.patch(f"{url}/", {"title": "Lake"}, content_type="application/json")
    assert renamed.json()["title"] == "Lake"
    removed = token_client.post(f"{url}/remove/", keys, content_type="application/json")
    assert removed.json() == {"changed": 1}
    assert token_client.delete(f"{url}/").status_code == 204
    assert Photo.objects.filter(pk=photo.pk).exists()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("get", ""), ("patch", ""), ("delete", ""), ("get", "photos/"), ("post", "add/"),
        ("post", "remove/"),
    ],
)  # fmt: skip
def test_another_persons_album_does_not_exist(
    token_client: Client, ann: User, ben: User, method: str, path: str
) -> None:
    theirs = Album.objects.create(owner=ben, title="Private")
    sent = {"title": "Mine", "photos": [photo_of(ann).pk]}
    send = getattr(token_client, method)
    response = (
        send(f"{API}/albums/{theirs.pk}/{path}")
        if method in {"get", "delete"}
        else send(f"{API}/albums/{theirs.pk}/{path}", sent, content_type="application/json")
    )
    assert response.status_code == 404
    theirs.refresh_from_db()
    assert (theirs.title, theirs.photos.count()) == ("Private", 0)


@pytest.mark.parametrize("method", ["get", "patch", "delete"])
def test_another_persons_photo_does_not_exist(token_client: Client, ben: User, method: str) -> None:
    photo = photo_of(ben)
    missing = getattr(token_client, method)(f"{API}/photos/{photo.pk + 1}/")
    theirs = getattr(token_client, method)(f"{API}/photos/{photo.pk}/")
    assert theirs.status_code == missing.status_code == 404
    assert theirs.json() | {"instance": ""} == missing.json() | {"instance": ""}
    assert Photo.objects.filter(pk=photo.pk).exists()
    assert token_client.get(f"{API}/search/?photo={photo.pk}").status_code == 404


def test_searching(token_client: Client, ann: User, add: Add, index: SearchIndex) -> None:
    photos = {add(ann, number).pk for number in range(3)}
    body = token_client.get(f"{API}/search/?q=a+cat&limit=2&weak=true").json()
    assert set(body) == {"query", "encoder", "took_ms", "results", "next"}
    assert (body["query"], body["encoder"]) == ("a cat", index.encoder)
    assert isinstance(body["took_ms"], int)
    assert len(body["results"]) == 2
    assert all(set(result) == {"score", "weak", "photo"} for result in body["results"])
    assert all(set(result["photo"]) == PHOTO_FIELDS for result in body["results"])
    assert all(result["photo"]["searchable"] for result in body["results"])
    following = token_client.get(body["next"]).json()
    assert following["next"] is None
    found = [result["photo"]["id"] for result in body["results"] + following["results"]]
    assert sorted(found) == sorted(photos)
    assert body["next"].startswith("http://testserver/api/v1/search/?")

    first = min(photos)
    similar = token_client.get(f"{API}/search/?photo={first}").json()
    assert (similar["query"], len(similar["results"])) == ("", 2)
    assert -1 <= similar["results"][0]["score"] <= 1


@pytest.mark.parametrize("name", ["ann", "ann@example.com", "ANN@Example.com"])
def test_a_token_for_a_name_or_an_address(client: Client, ann: User, name: str) -> None:
    response = client.post(
        f"{API}/auth/token/",
        {"username": name, "password": PASSWORD},
        content_type="application/json",
        headers={"Authorization": "Token outdated"},
    )
    assert (response.status_code, list(response.json())) == (200, ["token"])
    headers = {"Authorization": f"Token {response.json()['token']}"}
    assert client.get(f"{API}/photos/", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"username": "ann", "password": "wrong"}, "non_field_errors"),
        ({"username": "nobody", "password": PASSWORD}, "non_field_errors"),
        ({"username": "ann"}, "password"),
        ({"password": PASSWORD}, "username"),
    ],
)
def test_no_token_without_the_right_password(
    client: Client, ann: User, sent: dict[str, str], field: str
) -> None:
    response = client.post(f"{API}/auth/token/", sent)
    assert response.status_code == 400
    assert list(response.json()["errors"]) == [field]


def test_who_may_not_sign_in_gets_no_token(client: Client, ann: User) -> None:
    User.objects.update(is_active=False)
    sent = {"username": "ann", "password": PASSWORD}
    assert client.post(f"{API}/auth/token/", sent).status_code == 400
    headers = {"Authorization": f"Token {create_password_token(owner=ann).secret}"}
    assert client.get(f"{API}/photos/", headers=headers).status_code == 401


def test_guessing_passwords_is_stopped(client: Client, ann: User) -> None:
    """Also for somebody who says to come from another address each time."""
    statuses = [
        client.post(
            f"{API}/auth/token/",
            {"username": "ann", "password": str(number)},
            headers={"X-Forwarded-For": f"10.0.0.{number}"},
        ).status_code
        for number in range(12)
    ]
    assert statuses == [400] * 5 + [429] * 7


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("get", "photos/"), ("post", "photos/"), ("get", "photos/1/"), ("patch", "photos/1/"),
        ("delete", "photos/1/"), ("get", "search/?q=cat"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Token wrong"}])
def test_a_signed_in_person_is_needed(
    db: None, client: Client, method: str, path: str, headers: dict[str, str]
) -> None:
    response = getattr(client, method)(f"{API}/{path}", headers=headers)
    assert response.status_code == 401
    assert response["WWW-Authenticate"] == "Token, Bearer"
    assert response["Content-Type"] == "application/problem+json"
    assert set(response.json()) == PROBLEM


def test_a_session_needs_a_csrf_token_to_change_something(ann: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(ann)
    photo = photo_of(ann)
    assert client.get(f"{API}/photos/").status_code == 200
    assert client.delete(f"{API}/photos/{photo.pk}/").status_code == 403
    assert upload(client).status_code == 403
    client.get("/")
    csrf = {"X-CSRFToken": client.cookies["csrftoken"].value}
    assert client.delete(f"{API}/photos/{photo.pk}/", headers=csrf).status_code == 204


def test_only_json_is_answered(token_client: Client) -> None:
    assert token_client.get(f"{API}/photos/", headers={"Accept": "text/html"}).status_code == 406
    assert token_client.get(f"{API}/photos/?format=xml").status_code == 200


def test_too_many_searches_have_to_wait(
    token_client: Client, ann: User, add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ScopedRateThrottle.THROTTLE_RATES, "search", "1/minute")
    assert token_client.get(f"{API}/search/?q=cat").status_code == 200
    response = token_client.get(f"{API}/search/?q=cat")
    assert response.status_code == 429
    assert int(response["Retry-After"]) > 0


def test_the_schema_is_clean() -> None:
    written = StringIO()
    call_command("spectacular", validate=True, fail_on_warn=True, stdout=written)
    assert "/api/v1/photos/{id}/:" in written.getvalue()


# A request that fits the schema can still be refused with 400: bytes that are no picture, days in
# the wrong order, a time before photography. A resumable upload is refused with 413 where it is too
# large, and with 412 where it asks for another version of its protocol. Headers that it does not
# know are none of its business.
CONFIGURATION = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "400", "404", "413"]

[checks.negative_data_rejection]
expected-statuses = [
    "400", "401", "403", "404", "405", "406", "409", "412", "413", "415",
]

[checks.missing_required_header]
expected-statuses = ["400", "401", "403", "404", "406", "412", "415", "422"]

[generation]
allow-extra-parameters = false
"""
schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
_schema = schemathesis.openapi.from_wsgi(
    "/api/schema/?format=json",
    application,
    config=SchemathesisConfig.from_str(CONFIGURATION),
)


@pytest.fixture
def known_photo(ann: User, add: Add) -> Photo:
    return add(ann, 1)


@pytest.fixture
def one_connection() -> Iterator[None]:
    """Requests through WSGI keep the test's database connection, as the test client's do."""
    signals = (request_started, request_finished)
    for signal in signals:
        signal.disconnect(close_old_connections)
    yield
    for signal in signals:
        signal.connect(close_old_connections)


@pytest.mark.usefixtures("one_connection")
@_schema.parametrize()
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_call_keeps_to_the_schema(
    case: schemathesis.Case[Any],
    token: str,
    known_photo: Photo,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for scope in ScopedRateThrottle.THROTTLE_RATES:
        monkeypatch.setitem(ScopedRateThrottle.THROTTLE_RATES, scope, "100000/minute")
    monkeypatch.setattr("django.conf.settings.ACCOUNT_RATE_LIMITS", {})
    case.call_and_validate(headers={"Authorization": f"Token {token}"})
