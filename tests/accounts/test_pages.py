"""Every page of the accounts is in the site's own design and keeps to the security policy."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from accounts.models import User
from tests.accounts.rows import photo_of

ANYBODY = [
    "account_login",
    "account_signup",
    "account_reset_password",
    "account_reset_password_done",
    "account_reset_password_from_key_done",
    "account_inactive",
    "account_email_verification_sent",
]
SIGNED_IN = [
    "accounts:profile",
    "accounts:delete",
    "account_email",
    "account_change_password",
    "account_logout",
    "account_reauthenticate",
    "mfa_index",
    "mfa_activate_totp",
    "mfa_list_webauthn",
    "mfa_add_webauthn",
    "account_reset_password",
]


class PolicyBreaches(HTMLParser):
    """Collects what the policy would block: inline scripts, styles and handlers."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.breaches: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = dict(attrs)
        # A block of data is no script: the policy lets it be.
        inline = "src" not in names and names.get("type") != "application/json"
        if tag == "style" or (tag == "script" and inline):
            self.breaches.append(f"<{tag}>")
        self.breaches += [
            f"<{tag} {name}>"
            for name in names
            if name == "style" or name.startswith(("on", "hx-on", "hx-vals", "hx-vars"))
        ]


def check_page(html: str) -> None:
    assert '<main id="main"' in html
    assert '<html lang="en">' in html
    assert html.count("<h1") == 1
    assert PolicyBreaches(html).breaches == []


@pytest.mark.django_db
@pytest.mark.parametrize("name", ANYBODY)
def test_pages_for_anybody(client: Client, name: str) -> None:
    response = client.get(reverse(name))

    assert response.status_code == 200
    check_page(response.content.decode())


@pytest.mark.parametrize("name", SIGNED_IN)
def test_pages_for_people_who_are_signed_in(client: Client, ada: User, name: str) -> None:
    # A sign-in of its own: asking for the password again needs to know when it was given.
    client.post(reverse("account_login"), {"login": "ada", "password": "correct horse battery"})
    client.post(reverse("account_reauthenticate"), {"password": "correct horse battery"})

    response = client.get(reverse(name))

    assert response.status_code == 200
    check_page(response.content.decode())


@pytest.mark.parametrize(
    "name", [name for name in SIGNED_IN if name not in {*ANYBODY, "account_logout"}]
)
def test_pages_that_need_signing_in(client: Client, db: None, name: str) -> None:
    response = client.get(reverse(name))

    assert response.status_code == 302
    assert response["Location"].startswith(reverse("account_login"))


@pytest.mark.parametrize("path", ["reset/key/1-set-password/", "reset/key/zz-abc/"])
def test_a_link_that_does_not_work(client: Client, db: None, path: str) -> None:
    response = client.get(f"/accounts/password/{path}")

    assert response.status_code == 200
    check_page(response.content.decode())
    assert "This link does not work" in response.content.decode()


def test_a_confirmation_that_does_not_work(client: Client, db: None) -> None:
    response = client.get(reverse("account_confirm_email", args=["no-such-key"]))

    check_page(response.content.decode())


@pytest.mark.django_db
def test_a_page_that_does_not_exist(client: Client) -> None:
    response = client.get("/accounts/no-such-page/")

    assert response.status_code == 404
    check_page(response.content.decode())


@pytest.mark.django_db
def test_a_form_from_before_signing_in(ada: User) -> None:
    client = Client(enforce_csrf_checks=True)

    response = client.post(reverse("account_login"), {"login": "ada", "password": "x"})

    assert response.status_code == 403
    check_page(response.content.decode())
    assert "The page was open for too long" in response.content.decode()


def test_the_profile_says_what_is_stored(client: Client, ada: User, bob: User) -> None:
    photo_of(ada, size_bytes=3 * 1024 * 1024)
    photo_of(ada, size_bytes=1024 * 1024)
    photo_of(bob, size_bytes=512 * 1024 * 1024)
    client.force_login(ada)

    response = client.get(reverse("accounts:profile"))

    storage = response.context["storage"]
    assert (storage.photos, storage.used_bytes, storage.limit_bytes) == (2, 4 * 1024 * 1024, None)
    assert "<meter" not in response.content.decode()


def test_the_profile_says_how_much_may_be_stored(
    client: Client, ada: User, settings: Settings
) -> None:
    settings.DEFAULT_QUOTA_BYTES = 8 * 1024 * 1024
    photo_of(ada, size_bytes=2 * 1024 * 1024)
    client.force_login(ada)

    page = client.get(reverse("accounts:profile")).content.decode()

    assert "2.0\xa0MB of 8.0\xa0MB" in page
    assert 'max="8388608" value="2097152"' in page
