"""Passkeys: what they open, and what whoever brings a wrong one gets."""

from __future__ import annotations

import json
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.core.cache import cache
from django.test import Client
from django.urls import reverse

from accounts.models import User
from tests.accounts.passkey import Passkey, challenge_to_sign_in, send
from tests.accounts.test_sign_in import is_signed_in, sign_in
from tests.accounts.test_two_steps import prove_it


def passkey_of(user: User, number: int, **options: Any) -> Passkey:
    client = Client()
    sign_in(client, user.username)
    prove_it(client)
    passkey = Passkey(number, **options)
    assert passkey.register(client)["Location"] == reverse("mfa_view_recovery_codes")
    user.refresh_from_db()
    return passkey


@pytest.fixture
def passkey(ada: User) -> Passkey:
    return passkey_of(ada, 1)


def enter(client: Client, passkey: Passkey, **changes: Any) -> bool:
    send(client, passkey.answer(challenge_to_sign_in(client), **changes))
    return is_signed_in(client)


def test_it_signs_in_alone_and_is_a_second_step(
    client: Client, ada: User, passkey: Passkey
) -> None:
    assert enter(client, passkey)
    assert client.session["_auth_user_id"] == str(ada.pk)

    other = Client()
    assert sign_in(other, "ada")["Location"] == reverse("mfa_authenticate")
    assert not is_signed_in(other)
    page = other.get(reverse("mfa_authenticate"))
    challenge = page.context["js_data"]["request_options"]["publicKey"]["challenge"]
    send(other, passkey.answer(challenge), "mfa_authenticate")
    assert is_signed_in(other)


def test_an_answer_is_good_once(client: Client, passkey: Passkey) -> None:
    credential = passkey.answer(challenge_to_sign_in(client))
    send(client, credential)
    assert is_signed_in(client)
    client.post(reverse("account_logout"))
    send(client, credential)
    challenge_to_sign_in(client)
    send(client, credential)
    assert not is_signed_in(client)
    stranger = Client()
    challenge_to_sign_in(stranger)
    send(stranger, credential)
    assert not is_signed_in(stranger)


@pytest.mark.parametrize(
    "origin",
    [
        "https://elsewhere.example",
        "http://testserver",
        "https://testserver.elsewhere.example",
        "https://elsewhere.example/testserver",
    ],
)
def test_what_another_site_was_given_opens_nothing(
    client: Client, passkey: Passkey, origin: str
) -> None:
    passkey.origin = origin
    assert not enter(client, passkey)


def test_nor_is_one_added_there(client: Client, ada: User) -> None:
    sign_in(client, "ada")
    prove_it(client)
    assert Passkey(origin="https://elsewhere.example").register(client).status_code == 200
    assert not Authenticator.objects.exists()


def test_the_key_of_another_person_opens_nothing(
    client: Client, ada: User, bob: User, passkey: Passkey
) -> None:
    bobs = passkey_of(bob, 2)
    assert not enter(client, bobs, user_handle=passkey.user_handle)
    assert not enter(client, bobs, id=passkey.answer("")["id"], rawId=passkey.answer("")["id"])
    # Nor is it a second step for another's password.
    sign_in(client, "ada")
    page = client.get(reverse("mfa_authenticate"))
    challenge = page.context["js_data"]["request_options"]["publicKey"]["challenge"]
    send(client, bobs.answer(challenge), "mfa_authenticate")
    assert not is_signed_in(client)
    # Nor does it stand in for their password once more.
    client.force_login(ada)
    page = client.get(reverse("mfa_reauthenticate_webauthn"))
    challenge = page.context["js_data"]["request_options"]["publicKey"]["challenge"]
    send(client, bobs.answer(challenge), "mfa_reauthenticate_webauthn")
    assert client.get(reverse("accounts:new-token")).status_code == 302


def test_alone_it_must_know_the_person(client: Client, passkey: Passkey) -> None:
    """By a finger or a PIN: who only found the key has no second thing."""
    passkey.verified = False
    assert not enter(client, passkey)


def test_who_may_no_longer_sign_in_is_not_let_in_by_it(
    client: Client, ada: User, passkey: Passkey
) -> None:
    User.objects.filter(pk=ada.pk).update(is_active=False)
    response = send(client, passkey.answer(challenge_to_sign_in(client)))
    assert response["Location"] == reverse("account_inactive")
    assert not is_signed_in(client)


def test_a_session_ends_with_the_right_to_sign_in(
    client: Client, ada: User, passkey: Passkey
) -> None:
    assert enter(client, passkey)
    User.objects.filter(pk=ada.pk).update(is_active=False)
    assert client.get(reverse("accounts:profile")).status_code == 302


def test_removing_the_last_one_turns_two_steps_off(
    client: Client, ada: User, passkey: Passkey
) -> None:
    enter(client, passkey)
    page = reverse("mfa_remove_webauthn", args=[Authenticator.objects.get(type="webauthn").pk])
    assert client.post(page)["Location"].startswith(reverse("account_reauthenticate"))
    assert Authenticator.objects.filter(type="webauthn").exists()
    prove_it(client)
    client.post(page)
    assert not Authenticator.objects.exists()
    assert is_signed_in(client)
    other = Client()
    assert not enter(other, passkey)
    sign_in(other, "ada")
    assert is_signed_in(other)


def test_without_a_password_the_passkey_is_asked_for(
    client: Client, ada: User, passkey: Passkey
) -> None:
    ada.set_unusable_password()
    ada.save()
    enter(client, passkey)
    asked, other_way = reverse("mfa_reauthenticate_webauthn"), reverse("mfa_reauthenticate")
    for name in ("account_set_password", "accounts:delete", "accounts:new-token"):
        for response in (client.get(reverse(name)), client.post(reverse(name))):
            # Of the two ways there is a page each: this is the recovery codes'.
            assert response["Location"].startswith(other_way)
    assert asked in client.get(other_way).content.decode()
    assert User.objects.filter(pk=ada.pk).exists()

    challenge = client.get(asked).context["js_data"]["request_options"]["publicKey"]["challenge"]
    send(client, passkey.answer(challenge), "mfa_reauthenticate_webauthn")
    assert client.get(reverse("account_set_password")).status_code == 200
    client.post(reverse("accounts:delete"))
    assert not User.objects.filter(pk=ada.pk).exists()


ODD: list[Any] = [
    None,
    0,
    "text",
    [],
    [[]],
    {},
    {"response": None},
    {"id": "AAAA", "rawId": "AAAA", "response": {}, "type": "public-key"},
    {"id": 1, "rawId": 1, "response": 1, "type": 1},
    {"id": "AAAA", "rawId": "AAAA", "type": "public-key", "response": {
        "clientDataJSON": "!", "attestationObject": "!", "authenticatorData": "!",
        "signature": "!", "userHandle": "!"}},
    {"id": "AAAA", "rawId": "AAAA", "type": "public-key", "response": {
        "clientDataJSON": "e30", "attestationObject": "AAAA", "authenticatorData": "AAAA",
        "signature": "AAAA", "userHandle": "AAAA"}},
    {"id": "AAAA", "rawId": "AAAA", "type": "public-key", "response": {
        "clientDataJSON": "e30", "attestationObject": "oA", "authenticatorData": "AAAA",
        "signature": "AAAA"}},
    {"id": "AAAA", "rawId": "AAAA", "type": "public-key", "response": {
        "clientDataJSON": ["e30"], "attestationObject": {}, "authenticatorData": [],
        "signature": 1.5, "userHandle": [1]}},
]  # fmt: skip


def test_what_is_no_credential_is_refused(client: Client, ada: User, passkey: Passkey) -> None:
    inside = Client()
    enter(inside, passkey)
    prove_it(inside)
    for credential in (*map(json.dumps, ODD), "{", "\x00", "", "[" * 10_000):
        cache.clear()  # the limits on guesses have tests of their own
        client.cookies.clear()
        challenge_to_sign_in(client)
        sent = {"credential": credential}
        assert client.post(reverse("mfa_login_webauthn"), sent).status_code in {200, 302}
        sign_in(client, "ada")
        client.get(reverse("mfa_authenticate"))
        assert client.post(reverse("mfa_authenticate"), sent).status_code == 200
        assert not is_signed_in(client)
        for name in ("mfa_add_webauthn", "mfa_reauthenticate_webauthn"):
            inside.get(reverse(name))
            assert inside.post(reverse(name), sent).status_code in {200, 302}
    assert Authenticator.objects.filter(type="webauthn").count() == 1


def test_odd_parts_of_a_good_credential_are_refused(client: Client, passkey: Passkey) -> None:
    odd_ones: list[Any] = [None, 1, "", "AAAA", "_____w", [], {}]
    for part in passkey.answer("")["response"]:
        for odd in odd_ones:
            good = passkey.answer(challenge_to_sign_in(client))
            changed = good | {"response": good["response"] | {part: odd}}
            assert send(client, changed).status_code in {200, 302}
            assert not is_signed_in(client)
            cache.clear()
    assert not is_signed_in(client)
