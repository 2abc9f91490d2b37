"""The headers that keep a page from doing what it should not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from accounts.models import User
from accounts.tokens import create_password_token
from gallery.models import Photo
from gallery.serving import VARIANTS
from gallery.sharing import share

Add = Callable[[User, int], Photo]

PAGES = ["/accounts/login/", "/accounts/signup/", "/api/docs/", "/api/v1/photos/", "/no/such/page/"]


@pytest.mark.parametrize("path", PAGES)
def test_every_answer_has_them(db: None, client: Client, path: str) -> None:
    response = client.get(path)
    policy = dict(
        directive.strip().split(" ", 1)
        for directive in response["Content-Security-Policy"].split(";")
    )
    assert policy["default-src"] == "'self'"
    assert policy["object-src"] == policy["frame-ancestors"] == "'none'"
    assert policy["base-uri"] == policy["form-action"] == "'self'"
    # Scripts come as files of this site, on every page.
    assert policy.get("script-src", "'self'") == "'self'"
    assert "unsafe-eval" not in response["Content-Security-Policy"]
    assert "camera=()" in response["Permissions-Policy"]
    assert "publickey-credentials-get=(self)" in response["Permissions-Policy"]
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["X-Frame-Options"] == "DENY"
    assert response["Referrer-Policy"] == "same-origin"


PRIVATE = [
    "/", "/albums/", "/favourites/", "/trash/", "/links/", "/search/?q=a+cat", "/accounts/profile/",
    "/accounts/email/", "/accounts/tokens/", "/accounts/delete/", "/accounts/password/change/",
    "/accounts/2fa/", "/accounts/2fa/webauthn/", "/accounts/reauthenticate/", "/no/such/page/",
    "/photos/1/", "/photos/1/original/", "/api/v1/photos/", "/api/v1/albums/", "/api/v1/trash/",
    "/api/v1/photos/1/", "/admin/",
]  # fmt: skip


@pytest.mark.parametrize("path", PRIVATE)
def test_private_pages_are_kept_by_nobody(client: Client, ann: User, path: str) -> None:
    User.objects.update(is_staff=True)
    client.force_login(User.objects.get())
    said = client.get(path)["Cache-Control"]
    assert {"private", "no-store"} <= set(said.split(", "))


@pytest.mark.parametrize("path", ["/api/v1/photos/", "/api/v1/photos/1/", "/photos/1/original/"])
def test_nor_are_answers_to_a_token(client: Client, ann: User, path: str) -> None:
    headers = {"Authorization": f"Bearer {create_password_token(owner=ann).secret}"}
    for each in (headers, {"Authorization": "Bearer wrong"}):
        assert client.get(path, headers=each)["Cache-Control"] == "private, no-store"


def test_nor_is_the_answer_that_begins_a_session(client: Client, ann: User) -> None:
    sent = {"login": "ann", "password": "correct horse battery"}
    said = client.post("/accounts/login/", sent)["Cache-Control"]
    assert {"private", "no-store"} <= set(said.split(", "))


def test_nor_are_the_pages_of_a_link(client: Client, ann: User, add: Add) -> None:
    photo = add(ann, 1)
    for password in ("", "open sesame"):
        link = share(owner=ann, photo_ids=[photo.pk], password=password)
        said = client.get(link.get_absolute_url())["Cache-Control"]
        assert {"private", "no-store"} <= set(said.split(", "))


def test_what_is_for_everybody_may_be_kept(client: Client, db: None) -> None:
    assert "Cache-Control" not in client.get("/api/schema/")
    assert "Cache-Control" not in client.get("/api/docs/")


def test_pictures_may_be_kept_by_their_owners_browser(client: Client, ann: User, add: Add) -> None:
    photo = add(ann, 1)
    client.force_login(ann)
    said = [client.get(f"/photos/{photo.pk}/{name}/")["Cache-Control"] for name in VARIANTS]
    assert said == ["private, max-age=86400", "private, max-age=86400", "private, no-cache"]
