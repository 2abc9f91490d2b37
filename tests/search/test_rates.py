"""How often a person may search: pages and API count together."""

from __future__ import annotations

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from rest_framework.throttling import ScopedRateThrottle

from accounts.models import User
from tests.accounts.rows import photo_of
from tests.conftest import draw_picture


@pytest.fixture
def client(client: Client, ann: User, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setitem(ScopedRateThrottle.THROTTLE_RATES, "search", "1/minute")
    client.force_login(ann)
    return client


@pytest.mark.parametrize(
    "path",
    [
        "/search/?q=cat",
        "/search/suggestions/?q=cat",
        "/search/similar/{photo}/",
        "/search/?q=cat&cursor=x",
    ],
)
@pytest.mark.parametrize("first", ["/search/?q=cat", "/api/v1/search/?q=cat"])
def test_pages_and_api_count_together(client: Client, ann: User, first: str, path: str) -> None:
    address = path.format(photo=photo_of(ann).pk)
    assert client.get(first).status_code != 429
    response = client.get(address)
    assert response.status_code == 429
    assert 0 < int(response["Retry-After"]) <= 60
    assert "Wait" in response.text
    assert client.get("/api/v1/search/?q=cat").status_code == 429


def test_pictures_and_scans_count_too(client: Client) -> None:
    picture = SimpleUploadedFile("a.jpg", draw_picture(1))
    assert client.post("/search/picture/", {"picture": picture}).status_code == 302
    assert client.post("/search/duplicates/scan/").status_code == 429
    assert client.post("/search/picture/", {"picture": picture}).status_code == 429


def test_each_asker_gets_a_form_to_use(client: Client, ann: User) -> None:
    photo = photo_of(ann)
    client.get("/search/?q=cat")
    htmx = {"HX-Request": "true"}
    whole = client.get("/search/?q=cat")
    assert "<!doctype html>" in whole.text.lower()
    part = client.get("/search/?q=cat", headers=htmx)
    assert (part.status_code, "<!doctype" in part.text.lower()) == (429, False)
    assert 'role="alert"' in part.text
    # It would take the place of the button for more: a whole page is left alone by the script.
    assert "<!doctype" in client.get("/search/?q=cat&cursor=x", headers=htmx).text.lower()
    beside = client.get(f"/search/similar/{photo.pk}/", headers=htmx)
    assert (beside.status_code, "<!doctype" in beside.text.lower()) == (429, False)
    script = client.get("/search/suggestions/?q=cat", headers={"Accept": "application/json"})
    assert (script.status_code, list(script.json())) == (429, ["message"])


def test_another_person_has_another_count(client: Client, ben: User) -> None:
    client.get("/search/?q=cat")
    other = Client()
    other.force_login(ben)
    assert other.get("/search/").status_code == 200
