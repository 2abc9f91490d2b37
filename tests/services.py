"""The real services that the tests use, started before Django reads its settings.

A pytest plugin (`-p tests.services`). All that the tests write lies in one temporary directory.
PostgreSQL and Milvus Lite are started there by the code that `make run` uses, each unless its
address is set (`DATABASE_URL`, `MILVUS_URI`).
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from t2isearch.embedded.child import (
    Child,
    find_recorded,
    python_environment,
    stop_recorded,
)
from t2isearch.embedded.lock import exclusive_lock, lock_owner
from t2isearch.embedded.service import free_port, unconfigured_services, wait_for_service
from t2isearch.embedded.state import Layout, read_dotenv, var_dir
from tests.running_system import SHARED_ENCODERS, RunningSystem, share_encoders

DIRECTORY_PREFIX = "t2isearch-tests-"
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

_cleanup = ExitStack()


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests() -> Generator[None, object, object]:
    """Start the services. A wrapper, to come before pytest-django, which loads the settings."""
    atexit.register(_cleanup.close)
    _remove_abandoned_directories()
    _start_services()
    return (yield)


def pytest_unconfigure() -> None:
    _cleanup.close()


def _start_services() -> None:
    # Milvus Lite closes its files on SIGINT, which a job in the background of a shell inherits
    # as ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _keep_dotenv_out()
    _use_own_redis_databases()
    directory = Path(tempfile.mkdtemp(prefix=DIRECTORY_PREFIX))
    _cleanup.callback(shutil.rmtree, directory, ignore_errors=True)
    layout = Layout(directory)
    layout.create()
    layout.static.mkdir()
    _cleanup.enter_context(exclusive_lock(layout.lock, address=""))
    os.environ["VAR_DIR"] = str(directory)
    # The processes that a run is spread over inherit it from the one that began it.
    os.environ.setdefault(SHARED_ENCODERS, str(layout.encoders))
    share_encoders(layout)
    os.environ.setdefault("SECRET_KEY", secrets.token_urlsafe(50))
    started = []
    for service in unconfigured_services(layout, durable=False):
        child = Child(service.program(), layout, python_environment(layout))
        child.start()
        _cleanup.callback(child.stop)
        started.append((service, child))
    for service, child in started:
        wait_for_service(service, child)
        os.environ[service.variable] = service.address


def _use_own_redis_databases() -> None:
    """Keep the workers of one run (pytest-xdist) apart: each counts down from what is set."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    for name in ("CELERY_BROKER_URL", "CACHE_URL", "REDIS_URL"):
        server, _, database = os.environ.get(name, "").rpartition("/")
        if server.startswith("redis://") and database.isdigit():
            os.environ[name] = f"{server}/{int(database) - 4 * worker}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where files are spread over processes (pytest-xdist), those that take long come first.

    With `--no-loadscope-reorder`: xdist itself would go by the number of tests alone.
    """
    if not hasattr(config, "workerinput"):
        return
    slow = {item.path for item in items if _is_slow(item)}
    tests = Counter(item.path for item in items)
    items.sort(key=lambda item: (item.path not in slow, -tests[item.path]))


def _is_slow(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(name) for name in ("system", "browser", "milvus_server"))


def _keep_dotenv_out() -> None:
    """What a developer configured in `.env` is not for the tests: empty counts as not set."""
    before = set(os.environ)
    read_dotenv()
    for name in set(os.environ) - before:
        os.environ[name] = ""


def _remove_abandoned_directories() -> None:
    """Stop and remove what test runs that were killed left behind."""
    for directory in Path(tempfile.gettempdir()).glob(f"{DIRECTORY_PREFIX}*"):
        lock = Layout(directory).lock
        if directory.stat().st_uid != os.geteuid() or not lock.exists() or lock_owner(lock):
            continue
        for path in [*directory.glob("systems/*/"), directory]:
            layout = Layout(path)
            if owner := lock_owner(layout.lock):
                os.kill(owner.pid, signal.SIGKILL)
            stop_recorded(layout, find_recorded(layout), hurry=lambda: True)
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def systems_directory() -> Path:
    """Where whole systems keep their `VAR_DIR`: removed after the run, whatever happens."""
    directory = var_dir() / "systems"
    directory.mkdir(mode=0o711, exist_ok=True)
    return directory


@pytest.fixture(scope="session")
def system(systems_directory: Path) -> Iterator[RunningSystem]:
    """The whole system, running with the starter encoder, shared by the tests of one run.

    Its limits are low, so that files beyond them are quickly made and sent, and so is the time for
    which a killed worker's photos wait.
    """
    environment = {
        "SEARCH_ENCODER": "starter",
        "MAX_UPLOAD_MB": "5",
        "MAX_PIXELS": "4000000",
        "WORK_LEASE_SECONDS": "20",
        "SEARCH_RATE": "100000/minute",
        "API_RATE": "100000/minute",
    }
    with RunningSystem.start(systems_directory / "shared", environment=environment) as system:
        yield system


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Redis database for the tests."""
    configured = os.environ.get("REDIS_URL")
    for url in [configured] if configured else ["redis://127.0.0.1:6379/15"]:
        if _redis_answers(url):
            yield url
            return
    if configured or (binary := shutil.which("redis-server")) is None:
        skip_or_fail(
            f"REDIS_URL={configured} does not answer."
            if configured
            else "No Redis found: start one on port 6379, install redis-server or set REDIS_URL.",
            required="REQUIRE_REDIS",
        )
        return
    port = free_port()
    directory = tmp_path_factory.mktemp("redis")
    command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory)]
    server = subprocess.Popen(
        [*command, "--save", "", "--appendonly", "no", "--loglevel", "warning"]
    )
    try:
        url = f"redis://127.0.0.1:{port}/0"
        while not _redis_answers(url):
            assert server.poll() is None, "redis-server could not be started"
            time.sleep(0.05)
        yield url
    finally:
        server.terminate()
        server.wait()


def _redis_answers(url: str) -> bool:
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=2) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """A Chromium for the browser tests."""
    if configured := os.environ.get("CHROMIUM"):
        return configured
    for name in CHROMIUM_NAMES:
        if path := shutil.which(name):
            return path
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    if not Path(path).is_file():
        skip_or_fail(
            "No Chromium found: install it (apt install chromium, or "
            ".venv/bin/playwright install chromium) or set CHROMIUM to its path.",
            required="REQUIRE_BROWSER",
        )
    return path


@pytest.fixture(scope="session")
def nginx_binary() -> str:
    """An nginx for the tests of what stands in front of the web server."""
    # Where Debian puts it, which is not on everybody's PATH.
    if (path := shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")) is None:
        skip_or_fail("No nginx found: apt install nginx-light.", required="REQUIRE_NGINX")
        return ""
    return path


def skip_or_fail(sentence: str, *, required: str) -> None:
    if os.environ.get(required) == "1":
        pytest.fail(f"{sentence} ({required}=1)", pytrace=False)
    pytest.skip(sentence)
