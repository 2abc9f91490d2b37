"""Access tokens: the page, what each scope opens, and when one opens nothing."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import IntegrityError
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone
from rest_framework.authtoken.models import Token
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView

from accounts.models import AccessToken, Scope, User
from accounts.permissions import HasScope, required_scope
from accounts.tokens import NewToken, create_password_token, create_token, find_token
from tests.accounts.conftest import PASSWORD
from tests.accounts.rows import photo_of
from tests.accounts.test_pages import check_page

API = "/api/v1"


def made(owner: User, *scopes: Scope, **options: Any) -> NewToken:
    return create_token(owner=owner, name="Phone", scopes=scopes or tuple(Scope), **options)


def bearing(secret: str, word: str = "Bearer") -> Client:
    return Client(enforce_csrf_checks=True, headers={"Authorization": f"{word} {secret}"})


@pytest.fixture
def ada_client(client: Client, ada: User) -> Client:
    client.force_login(ada)
    return client


def prove_it(client: Client) -> None:
    client.post(reverse("account_reauthenticate"), {"password": PASSWORD})


def test_only_the_hash_of_a_secret_is_kept(ada: User) -> None:
    new = made(ada)
    assert new.secret.startswith("t2i_")
    assert len(new.secret) >= 4 + 43  # 256 bits
    row = AccessToken.objects.values().get()
    assert row["secret_sha256"] == hashlib.sha256(new.secret.encode()).hexdigest()
    assert row["prefix"] == new.secret[:12]
    assert not any(new.secret in str(value) for value in row.values())
    assert find_token(new.secret) == new.token
    assert find_token(new.secret + "x") is None
    assert find_token(row["secret_sha256"]) is None


def test_a_name_is_used_once_and_something_must_be_allowed(ada: User, bob: User) -> None:
    made(ada)
    made(bob)
    with pytest.raises(ValidationError):
        create_token(owner=ada, name=" PHONE ", scopes=[Scope.SEARCH])
    with pytest.raises((ValidationError, IntegrityError)):
        create_token(owner=ada, name="Other", scopes=[])


def test_the_page(ada_client: Client, ada: User) -> None:
    new_page = reverse("accounts:new-token")
    assert reverse("account_reauthenticate") in ada_client.get(new_page)["Location"]
    sent = {"name": "Camera upload", "scopes": ["photos:write"], "days": "30"}
    # Also where the form is sent without having been shown: nothing is made.
    ada_client.post(new_page, sent)
    assert not AccessToken.objects.exists()

    prove_it(ada_client)
    check_page(ada_client.get(new_page).content.decode())
    page = ada_client.post(new_page, sent)
    assert "no-store" in page["Cache-Control"]
    token = AccessToken.objects.get()
    secret = page.context["secret"]
    check_page(page.content.decode())
    assert secret in page.content.decode()
    assert find_token(secret) == token
    assert (token.owner, token.scopes) == (ada, ["photos:write"])
    assert token.expires_at is not None
    assert timedelta(days=29) < token.expires_at - timezone.now() < timedelta(days=31)

    listed = ada_client.get(reverse("accounts:tokens")).content.decode()
    check_page(listed)
    assert secret not in listed
    assert secret[:12] in listed
    assert "not used yet" in listed
    again = ada_client.post(new_page, sent).content.decode()
    assert "You have a token of this name already." in again
    assert AccessToken.objects.count() == 1
    nothing = ada_client.post(new_page, {"name": "x", "days": ""})
    assert nothing.context["form"].errors["scopes"]


def test_revoking_asks_first(ada_client: Client, ada: User, bob: User) -> None:
    new, other = made(ada), made(bob)
    page = reverse("accounts:revoke-token", args=[new.token.pk])
    question = ada_client.get(page).content.decode()
    check_page(question)
    assert "Phone" in question
    assert bearing(new.secret).get(f"{API}/photos/").status_code == 200
    assert ada_client.post(page)["Location"] == reverse("accounts:tokens")
    assert bearing(new.secret).get(f"{API}/photos/").status_code == 401
    theirs = reverse("accounts:revoke-token", args=[other.token.pk])
    assert ada_client.post(theirs).status_code == 404
    assert bearing(other.secret).get(f"{API}/photos/").status_code == 200


@pytest.mark.parametrize("word", ["Bearer", "bearer", "Token"])
def test_either_word_will_do(ada: User, word: str) -> None:
    assert bearing(made(ada).secret, word).get(f"{API}/photos/").status_code == 200


def test_its_last_use_is_shown(ada: User) -> None:
    new = made(ada)
    bearing(new.secret).get(f"{API}/photos/")
    new.token.refresh_from_db()
    first = new.token.last_used_at
    assert first is not None
    # To the minute: not every call writes.
    bearing(new.secret).get(f"{API}/photos/")
    new.token.refresh_from_db()
    assert new.token.last_used_at == first


@pytest.mark.parametrize("why", ["wrong", "expired", "revoked", "inactive", "empty"])
def test_what_opens_nothing(ada: User, why: str) -> None:
    new = made(ada)
    secret = new.secret
    match why:
        case "wrong":
            secret = secret[:-1] + ("x" if secret[-1] != "x" else "y")
        case "expired":
            AccessToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        case "revoked":
            new.token.delete()
        case "inactive":
            User.objects.update(is_active=False)
        case _:
            secret = ""
    for path in (f"{API}/photos/", f"/photos/{photo_of(ada).pk}/original/"):
        response = bearing(secret).get(path)
        assert response.status_code == 401
        assert response["WWW-Authenticate"] == 'Bearer error="invalid_token"'
        assert response["Content-Type"] == "application/problem+json"
        assert response.json()["code"] == "authentication_failed"


CALLS = [
    ("get", "/photos/", Scope.PHOTOS_READ),
    ("get", "/photos/{photo}/", Scope.PHOTOS_READ),
    ("head", "/photos/", Scope.PHOTOS_READ),
    ("patch", "/photos/{photo}/", Scope.PHOTOS_WRITE),
    ("delete", "/photos/{photo}/", Scope.PHOTOS_WRITE),
    ("post", "/photos/", Scope.PHOTOS_WRITE),
    ("post", "/photos/{photo}/trash/", Scope.PHOTOS_WRITE),
    ("post", "/albums/", Scope.PHOTOS_WRITE),
    ("get", "/trash/", Scope.PHOTOS_READ),
    ("get", "/search/?q=cat", Scope.SEARCH),
    ("head", "/search/?q=cat", Scope.SEARCH),
]


@pytest.mark.parametrize(("method", "path", "scope"), CALLS)
def test_each_call_needs_its_scope(ada: User, method: str, path: str, scope: Scope) -> None:
    address = API + path.format(photo=photo_of(ada).pk)
    others = [each for each in Scope if each != scope]
    lacking = create_token(owner=ada, name="lacking", scopes=others)
    response = getattr(bearing(lacking.secret), method)(address)
    assert response.status_code == 403
    challenge = f'Bearer error="insufficient_scope", scope="{scope.value}"'
    assert response["WWW-Authenticate"] == challenge
    if method != "head":
        assert response.json()["code"] == "missing_scope"
        assert scope.value in response.json()["detail"]
    enough = create_token(owner=ada, name="enough", scopes=[scope])
    assert getattr(bearing(enough.secret), method)(address).status_code != 403


@pytest.mark.parametrize("path", ["/photos/1/", "/albums/1/", "/trash/1/", "/photos/", "/search/"])
def test_a_method_that_there_is_none_of_is_said_so(ada: User, path: str) -> None:
    """No scope is asked for it: nobody gets anything by it."""
    assert bearing(made(ada).secret).put(API + path).status_code == 405


def test_files_need_to_be_allowed_to_be_seen(ada: User) -> None:
    path = f"/photos/{photo_of(ada).pk}/original/"
    # 404: of this row there is no file.
    assert bearing(made(ada, Scope.PHOTOS_READ).secret).get(path).status_code == 404
    AccessToken.objects.all().delete()
    response = bearing(made(ada, Scope.SEARCH).secret).get(path)
    assert (response.status_code, response.json()["code"]) == (403, "missing_scope")


def test_it_opens_the_api_and_no_page(ada: User) -> None:
    client = bearing(made(ada).secret)
    for path in ("/", "/accounts/profile/", "/accounts/tokens/", "/export/"):
        assert client.get(path).status_code == 302


def test_the_passwords_token_may_do_everything(ada: User) -> None:
    client = bearing(create_password_token(owner=ada).secret, "Token")
    for method, path, _scope in CALLS:
        address = API + path.format(photo=photo_of(ada).pk)
        assert getattr(client, method)(address).status_code not in {401, 403}


def test_no_secret_is_logged(
    ada_client: Client, ada: User, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    prove_it(ada_client)
    sent = {"name": "Phone", "scopes": ["search"], "days": ""}
    secret = ada_client.post(reverse("accounts:new-token"), sent).context["secret"]
    client = bearing(secret)
    client.get(f"{API}/photos/")
    bearing(secret + "x").get(f"{API}/photos/")
    ada_client.post(reverse("accounts:revoke-token", args=[AccessToken.objects.get().pk]))
    client.get(f"{API}/photos/")
    assert "was made" in caplog.text
    assert "was revoked" in caplog.text
    assert secret[12:] not in caplog.text


def api_views(
    patterns: list[URLPattern | URLResolver],
) -> Iterator[tuple[type[APIView], dict[str, str] | None]]:
    """Each view of the API with its actions; None where its methods are themselves."""
    for each in patterns:
        if isinstance(each, URLResolver):
            yield from api_views(each.url_patterns)
        elif (view := getattr(each.callback, "cls", None)) is not None:
            yield view, getattr(each.callback, "actions", None)


def test_every_view_of_the_api_says_which_scope_it_needs() -> None:
    seen = set()
    for view, actions in api_views(get_resolver().url_patterns):
        # Those that ask for nobody: the token for a password, and the schema.
        if HasScope not in view.permission_classes:
            continue
        wanted = [name for name in view.http_method_names if name not in {"head", "options"}]
        names = (
            {actions[method] for method in wanted if method in actions}
            if actions is not None
            else {method for method in wanted if hasattr(view, method)}
        )
        missing = names - set(view.required_scopes)  # type: ignore[attr-defined]
        assert missing == set(), f"{view.__name__} says no scope for these"
        seen.add(view.__name__)
    assert {"PhotoViewSet", "AlbumViewSet", "TrashViewSet", "SearchView"} <= seen


def test_a_view_without_a_scope_lets_no_token_in(ada: User) -> None:
    class Forgotten(APIView):
        def get(self, request: object) -> None:
            raise AssertionError("it was let in")

    request = APIRequestFactory().get("/", headers={"Authorization": f"Bearer {made(ada).secret}"})
    with pytest.raises(ImproperlyConfigured):
        Forgotten.as_view()(request)
    with pytest.raises(ImproperlyConfigured):
        required_scope(Forgotten(), "GET")


def test_a_token_for_the_password(client: Client, ada: User, ada_client: Client) -> None:
    """It is hashed, has an end, stands on the page, and is revoked there."""
    sent = {"username": "ada", "password": PASSWORD}
    secret = Client().post(reverse("api:token"), sent).json()["token"]
    token = AccessToken.objects.get()
    assert token.secret_sha256 == hashlib.sha256(secret.encode()).hexdigest()
    assert token.expires_at is not None
    assert timedelta(days=89) < token.expires_at - timezone.now() < timedelta(days=91)
    assert token.scopes == [scope.value for scope in Scope]
    for word in ("Token", "Bearer"):
        assert bearing(secret, word).get(f"{API}/photos/").status_code == 200

    page = ada_client.get(reverse("accounts:tokens")).content.decode()
    assert "Signed in with the password" in page
    assert secret[:12] in page
    assert secret not in page
    ada_client.post(reverse("accounts:revoke-token", args=[token.pk]))
    assert bearing(secret, "Token").get(f"{API}/photos/").status_code == 401


def test_the_oldest_of_many_for_the_password_end(ada: User, bob: User) -> None:
    create_password_token(owner=bob)
    made(ada)
    secrets = [create_password_token(owner=ada).secret for _ in range(12)]
    assert [find_token(secret) is not None for secret in secrets] == [False] * 2 + [True] * 10
    assert AccessToken.objects.count() == 12


def test_a_name_of_ones_own_may_be_that_of_the_passwords(ada: User) -> None:
    create_password_token(owner=ada)
    create_token(owner=ada, name="Signed in with the password", scopes=[Scope.SEARCH])
    create_password_token(owner=ada)
    assert AccessToken.objects.count() == 3


def test_keys_from_before_go_on_for_a_while(ada: User, bob: User) -> None:
    """They stood in the clear and had no end. Of people with a second step none goes on."""
    hash_the_keys = import_module(
        "accounts.migrations.0004_hash_the_keys_of_the_password"
    ).hash_the_keys
    keys = {person: Token.objects.create(user=person).key for person in (ada, bob)}
    Authenticator.objects.create(user=bob, type="totp", data={})

    hash_the_keys(apps, None)

    assert not Token.objects.exists()
    token = AccessToken.objects.get()
    assert not any(keys[ada] in str(value) for value in AccessToken.objects.values().get().values())
    assert token.expires_at is not None
    assert (token.owner, token.by_password) == (ada, True)
    assert bearing(keys[ada], "Token").get(f"{API}/photos/").status_code == 200
    assert bearing(keys[bob], "Token").get(f"{API}/photos/").status_code == 401
    AccessToken.objects.update(expires_at=timezone.now())
    assert bearing(keys[ada], "Token").get(f"{API}/photos/").status_code == 401
