from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User

if TYPE_CHECKING:
    from django.test.client import _MonkeyPatchedWSGIResponse

pytestmark = pytest.mark.django_db

SIGN_UP = {
    "username": "grace",
    "email": "Grace@Example.com",
    "password1": "correct horse battery",
    "password2": "correct horse battery",
}


def sign_up(client: Client, **changes: str) -> _MonkeyPatchedWSGIResponse:
    return client.post(reverse("account_signup"), SIGN_UP | changes)


def test_signing_up_signs_in_and_leads_to_the_gallery(client: Client) -> None:
    response = sign_up(client)

    assert response.status_code == 302
    assert response["Location"] == reverse("gallery:photos")
    person = User.objects.get()
    assert (person.username, person.email) == ("grace", "grace@example.com")
    assert client.session["_auth_user_id"] == str(person.pk)


@pytest.mark.parametrize("username", ["Ada", "ada", "ADA"])
def test_a_name_that_differs_only_in_case_is_taken(
    client: Client, ada: User, username: str
) -> None:
    response = sign_up(client, username=username)

    assert response.status_code == 200
    assert response.context["form"].errors["username"] == [
        "A user with that username already exists."
    ]
    assert User.objects.count() == 1


@pytest.mark.parametrize("email", ["ada@example.com", "Ada@Example.COM"])
def test_an_address_that_differs_only_in_case_is_taken(
    client: Client, ada: User, email: str
) -> None:
    response = sign_up(client, email=email)

    assert response.context["form"].errors["email"] == [
        "A user is already registered with this email address."
    ]


def test_an_address_that_was_stored_in_capitals_is_taken(client: Client, ada: User) -> None:
    User.objects.filter(pk=ada.pk).update(email="Ada@Example.com")

    response = sign_up(client, email="ada@example.com")

    assert "email" in response.context["form"].errors
    assert User.objects.count() == 1


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"email": ""}, "email"),
        ({"email": "grace"}, "email"),
        ({"username": "gr ace"}, "username"),
        ({"password1": "12345678", "password2": "12345678"}, "password1"),
        ({"password1": "grace@example", "password2": "grace@example"}, "password1"),
        ({"password2": "something else entirely"}, "password2"),
    ],
)
def test_what_is_refused_is_said_beside_the_field(
    client: Client, changes: dict[str, str], field: str
) -> None:
    response = sign_up(client, **changes)

    assert list(response.context["form"].errors) == [field]
    # A screen reader reads the error with the field.
    assert f'id="id_{field}_error"' in response.content.decode()
    assert not User.objects.exists()


def test_too_many_sign_ups_from_one_address_are_stopped(client: Client) -> None:
    for _ in range(20):
        assert sign_up(client, email="").status_code == 200

    response = sign_up(client)

    assert response.status_code == 429
    assert "429.html" in [template.name for template in response.templates]
    assert not User.objects.exists()
