"""A service that hangs costs one caller its time-out, and not each of them."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

import pytest
import redis
from celery import Task
from django.contrib.auth import get_user_model
from django.core.cache import cache
from django.test import Client
from kombu.exceptions import OperationalError
from pytest_django import Settings
from redis.exceptions import RedisError

from gallery.tasks import sweep
from t2isearch import dispatch, silence
from t2isearch.cache import derived
from t2isearch.dispatch import wake
from t2isearch.embedded.state import BASE_DIR
from t2isearch.silence import Silence, Silent
from tests.attacks import until

TIMEOUT_S = 0.6


class Frozen:
    """Takes connections and says nothing, as a stopped process does."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._held: list[socket.socket] = []
        self.url = f"redis://127.0.0.1:{self._listening.getsockname()[1]}/0"
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def asked(self) -> int:
        return len(self._held)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                self._held.append(self._listening.accept()[0])

    def close(self) -> None:
        self._listening.close()
        for line in self._held:
            line.close()


@pytest.fixture
def frozen() -> Iterator[Frozen]:
    server = Frozen()
    yield server
    server.close()


def use_redis(settings: Settings, url: str) -> None:
    options = {"LOCATION": url, "KEY_PREFIX": "silence", "OPTIONS": {"socket_timeout": TIMEOUT_S}}
    settings.CACHES = {
        "default": options | {"BACKEND": "t2isearch.cache.PromptRedisCache"},
        "derived": options | {"BACKEND": "t2isearch.cache.ForgivingRedisCache"},
    }


@pytest.fixture
def other_caches(settings: Settings) -> Iterator[Settings]:
    before = settings.CACHES
    yield settings
    settings.CACHES = before  # what empties the cache after a test comes later


def wait_in_vain() -> None:
    time.sleep(silence.SLOW_S)
    raise TimeoutError


def test_one_finds_out_and_the_others_are_told() -> None:
    service = Silence(pause_s=0.4)
    with pytest.raises(TimeoutError), service.asking():
        wait_in_vain()
    for _ in range(3):
        with pytest.raises(Silent), service.asking():
            pytest.fail("it was asked")
    time.sleep(0.5)
    with service.asking(), pytest.raises(Silent), service.asking():
        pytest.fail("a second one asked before the first one knew")
    with service.asking(), service.asking():
        pass


def test_what_fails_at_once_is_asked_again_at_once() -> None:
    service = Silence(pause_s=60)
    for _ in range(3):
        with pytest.raises(ConnectionRefusedError), service.asking():
            raise ConnectionRefusedError


@pytest.mark.django_db
def test_a_frozen_cache_is_waited_for_once(frozen: Frozen, other_caches: Settings) -> None:
    use_redis(other_caches, frozen.url)
    for number in range(20):
        assert derived.get(f"key-{number}", "none") == "none"
        derived.set(f"key-{number}", number)
        with pytest.raises(RedisError):
            cache.get(f"key-{number}")
    answer = Client().post("/accounts/login/", {"login": "ann", "password": "something"})
    assert (answer.status_code, answer["Retry-After"]) == (503, "15")
    assert frozen.asked == 1


@pytest.mark.django_db(transaction=True)
def test_a_frozen_broker_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[None] = []

    def hang(*_: object, **__: object) -> None:
        asked.append(None)
        time.sleep(silence.SLOW_S)
        raise OperationalError("no answer")

    monkeypatch.setattr(dispatch, "_broker", Silence(pause_s=60))
    with patch.object(Task, "apply_async", hang):
        for _ in range(5):
            wake(sweep)
    assert len(asked) == 1


@pytest.mark.redis
@pytest.mark.django_db
def test_values_that_are_none_of_ours_count_as_none(redis_url: str, other_caches: Settings) -> None:
    use_redis(other_caches, redis_url)
    get_user_model().objects.create_user("ann", "ann@example.com", "correct horse battery")
    sign_in = {"login": "ann", "password": "wrong"}
    with redis.Redis.from_url(redis_url) as server:
        for damage in (
            lambda name: server.set(name, b"\x80\x05 cut"),
            lambda name: (server.delete(name), server.lpush(name, b"a list")),
        ):
            assert Client().post("/accounts/login/", sign_in).status_code == 200
            derived.set("key", {"a": 1})
            names = server.keys("silence:*")
            assert len(names) >= 2
            for name in names:
                damage(name)
            assert derived.get("key") is None
            assert Client().post("/accounts/login/", sign_in).status_code == 200
        server.delete(*server.keys("silence:*"))


@pytest.mark.redis
def test_a_worker_waits_for_a_broker_that_refuses(redis_url: str, tmp_path: Path) -> None:
    """As one does that is out of memory or read-only; here a key is no queue."""
    queue = f"refused-{secrets.token_hex(4)}"
    log = tmp_path / "worker.log"
    with redis.Redis.from_url(redis_url) as server, log.open("wb") as output:
        server.set(queue, "no queue")
        worker = subprocess.Popen(
            [
                *(sys.executable, "-m", "celery", "-A", "t2isearch", "worker", "-P", "solo"),
                *("-Q", queue, "--loglevel", "INFO", "--without-gossip", "--without-mingle"),
            ],
            env=os.environ | {"VAR_DIR": str(tmp_path), "CELERY_BROKER_URL": redis_url},
            cwd=BASE_DIR,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            until(lambda: "ResponseError" in log.read_text(), within_s=60, what="it is refused")
            time.sleep(2)
            assert worker.poll() is None, log.read_text()
            server.delete(queue)
            server.lpush(queue, "no message")
            until(lambda: not server.exists(queue), within_s=30, what="it takes messages again")
        finally:
            worker.terminate()
            worker.wait(30)
            server.delete(queue, f"_kombu.binding.{queue}")
