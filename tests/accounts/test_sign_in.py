from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from accounts.models import User

if TYPE_CHECKING:
    from django.test.client import _MonkeyPatchedWSGIResponse

PASSWORD = "correct horse battery"


def sign_in(
    client: Client, login: str, password: str = PASSWORD, **more: str
) -> _MonkeyPatchedWSGIResponse:
    return client.post(reverse("account_login"), {"login": login, "password": password} | more)


def is_signed_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


@pytest.mark.parametrize(
    "login", ["Ada", "ada", "ADA", "ada@example.com", "Ada@Example.com", " ada "]
)
def test_the_name_and_the_address_sign_in(client: Client, ada: User, login: str) -> None:
    response = sign_in(client, login)

    assert response["Location"] == reverse("gallery:photos")
    assert client.session["_auth_user_id"] == str(ada.pk)


@pytest.mark.parametrize(
    ("login", "password"),
    [
        ("ada", "wrong"),
        ("nobody", PASSWORD),
        ("nobody@example.com", PASSWORD),
        ("ada", PASSWORD.upper()),
    ],
)
def test_wrong_credentials_are_refused(
    client: Client, ada: User, login: str, password: str
) -> None:
    response = sign_in(client, login, password)

    assert response.status_code == 200
    assert response.context["form"].non_field_errors()
    assert not is_signed_in(client)


def test_an_inactive_person_is_told_so(client: Client, ada: User) -> None:
    User.objects.filter(pk=ada.pk).update(is_active=False)

    response = sign_in(client, "ada")

    assert response["Location"] == reverse("account_inactive")
    assert not is_signed_in(client)


def test_guessing_is_stopped_even_for_the_right_password(client: Client, ada: User) -> None:
    for _ in range(5):
        sign_in(client, "ada", "wrong")

    response = sign_in(client, "ada")

    assert response.context["form"].non_field_errors() == [
        "That was tried too often. Wait a few minutes, then try again."
    ]
    assert not is_signed_in(client)


def test_many_requests_to_sign_in_are_stopped(client: Client, ada: User) -> None:
    for _ in range(30):
        assert sign_in(client, "").status_code == 200

    assert sign_in(client, "ada").status_code == 429


def test_signing_in_leads_to_where_one_wanted_to_go(client: Client, ada: User) -> None:
    wanted = reverse("accounts:profile")

    asked = client.get(wanted)
    assert asked["Location"] == f"{reverse(settings.LOGIN_URL)}?next={wanted}"
    assert sign_in(client, "ada", next=wanted)["Location"] == wanted


def test_signing_in_leads_to_no_other_site(client: Client, ada: User) -> None:
    response = sign_in(client, "ada", next="https://elsewhere.example/")

    assert response["Location"] == reverse("gallery:photos")


def test_signing_out(client: Client, ada: User) -> None:
    client.force_login(ada)

    asked = client.get(reverse("account_logout"))
    assert asked.status_code == 200
    assert is_signed_in(client)

    response = client.post(reverse("account_logout"))
    assert response["Location"] == reverse("account_login")
    assert not is_signed_in(client)
