"""The commands of docker-compose.yml, run as processes against real PostgreSQL, Redis and Milvus.

Only addresses are replaced: those inside Compose's network by those of the test run's services.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
import pytest
import redis
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart
from psycopg import sql

from search import milvus
from t2isearch.embedded.service import free_port
from t2isearch.embedded.state import BASE_DIR
from tests.compose import SECRETS, compose
from tests.conftest import draw_picture

pytestmark = [pytest.mark.system, pytest.mark.redis]

STAY = ("worker", "renditions", "indexer", "beat", "web")
PASSWORD = "correct horse battery"


class Services:
    """The processes of docker-compose.yml on this machine, with a directory of their own."""

    def __init__(self, directory: Path, replacements: dict[str, str], port: int) -> None:
        self.directory = directory
        self.port = port
        self._replacements = replacements
        self._file = compose(SECRETS | {"SEARCH_ENCODER": str(directory / "encoder")})
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def environment(self, name: str) -> dict[str, str]:
        own = self._file["services"][name]["environment"]
        return {
            # `python` and `celery` as in the image.
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.directory),
            "HOSTNAME": socket.gethostname(),
            "VAR_DIR": str(self.directory / "var"),
            "PYTHONUNBUFFERED": "1",
        } | {key: self._replaced(value) for key, value in own.items()}

    def command(self, name: str) -> list[str]:
        return shlex.split(self._replaced(self._file["services"][name]["command"]))

    def health_check(self, name: str) -> list[str]:
        kind, *words = self._file["services"][name]["healthcheck"]["test"]
        words = [self._replaced(word) for word in words]
        return words if kind == "CMD" else ["/bin/sh", "-c", *words]

    def run(self, name: str, command: list[str]) -> str:
        """Run a command to its end as in the container `name`; returns what it wrote."""
        completed = subprocess.run(
            command,
            env=self.environment(name),
            cwd=BASE_DIR,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        assert completed.returncode == 0, completed.stdout
        return completed.stdout

    def start(self, name: str) -> None:
        with self.log(name).open("wb") as log:
            self.processes[name] = subprocess.Popen(
                self.command(name),
                env=self.environment(name),
                cwd=BASE_DIR,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def log(self, name: str) -> Path:
        return self.directory / f"{name}.log"

    def kill(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def request(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, Any]:
        """One request to the web server: the status and the decoded JSON, None without any."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(
                method, path, body, {name.replace("_", "-"): text for name, text in headers.items()}
            )
            response = connection.getresponse()
            text = response.read()
        except ConnectionRefusedError:
            return 0, None
        finally:
            connection.close()
        return response.status, json.loads(text) if text else None

    def wait_until(self, predicate: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 60
        while not predicate():
            for name, process in self.processes.items():
                assert process.poll() is None, f"{name} ended:\n{self.log(name).read_text()}"
            logs = "\n".join(self.log(name).read_text() for name in self.processes)
            assert time.monotonic() < deadline, f"not in time: {what}\n{logs}"
            time.sleep(0.1)

    def _replaced(self, text: str) -> str:
        for inside, here in self._replacements.items():
            text = text.replace(inside, here)
        return text


@pytest.fixture
def database_url() -> Iterator[str]:
    """A new, empty database on the test run's PostgreSQL server."""
    server = os.environ["DATABASE_URL"]
    name = f"services_{secrets.token_hex(4)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield urlunsplit(urlsplit(server)._replace(path=f"/{quote(name)}"))
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def redis_databases(redis_url: str) -> Iterator[list[str]]:
    """The addresses of two Redis databases that were empty, and are emptied again."""
    urls: list[str] = []
    with ExitStack() as cleanup:
        for number in range(8, 14):
            url = urlunsplit(urlsplit(redis_url)._replace(path=f"/{number}"))
            client = cleanup.enter_context(redis.Redis.from_url(url))
            if len(urls) < 2 and not client.dbsize():
                cleanup.callback(client.flushdb)
                urls.append(url)
        assert len(urls) == 2, "Redis databases 8 to 13 are in use"
        yield urls


@pytest.fixture
def services(
    tmp_path: Path, tiny_clip: Path, database_url: str, redis_databases: list[str]
) -> Iterator[Services]:
    (tmp_path / "encoder").symlink_to(tiny_clip)
    port = free_port()
    broker, cache = redis_databases
    inside = compose(SECRETS)["services"]["web"]["environment"]
    running = Services(
        tmp_path,
        {
            inside["DATABASE_URL"]: database_url,
            inside["CELERY_BROKER_URL"]: broker,
            inside["CACHE_URL"]: cache,
            inside["MILVUS_URI"]: os.environ["MILVUS_URI"],
            "--host 0.0.0.0 --port 8000": f"--host 127.0.0.1 --port {port}",
            "localhost:8000": f"localhost:{port}",
            "--schedule /tmp": f"--schedule {tmp_path}",
            "find /tmp": f"find {tmp_path}",
        },
        port,
    )
    try:
        yield running
    finally:
        running.kill()
        for name in collection_names(database_url):
            milvus.drop_collection(name)


def collection_names(database_url: str) -> list[str]:
    """The Milvus collections that were made; none where the database was not even migrated."""
    with psycopg.connect(database_url) as connection:
        query = "SELECT to_regclass('search_searchindex') IS NOT NULL"
        if connection.execute(query).fetchone() != (True,):
            return []
        rows = connection.execute("SELECT collection_name FROM search_searchindex").fetchall()
        return [name for (name,) in rows]


def test_the_commands_of_the_compose_file_make_a_working_system(
    services: Services, redis_databases: list[str]
) -> None:
    services.run("setup", services.command("setup"))
    # Like a container that is started again.
    services.run("setup", services.command("setup"))
    # All at once on an empty VAR_DIR but for the static files, as Compose does.
    for name in STAY:
        services.start(name)
    services.wait_until(lambda: services.request("GET", "/readyz")[0] == 200, "/readyz is 200")

    create_user = shlex.split(
        "python manage.py createsuperuser --noinput --username ann --email ann@example.com"
    )
    services.run("web", ["env", f"DJANGO_SUPERUSER_PASSWORD={PASSWORD}", *create_user])
    credentials = json.dumps({"username": "ann", "password": PASSWORD}).encode()
    status, answer = services.request(
        "POST", "/api/v1/auth/token/", credentials, Content_Type="application/json"
    )
    assert status == 200
    token = f"Token {answer['token']}"

    picture = Path(services.directory / "picture.jpg")
    picture.write_bytes(draw_picture(1))
    with picture.open("rb") as file:
        form = encode_multipart(BOUNDARY, {"file": file})
    status, photo = services.request(
        "POST", "/api/v1/photos/", form, Content_Type=MULTIPART_CONTENT, Authorization=token
    )
    assert status == 201

    def searchable() -> bool:
        found = services.request("GET", f"/api/v1/photos/{photo['id']}/", Authorization=token)
        return bool(found[1]["searchable"])

    services.wait_until(searchable, "the photo is searchable")
    status, page = services.request(
        "GET", "/api/v1/search/?q=a+white+ellipse&weak=true", Authorization=token
    )
    assert status == 200
    assert [result["photo"]["id"] for result in page["results"]] == [photo["id"]]

    with redis.Redis.from_url(redis_databases[1]) as cache:
        assert list(cache.scan_iter("*search:text:*")), "the query's embedding is not in the cache"

    for name in STAY:
        services.run(name, services.health_check(name))

    for process in services.processes.values():
        process.send_signal(signal.SIGTERM)
    codes = {name: process.wait(60) for name, process in services.processes.items()}
    assert codes == dict.fromkeys(STAY, 0)
