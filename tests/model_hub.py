"""A model hub on this machine with as much of the real one's protocol as a download needs."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"

_MODEL = re.compile(r"/api/models/(?P<repository>[^/]+/[^/]+)(/revision/(?P<revision>[^/]+))?")
_TREE = re.compile(r"/api/models/(?P<repository>[^/]+/[^/]+)/tree/(?P<revision>[^/]+)")
_FILE = re.compile(r"/(?P<repository>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>[^/]+)")


@dataclass
class ModelHub:
    """The hub's content, and the paths that were asked for.

    ``models`` maps a repository to the folder with its files, its one commit being COMMIT on
    ``main``; ``gated`` holds repositories that exist and are refused; with ``status`` every answer
    is that HTTP error.
    """

    url: str
    models: dict[str, Path] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    status: int | None = None
    requested: list[str] = field(default_factory=list)


@contextmanager
def running_model_hub() -> Iterator[ModelHub]:
    """Serve a hub on a free port of 127.0.0.1."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    hub = ModelHub(url=f"http://127.0.0.1:{server.server_port}")
    server.hub = hub  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        hub: ModelHub = self.server.hub  # type: ignore[attr-defined]
        path = self.path.partition("?")[0]
        hub.requested.append(path)
        match = _TREE.fullmatch(path) or _MODEL.fullmatch(path) or _FILE.fullmatch(path)
        asked = match.groupdict() if match else {}
        repository, revision = asked.get("repository", ""), asked.get("revision")
        folder = hub.models.get(repository)
        if hub.status is not None:
            self._send(hub.status)
        elif repository in hub.gated:
            self._send(403, {"X-Error-Code": "GatedRepo"})
        elif folder is None:
            self._send(404, {"X-Error-Code": "RepoNotFound"})
        elif revision not in {None, "main", COMMIT}:
            self._send(404, {"X-Error-Code": "RevisionNotFound"})
        elif "file" in asked:
            self._send_file(folder / asked["file"])
        elif _TREE.fullmatch(path):
            self._send_json(
                [
                    {
                        "type": "file",
                        "path": file.name,
                        "size": file.stat().st_size,
                        "oid": "0" * 40,
                    }
                    for file in folder.iterdir()
                ]
            )
        else:
            siblings = [
                {"rfilename": file.name, "size": file.stat().st_size} for file in folder.iterdir()
            ]
            self._send_json({"id": repository, "sha": COMMIT, "siblings": siblings})

    do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output quiet."""

    def _send_file(self, file: Path) -> None:
        if not file.is_file():
            self._send(404, {"X-Error-Code": "EntryNotFound"})
            return
        content = file.read_bytes()
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        self._send(200, {"ETag": etag, "X-Repo-Commit": COMMIT}, content)

    def _send_json(self, value: object) -> None:
        self._send(200, {"Content-Type": "application/json"}, json.dumps(value).encode())

    def _send(
        self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
