from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.core.mail import EmailMessage
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from accounts.models import AccessToken, Scope, User
from accounts.tokens import create_password_token, create_token

PASSWORD = "correct horse battery"
NEW_PASSWORD = "staple of another horse"


def change(old: str, new: str = NEW_PASSWORD) -> dict[str, str]:
    return {"oldpassword": old, "password1": new, "password2": new}


def link_in(message: EmailMessage) -> str:
    found = re.search(r"https?://testserver(/\S+)", str(message.body))
    assert found is not None
    return found[1]


def test_changing_the_password(client: Client, ada: User) -> None:
    client.force_login(ada)

    response = client.post(reverse("account_change_password"), change(PASSWORD), follow=True)

    assert response.redirect_chain == [(reverse("accounts:profile"), 302)]
    assert "Your password is changed." in response.content.decode()
    ada.refresh_from_db()
    assert ada.check_password(NEW_PASSWORD)


def test_the_old_password_is_needed_to_change_it(client: Client, ada: User) -> None:
    client.force_login(ada)

    response = client.post(reverse("account_change_password"), change("wrong"))

    assert "oldpassword" in response.context["form"].errors
    ada.refresh_from_db()
    assert ada.check_password(PASSWORD)


def test_changing_the_password_ends_other_sessions(client: Client, ada: User) -> None:
    client.force_login(ada)
    elsewhere = Client()
    elsewhere.force_login(ada)

    client.post(reverse("account_change_password"), change(PASSWORD))

    assert client.get(reverse("accounts:profile")).status_code == 200
    assert elsewhere.get(reverse("accounts:profile")).status_code == 302


def by_the_page(ada: User, outbox: list[EmailMessage]) -> None:
    client = Client()
    client.force_login(ada)
    client.post(reverse("account_change_password"), change(PASSWORD))


def by_mail(ada: User, outbox: list[EmailMessage]) -> None:
    client = Client()
    client.post(reverse("account_reset_password"), {"email": ada.email})
    page = client.get(link_in(outbox[0]), follow=True)
    new = {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    client.post(page.redirect_chain[-1][0], new)


def by_an_administrator(ada: User, outbox: list[EmailMessage]) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("root", "root@example.com", PASSWORD))
    new = {"usable_password": "true", "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    client.post(reverse("admin:auth_user_password_change", args=[ada.pk]), new)


@pytest.mark.parametrize("way", [by_the_page, by_mail, by_an_administrator])
def test_a_new_password_ends_the_tokens(
    ada: User,
    bob: User,
    mailoutbox: list[EmailMessage],
    way: Callable[[User, list[EmailMessage]], None],
) -> None:
    secrets = {}
    for person in (ada, bob):
        access = create_token(owner=person, name="backup", scopes=[Scope.PHOTOS_READ]).secret
        secrets[person] = {"Bearer": access, "Token": create_password_token(owner=person).secret}

    way(ada, mailoutbox)

    ada.refresh_from_db()
    assert ada.check_password(NEW_PASSWORD)
    for person, status in ((ada, 401), (bob, 200)):
        for word, secret in secrets[person].items():
            client = Client(headers={"Authorization": f"{word} {secret}"})
            assert client.get("/api/v1/photos/").status_code == status


def test_signing_in_ends_no_token(client: Client, ada: User, settings: Settings) -> None:
    """Not even where the hash of the password is made anew, by a better hasher."""
    create_password_token(owner=ada)
    before = ada.password
    settings.PASSWORD_HASHERS = [
        "django.contrib.auth.hashers.PBKDF2PasswordHasher",
        *settings.PASSWORD_HASHERS,
    ]
    client.post(reverse("account_login"), {"login": "Ada", "password": PASSWORD})
    ada.refresh_from_db()
    assert ada.password != before
    ada.first_name = "Ada"
    ada.save()
    assert AccessToken.objects.count() == 1


@pytest.mark.parametrize("email", ["ada@example.com", "ADA@example.com"])
def test_resetting_the_password_by_mail(
    client: Client, ada: User, mailoutbox: list[EmailMessage], email: str
) -> None:
    asked = client.post(reverse("account_reset_password"), {"email": email})
    assert asked["Location"] == reverse("account_reset_password_done")
    (message,) = mailoutbox
    assert message.to == ["ada@example.com"]

    # The link leads on to a page without the key in its address.
    page = client.get(link_in(message), follow=True)
    form_url = page.redirect_chain[-1][0]
    response = client.post(form_url, {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD})

    assert response["Location"] == reverse("account_reset_password_from_key_done")
    ada.refresh_from_db()
    assert ada.check_password(NEW_PASSWORD)


def test_a_link_resets_the_password_once(
    client: Client, ada: User, mailoutbox: list[EmailMessage]
) -> None:
    client.post(reverse("account_reset_password"), {"email": ada.email})
    link = link_in(mailoutbox[0])
    form_url = client.get(link, follow=True).redirect_chain[-1][0]
    client.post(form_url, {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD})

    again = Client().get(link, follow=True)

    assert again.context["token_fail"] is True
    assert reverse("account_reset_password") in again.content.decode()


def test_asking_for_a_reset_does_not_tell_who_has_an_account(
    client: Client, ada: User, mailoutbox: list[EmailMessage]
) -> None:
    known = client.post(reverse("account_reset_password"), {"email": ada.email})
    unknown = client.post(reverse("account_reset_password"), {"email": "nobody@example.com"})

    assert (known.status_code, known["Location"]) == (unknown.status_code, unknown["Location"])
    assert ["/password/reset/key/" in str(message.body) for message in mailoutbox] == [True, False]
