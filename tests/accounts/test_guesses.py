"""How often a password may be tried, wherever it is asked for, and what trying tells."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.conf import settings as site
from django.contrib.auth import hashers
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from accounts.models import User
from t2isearch.cache import derived
from tests.accounts.conftest import PASSWORD
from tests.accounts.test_sign_in import is_signed_in

TOO_MANY = "That was tried too often."
OTHER = {"REMOTE_ADDR": "192.0.2.7"}


def on_the_page(client: Client, login: str, password: str, **more: str) -> bytes:
    data = {"login": login, "password": password}
    return client.post(reverse("account_login"), data, **more).content  # type: ignore[arg-type]


def in_the_api(client: Client, login: str, password: str, **more: str) -> bytes:
    data = {"username": login, "password": password}
    return client.post(reverse("api:token"), data, **more).content  # type: ignore[arg-type]


def once_more(client: Client, login: str, password: str, **more: str) -> bytes:
    data = {"password": password}
    return client.post(reverse("account_reauthenticate"), data, **more).content  # type: ignore[arg-type]


def to_delete(client: Client, login: str, password: str, **more: str) -> bytes:
    data = {"password": password}
    return client.post(reverse("accounts:delete"), data, **more).content  # type: ignore[arg-type]


def to_change_it(client: Client, login: str, password: str, **more: str) -> bytes:
    new = "staple of another horse"
    data = {"oldpassword": password, "password1": new, "password2": new}
    return client.post(reverse("account_change_password"), data, **more).content  # type: ignore[arg-type]


Way = Callable[..., bytes]
WAYS: list[Way] = [on_the_page, in_the_api, once_more, to_delete, to_change_it]


@pytest.fixture
def hosts(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["*"]


@pytest.mark.usefixtures("hosts")
@pytest.mark.parametrize("way", WAYS)
def test_guesses_count_by_account_whatever_the_way(client: Client, ada: User, way: Way) -> None:
    """The name and the address, the pages and the API, any host and any port: five in all."""
    inside = Client()
    inside.force_login(ada)
    for login, other, host in (
        ("Ada", on_the_page, "a.example"),
        ("ADA@example.com", on_the_page, "a.example:8000"),
        ("ada", in_the_api, "b.example"),
        ("ada@example.com", in_the_api, "c.example"),
    ):
        assert TOO_MANY not in other(client, login, "wrong", HTTP_HOST=host).decode()
    assert TOO_MANY not in once_more(inside, "", "wrong", HTTP_HOST="d.example").decode()

    chosen = inside if way in (once_more, to_delete, to_change_it) else client
    assert TOO_MANY in way(chosen, "ada", PASSWORD, HTTP_HOST="e.example").decode()
    assert not is_signed_in(client)
    ada.refresh_from_db()
    assert ada.check_password(PASSWORD)


@pytest.mark.parametrize("way", [on_the_page, in_the_api])
def test_a_name_that_nobody_has_is_limited_alike(client: Client, ada: User, way: Way) -> None:
    for login in ("nobody", "NOBODY", "Nobody", " nobody", "nobody "):
        assert TOO_MANY not in way(client, login, "wrong").decode()
    assert TOO_MANY in way(client, "nobody", "wrong").decode()


def test_one_stranger_keeps_nobody_out(client: Client, ada: User) -> None:
    for _ in range(9):
        on_the_page(client, "ada", "wrong")
    own = Client(**OTHER)  # type: ignore[arg-type]
    on_the_page(own, "ada", PASSWORD)
    assert is_signed_in(own)


def test_many_addresses_together_are_limited_too(client: Client, ada: User) -> None:
    for number in range(20):
        page = on_the_page(client, "ada", "wrong", REMOTE_ADDR=f"192.0.2.{number}")
        assert TOO_MANY not in page.decode()
    assert TOO_MANY in on_the_page(client, "ada", PASSWORD, REMOTE_ADDR="192.0.2.99").decode()


def test_signing_in_forgives_no_wrong_guesses(client: Client, ada: User) -> None:
    for _ in range(4):
        on_the_page(client, "ada", "wrong")
    for _ in range(3):
        in_the_api(client, "ada", PASSWORD)
    on_the_page(client, "ada", "wrong")
    assert TOO_MANY in on_the_page(client, "ada", PASSWORD).decode()


def test_nobody_names_another_address(client: Client, ada: User, settings: Settings) -> None:
    for number in range(5):
        on_the_page(client, "ada", "wrong", HTTP_X_FORWARDED_FOR=f"192.0.2.{number}")
    page = on_the_page(client, "ada", PASSWORD, HTTP_X_FORWARDED_FOR="192.0.2.99")
    assert TOO_MANY in page.decode()
    # Past the proxies that are counted on, or with nonsense: their own address is known.
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 2
    for forwarded in ("192.0.2.1", "not, an address"):
        page = on_the_page(client, "ada", PASSWORD, HTTP_X_FORWARDED_FOR=forwarded)
        assert TOO_MANY in page.decode()


@pytest.mark.parametrize(
    "backend",
    [
        "memory",
        pytest.param("redis", marks=pytest.mark.redis),
    ],
)
@pytest.mark.django_db(transaction=True)
def test_of_many_guesses_at_once_no_more_get_through(
    request: pytest.FixtureRequest, settings: Settings, backend: str
) -> None:
    User.objects.create_user("Ada", "ada@example.com", PASSWORD)
    if backend == "redis":
        url = request.getfixturevalue("redis_url")
        redis = {"BACKEND": "t2isearch.cache.PromptRedisCache", "LOCATION": url}
        settings.CACHES = site.CACHES | {"default": redis | {"KEY_PREFIX": "guesses"}}
        cache.clear()

    def guess(number: int) -> bytes:
        try:
            return in_the_api(Client(), "ada", f"wrong {number}", REMOTE_ADDR=f"192.0.2.{number}")
        finally:
            connection.close()

    with ThreadPoolExecutor(10) as threads:
        answers = list(threads.map(guess, range(50)))
    looked_at = [answer for answer in answers if b"Unable to log in" in answer]
    assert 0 < len(looked_at) <= 20


def test_what_can_be_made_again_pushes_out_no_guesses(client: Client, ada: User) -> None:
    for _ in range(5):
        on_the_page(client, "ada", "wrong")
    for number in range(25_000):
        derived.set(f"key-{number}", number)
    assert TOO_MANY in on_the_page(client, "ada", PASSWORD).decode()


@pytest.fixture
def hashes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the hasher was asked for."""
    made: list[str] = []
    encode = hashers.MD5PasswordHasher.encode

    def counted(self: hashers.MD5PasswordHasher, password: str, salt: str) -> str:
        made.append(password)
        return encode(self, password, salt)

    monkeypatch.setattr(hashers.MD5PasswordHasher, "encode", counted)
    return made


@pytest.mark.parametrize("way", [on_the_page, in_the_api])
@pytest.mark.parametrize("who", ["known", "unknown", "inactive", "without a password", "another's"])
@pytest.mark.parametrize("by", ["name", "address"])
def test_each_guess_costs_one_hash(
    client: Client, ada: User, bob: User, hashes: list[str], way: Way, who: str, by: str
) -> None:
    match who:
        case "unknown":
            ada.delete()
        case "inactive":
            User.objects.filter(pk=ada.pk).update(is_active=False)
        case "without a password":
            ada.set_unusable_password()
            ada.save()
        case "another's":
            # Bob has her address as a user name.
            User.objects.filter(pk=bob.pk).update(username="ada@example.com")
    hashes.clear()
    way(client, "ada" if by == "name" else "ada@example.com", "wrong")
    assert len(hashes) == 1


def test_giving_the_password_once_more_costs_one_hash(
    client: Client, ada: User, hashes: list[str]
) -> None:
    client.force_login(ada)
    for way in (once_more, to_delete, to_change_it):
        hashes.clear()
        way(client, "", "wrong")
        assert len(hashes) == 1


def test_the_admin_is_no_way_around(client: Client, ada: User) -> None:
    User.objects.update(is_staff=True, is_superuser=True)
    sent = {"username": "ada", "password": PASSWORD}
    assert client.post("/admin/login/", sent)["Location"].startswith(reverse("account_login"))
    assert not is_signed_in(client)
    client.force_login(ada)
    change = client.post("/admin/password_change/", {"old_password": "wrong"})
    assert change["Location"] == reverse("account_change_password")
