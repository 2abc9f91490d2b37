"""The audit of what is installed, against a service of our own with the interface of OSV."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tools.audit import findings, main

VULNERABLE = "django"


class Osv(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        found: dict[str, Any] = {}
        if asked["package"]["name"] == VULNERABLE:
            affected = {
                "package": {"name": VULNERABLE, "ecosystem": "PyPI"},
                "ranges": [
                    {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "9.9"}]}
                ],
            }
            found = {"vulns": [{"id": "PYSEC-1", "summary": "bad", "affected": [affected]}]}
        body = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Osv) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()


def audit(tmp_path: Path, service: str, *pins: str) -> int:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("\n".join(pins))
    return main([str(requirements), "--osv-url", service])


def test_a_vulnerability_fails(
    tmp_path: Path, service: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit(tmp_path, service, "Django==5.2.1", "redis==8.1.0") == 1
    assert capsys.readouterr().out.splitlines() == [
        "django 5.2.1: PYSEC-1, fixed in 9.9",
        "2 packages looked up, 1 vulnerabilities.",
    ]


def test_none_is_fine(tmp_path: Path, service: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit(tmp_path, service, "redis==8.1.0") == 0
    assert capsys.readouterr().out.strip() == "1 packages looked up, 0 vulnerabilities."


def test_without_a_service_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit(tmp_path, "http://127.0.0.1:9/v1/query", "redis==8.1.0") == 0
    assert "nothing was audited" in capsys.readouterr().out


def test_packages_that_a_mirror_does_not_find_are_not_audited() -> None:
    """As pip-audit answers where the index has no interface for vulnerabilities."""
    found = findings('{"dependencies": [{"name": "redis", "skip_reason": "not found"}]}')
    assert found is not None
    assert (found.audited, found.skipped, found.vulnerabilities) == (0, ["redis"], [])
    assert findings("") is None
