"""Signing in with a code of an authenticator app, a recovery code, or a passkey."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable
from html import unescape

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from django.core import mail
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from accounts.models import Scope, User
from accounts.tokens import create_password_token, create_token
from tests.accounts.conftest import PASSWORD
from tests.accounts.passkey import Passkey
from tests.accounts.test_pages import check_page
from tests.accounts.test_sign_in import is_signed_in, sign_in

INCORRECT = "Incorrect code."


def code_for(secret: str, *, steps: int = 0) -> str:
    """What an app shows `steps` half minutes from now."""
    return str(format_hotp_value(hotp_value(secret, int(time.time()) // 30 + steps)))


def prove_it(client: Client) -> None:
    """Whatever changes how one signs in asks for the password once more."""
    client.post(reverse("account_reauthenticate"), {"password": PASSWORD})


def turn_on(client: Client) -> str:
    """Set up an app as the signed-in person does; the key that the app has."""
    asked = client.get(reverse("mfa_activate_totp"))
    assert asked["Location"].startswith(reverse("account_reauthenticate"))
    prove_it(client)
    page = client.get(reverse("mfa_activate_totp")).content.decode()
    secret = re.search(r'id="authenticator_secret" type="text" value="(\w+)"', page)
    assert secret is not None
    response = client.post(reverse("mfa_activate_totp"), {"code": code_for(secret[1])})
    assert response["Location"] == reverse("mfa_view_recovery_codes")
    return secret[1]


@pytest.fixture
def secret(client: Client, ada: User) -> str:
    """Ada's app, set up; she is signed out again."""
    sign_in(client, "ada")
    key = turn_on(client)
    client.post(reverse("account_logout"))
    return key


def second_step(client: Client, code: str) -> list[str]:
    response = client.post(reverse("mfa_authenticate"), {"code": code})
    return [] if response.status_code == 302 else list(response.context["form"].errors["code"])


def test_the_code_of_the_app_is_asked_for(client: Client, ada: User, secret: str) -> None:
    response = sign_in(client, "ada")
    assert response["Location"] == reverse("mfa_authenticate")
    assert not is_signed_in(client)
    assert client.get(reverse("gallery:photos")).status_code == 302
    check_page(client.get(reverse("mfa_authenticate")).content.decode())

    assert second_step(client, "000000") == [INCORRECT]
    assert not is_signed_in(client)
    # The one that turned it on is used up.
    assert second_step(client, code_for(secret, steps=1)) == []
    assert is_signed_in(client)


def test_a_code_works_once(client: Client, ada: User, secret: str) -> None:
    code = code_for(secret, steps=1)
    sign_in(client, "ada")
    second_step(client, code)
    client.post(reverse("account_logout"))
    sign_in(client, "ada")
    assert second_step(client, code) == [INCORRECT]


def test_nor_once_more_later(
    client: Client, ada: User, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The codes of the neighbouring half minutes are taken too: each for a minute and a half."""
    start = time.time()
    code = code_for(secret, steps=1)
    sign_in(client, "ada")
    second_step(client, code)
    assert is_signed_in(client)
    for later in (31, 59):  # with more of them the limit on guesses would come first
        monkeypatch.setattr(time, "time", lambda now=start + later: now)
        other = Client()
        sign_in(other, "ada")
        assert second_step(other, code) == [INCORRECT]
        again = client.post(reverse("mfa_reauthenticate"), {"code": code})
        assert again.context["form"].errors["code"] == [INCORRECT]


def test_the_code_that_turned_it_on_is_used_up(client: Client, ada: User) -> None:
    sign_in(client, "ada")
    key = turn_on(client)
    other = Client()
    sign_in(other, "ada")
    assert second_step(other, code_for(key)) == [INCORRECT]


def test_codes_at_once_of_which_one_is_right(ada: User, client: Client, secret: str) -> None:
    """Guesses count by account, from anywhere and in all sessions; also those of recovery codes."""
    clients = [Client(REMOTE_ADDR=f"192.0.2.{number}") for number in range(6)]
    for each in clients:
        sign_in(each, "ada")
    answers = [second_step(each, f"0000000{number}") for number, each in enumerate(clients)]
    assert answers[:5] == [[INCORRECT]] * 5
    assert answers[5] != [INCORRECT]
    assert second_step(clients[5], code_for(secret, steps=1)) != []


def with_an_app(client: Client) -> None:
    turn_on(client)


def with_a_passkey(client: Client) -> None:
    prove_it(client)
    Passkey().register(client)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("switch_on", [with_an_app, with_a_passkey])
def test_switching_it_on_ends_what_the_password_alone_opened(
    client: Client, ada: User, bob: User, switch_on: Callable[[Client], None]
) -> None:
    others, bobs = Client(), Client()
    for each, person in ((client, "ada"), (others, "ada"), (bobs, "bob")):
        sign_in(each, person)
    asked = Client().post(reverse("api:token"), {"username": "ada", "password": PASSWORD})
    theirs = create_password_token(owner=bob).secret
    named = create_token(owner=ada, name="Phone", scopes=[Scope.PHOTOS_READ]).secret

    switch_on(client)

    profile = reverse("accounts:profile")
    assert client.get(profile).status_code == 200
    assert others.get(profile).status_code == 302
    assert bobs.get(profile).status_code == 200
    for secret, status in ((asked.json()["token"], 401), (theirs, 200), (named, 200)):
        headers = {"Authorization": f"Token {secret}"}
        assert Client().get("/api/v1/photos/", headers=headers).status_code == status
    # And switching it off those that were opened with it.
    again = Client()
    ada.refresh_from_db()
    again.force_login(ada)
    prove_it(client)
    key = Authenticator.objects.exclude(type="recovery_codes").get()
    client.post(
        reverse("mfa_deactivate_totp")
        if key.type == "totp"
        else reverse("mfa_remove_webauthn", args=[key.pk])
    )
    assert client.get(profile).status_code == 200
    assert again.get(profile).status_code == 302


def test_guessing_codes_is_stopped(client: Client, ada: User, secret: str) -> None:
    sign_in(client, "ada")
    answers = [second_step(client, f"{number:06}") for number in range(6)]
    assert answers[0] == [INCORRECT]
    assert answers[-1] != [INCORRECT]
    assert second_step(client, code_for(secret, steps=1)) != []
    assert not is_signed_in(client)


def test_a_recovery_code_works_once(client: Client, ada: User, secret: str) -> None:
    sign_in(client, "ada")
    second_step(client, code_for(secret, steps=1))
    prove_it(client)
    page = client.get(reverse("mfa_view_recovery_codes")).content.decode()
    check_page(page)
    codes = re.findall(r"\b\d{8}\b", page[page.index("<pre") : page.index("</pre>")])
    assert len(codes) == 10
    client.post(reverse("account_logout"))

    sign_in(client, "ada")
    assert second_step(client, codes[0]) == []
    client.post(reverse("account_logout"))
    sign_in(client, "ada")
    assert second_step(client, codes[0]) == [INCORRECT]


def test_turning_it_off(client: Client, ada: User, secret: str) -> None:
    sign_in(client, "ada")
    second_step(client, code_for(secret, steps=1))
    assert "On" in client.get(reverse("accounts:profile")).content.decode()
    prove_it(client)
    check_page(client.get(reverse("mfa_deactivate_totp")).content.decode())
    client.post(reverse("mfa_deactivate_totp"))
    assert not Authenticator.objects.exists()
    client.post(reverse("account_logout"))
    assert sign_in(client, "ada")["Location"] == reverse("gallery:photos")


def test_the_key_is_not_in_the_database(client: Client, ada: User, secret: str) -> None:
    stored = [str(authenticator.data) for authenticator in Authenticator.objects.all()]
    assert len(stored) == 2
    assert not any(secret in data for data in stored)


def test_a_new_secret_key_still_reads_what_the_old_one_encrypted(
    client: Client, ada: User, secret: str, settings: Settings
) -> None:
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another key that is as long as it has to be, for this test"
    sign_in(client, "ada")
    assert second_step(client, code_for(secret, steps=1)) == []


def test_the_picture_for_the_app_keeps_to_the_policy(client: Client, ada: User) -> None:
    sign_in(client, "ada")
    prove_it(client)
    response = client.get(reverse("mfa_activate_totp"))
    source = re.search(r'<img class="qr-code" src="([^"]+)"', response.content.decode())
    assert source is not None
    kind, _, data = unescape(source[1]).partition(",")
    assert kind == "data:image/svg+xml;base64"
    assert b"<svg" in base64.b64decode(data)
    assert "img-src 'self' data:" in response["Content-Security-Policy"]


def test_a_passkey_is_asked_for_with_a_challenge(client: Client, ada: User) -> None:
    sign_in(client, "ada")
    prove_it(client)
    response = client.get(reverse("mfa_add_webauthn"))
    options = response.context["js_data"]["creation_options"]["publicKey"]
    assert options["rp"]["id"] == "testserver"
    assert options["challenge"]
    client.post(reverse("account_logout"))
    offered = client.get(reverse("mfa_login_webauthn"), headers={"Accept": "application/json"})
    assert offered.json()["request_options"]["publicKey"]["challenge"]


def test_a_password_alone_gets_no_token_for_the_api(client: Client, ada: User, secret: str) -> None:
    response = client.post(reverse("api:token"), {"username": "ada", "password": PASSWORD})
    assert response.status_code == 400
    assert "in two steps" in response.json()["non_field_errors"][0]


def test_the_admin_asks_for_it_as_well(client: Client, ada: User, secret: str) -> None:
    User.objects.update(is_staff=True)
    response = client.post(
        reverse("admin:login"), {"username": "ada", "password": PASSWORD}, follow=True
    )
    assert not is_signed_in(client)
    assert response.redirect_chain[-1][0].startswith(reverse("account_login"))


def test_who_signs_in_is_not_told_apart_from_who_has_no_account(client: Client, ada: User) -> None:
    known = client.post(reverse("account_reset_password"), {"email": "ada@example.com"})
    unknown = client.post(reverse("account_reset_password"), {"email": "no@example.com"})
    assert known["Location"] == unknown["Location"] == reverse("account_reset_password_done")
    assert [message.to for message in mail.outbox] == [["ada@example.com"], ["no@example.com"]]
    wrong = sign_in(client, "ada@example.com", "wrong").context["form"].non_field_errors()
    nobody = sign_in(client, "no@example.com", "wrong").context["form"].non_field_errors()
    assert wrong == nobody


def test_signing_up_does_not_tell_where_addresses_are_confirmed(
    client: Client, ada: User, settings: Settings
) -> None:
    settings.ACCOUNT_EMAIL_VERIFICATION = "mandatory"
    person = {"password1": "battery of a horse", "password2": "battery of a horse"}
    taken = client.post(
        reverse("account_signup"), person | {"username": "grace", "email": ada.email}
    )
    fresh = client.post(
        reverse("account_signup"), person | {"username": "hedy", "email": "hedy@example.com"}
    )
    assert taken["Location"] == fresh["Location"] == reverse("account_email_verification_sent")
    assert [message.to for message in mail.outbox] == [[ada.email], ["hedy@example.com"]]
    assert User.objects.filter(email=ada.email).count() == 1
