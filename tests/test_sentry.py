"""What a Sentry is sent, by one that listens on this machine."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from t2isearch.embedded.state import BASE_DIR

# Without a database, whoever brings a session gets an error.
FAILING_REQUEST = """
from t2isearch.wsgi import application
from django.test import RequestFactory
import sentry_sdk
request = RequestFactory(headers={"X-Request-Id": "a-request-of-the-test"}).post(
    "/s/token-of-a-link/photos/5/?q=words+of+ann", {"caption": "secret caption"},
    headers={"Cookie": "sessionid=cookie-of-ann"}, REMOTE_ADDR="192.0.2.7",
)
answered = []
list(application(request.environ, lambda status, headers: answered.append(status)))
assert answered[0].startswith("503"), answered
sentry_sdk.flush(10)
"""


class Listener(ThreadingHTTPServer):
    received: list[str]


class Handler(BaseHTTPRequestHandler):
    server: Listener

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Content-Encoding"] == "gzip":
            body = gzip.decompress(body)
        self.server.received.append(body.decode())
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Nothing."""


@pytest.fixture
def sentry() -> Iterator[Listener]:
    server = Listener(("127.0.0.1", 0), Handler)
    server.received = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ask(tmp_path: Path, **environment: str) -> None:
    (tmp_path / "static").mkdir(exist_ok=True)
    subprocess.run(
        [sys.executable, "-c", FAILING_REQUEST],
        check=True,
        cwd=BASE_DIR,
        env=os.environ
        | {
            "DJANGO_SETTINGS_MODULE": "t2isearch.settings.test",
            "VAR_DIR": str(tmp_path),
            "SECRET_KEY": "k" * 50,
            "ALLOWED_HOSTS": "testserver",
            "DATABASE_URL": "postgresql://ann@127.0.0.1:1/nothing",
            "CACHE_URL": "",
            "CELERY_BROKER_URL": "",
        }
        | environment,
    )


def test_an_error_is_sent_without_anything_about_people(sentry: Listener, tmp_path: Path) -> None:
    ask(tmp_path, SENTRY_DSN=f"http://key@127.0.0.1:{sentry.server_port}/1")
    sent = "\n".join(sentry.received)
    assert "OperationalError" in sent
    events = [json.loads(line) for line in sent.splitlines() if '"exception"' in line]
    assert [event["tags"]["request_id"] for event in events] == ["a-request-of-the-test"]
    assert {event["request"]["method"] for event in events} == {"POST"}
    assert "{token}" in events[0]["transaction"]
    private = ("token-of-a-link", "words", "caption", "cookie-of-ann", "192.0.2.7", "k" * 50)
    assert [each for each in private if each in sent] == []


def test_nothing_is_sent_where_none_is_named(sentry: Listener, tmp_path: Path) -> None:
    ask(tmp_path, SENTRY_DSN="")
    assert sentry.received == []
