from __future__ import annotations

import re
from typing import TYPE_CHECKING
from unittest.mock import ANY

import pytest
from allauth.account.models import EmailAddress
from django.core.mail import EmailMessage
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from accounts.models import User
from tests.accounts.conftest import PASSWORD

if TYPE_CHECKING:
    from django.test.client import _MonkeyPatchedWSGIResponse


@pytest.fixture
def signed_in(client: Client, ada: User) -> Client:
    """Who has given the password once more just now."""
    client.force_login(ada)
    client.post(reverse("account_reauthenticate"), {"password": PASSWORD})
    return client


def change_to(client: Client, email: str) -> _MonkeyPatchedWSGIResponse:
    return client.post(reverse("account_email"), {"action_add": "", "email": email})


def addresses(user: User) -> list[tuple[str, bool, bool]]:
    return list(
        EmailAddress.objects.filter(user=user)
        .order_by("pk")
        .values_list("email", "primary", "verified")
    )


def test_an_address_that_was_never_confirmed_is_replaced_at_once(
    signed_in: Client, ada: User, mailoutbox: list[EmailMessage]
) -> None:
    signed_in.get(reverse("account_email"))

    response = change_to(signed_in, "Ada.Lovelace@Example.com")

    assert response["Location"] == reverse("account_email")
    ada.refresh_from_db()
    assert ada.email == "ada.lovelace@example.com"
    assert addresses(ada) == [("ada.lovelace@example.com", True, False)]
    (told,) = mailoutbox
    assert told.to == ["ada@example.com"]
    assert "from ada@example.com to ada.lovelace@example.com" in str(told.body)
    assert "http://testserver/accounts/login/" in str(told.body)


def test_with_confirmation_switched_on_the_new_address_is_asked(
    signed_in: Client, ada: User, mailoutbox: list[EmailMessage], settings: Settings
) -> None:
    settings.ACCOUNT_EMAIL_VERIFICATION = "optional"

    change_to(signed_in, "ada.lovelace@example.com")

    ada.refresh_from_db()
    assert ada.email == "ada.lovelace@example.com"
    assert [message.to for message in mailoutbox] == [
        ["ada.lovelace@example.com"],
        ["ada@example.com"],
    ]


def test_a_confirmed_address_stays_until_the_new_one_is_confirmed(
    signed_in: Client, ada: User, mailoutbox: list[EmailMessage]
) -> None:
    EmailAddress.objects.create(user=ada, email=ada.email, primary=True, verified=True)

    change_to(signed_in, "new@example.com")

    ada.refresh_from_db()
    assert ada.email == "ada@example.com"
    page = signed_in.get(reverse("account_email")).content.decode()
    assert "<strong>ada@example.com</strong>" in page
    assert "<strong>new@example.com</strong>" in page

    message, told = mailoutbox
    assert told.to == ["ada@example.com"]
    assert "from ada@example.com to new@example.com was requested" in str(told.body)
    link = re.search(r"https?://testserver(/\S+)", str(message.body))
    assert link is not None
    assert "new@example.com" in signed_in.get(link[1]).content.decode()
    signed_in.post(link[1])

    ada.refresh_from_db()
    assert ada.email == "new@example.com"
    assert addresses(ada) == [("new@example.com", True, True)]
    assert mailoutbox[-1].to == ["ada@example.com"]
    assert "was changed from ada@example.com to new@example.com" in str(mailoutbox[-1].body)


@pytest.mark.parametrize("verified", [True, False])
def test_a_session_alone_does_not_change_it(
    client: Client, ada: User, mailoutbox: list[EmailMessage], verified: bool
) -> None:
    """Not even one that was just opened with the password."""
    EmailAddress.objects.create(user=ada, email=ada.email, primary=True, verified=verified)
    client.post(reverse("account_login"), {"login": "ada", "password": PASSWORD})

    response = change_to(client, "new@example.com")

    assert response["Location"].startswith(reverse("account_reauthenticate"))
    ada.refresh_from_db()
    assert ada.email == "ada@example.com"
    assert addresses(ada) == [("ada@example.com", True, verified)]
    assert mailoutbox == []
    # What was asked for happens once the password is given.
    client.post(
        f"{reverse('account_reauthenticate')}?next={reverse('account_email')}",
        {"password": PASSWORD},
    )
    assert "new@example.com" in [email for email, _primary, _verified in addresses(ada)]


def test_the_change_stands_where_no_mail_can_be_sent(
    signed_in: Client, ada: User, settings: Settings
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1

    assert change_to(signed_in, "new@example.com").status_code == 302

    ada.refresh_from_db()
    assert ada.email == "new@example.com"


def test_a_change_can_be_taken_back(signed_in: Client, ada: User) -> None:
    EmailAddress.objects.create(user=ada, email=ada.email, primary=True, verified=True)
    change_to(signed_in, "new@example.com")

    signed_in.post(reverse("account_email"), {"action_remove": "", "email": "new@example.com"})

    ada.refresh_from_db()
    assert ada.email == "ada@example.com"
    assert addresses(ada) == [("ada@example.com", True, True)]


@pytest.mark.parametrize("verified", [True, False])
def test_nobody_is_left_without_an_address(signed_in: Client, ada: User, verified: bool) -> None:
    EmailAddress.objects.create(user=ada, email=ada.email, primary=True, verified=verified)

    signed_in.post(reverse("account_email"), {"action_remove": "", "email": ada.email})

    ada.refresh_from_db()
    assert ada.email == "ada@example.com"
    assert addresses(ada) == [("ada@example.com", True, verified)]


@pytest.mark.parametrize("email", ["bob@example.com", "BOB@example.com"])
@pytest.mark.parametrize("verified", [True, False])
def test_the_address_of_another_is_refused(
    signed_in: Client, ada: User, bob: User, email: str, verified: bool
) -> None:
    EmailAddress.objects.create(user=ada, email=ada.email, primary=True, verified=verified)

    response = change_to(signed_in, email)

    assert response.context["form"].errors == {"email": ANY}
    ada.refresh_from_db()
    assert ada.email == "ada@example.com"


def test_the_address_another_is_changing_to_is_refused(
    signed_in: Client, ada: User, bob: User
) -> None:
    EmailAddress.objects.create(user=bob, email="wanted@example.com")

    response = change_to(signed_in, "wanted@example.com")

    assert "email" in response.context["form"].errors


def test_the_new_address_signs_in(signed_in: Client, ada: User) -> None:
    change_to(signed_in, "new@example.com")

    other = Client()
    other.post(
        reverse("account_login"), {"login": "new@example.com", "password": "correct horse battery"}
    )

    assert other.session["_auth_user_id"] == str(ada.pk)
