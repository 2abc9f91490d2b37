"""The API as a program uses it: over HTTP, with a token."""

from __future__ import annotations

import http.client
import json
import secrets
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from tests.running_system import RunningSystem

PASSWORD = "correct horse battery"


@dataclass(frozen=True, slots=True)
class Answer:
    status: HTTPStatus
    text: str

    @property
    def data(self) -> Any:
        return json.loads(self.text)


@dataclass
class ApiClient:
    """One person's requests, each over a connection of its own.

    A request that is not answered within `timeout_s` raises TimeoutError.
    """

    port: int
    timeout_s: float = 30.0
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_new_person(cls, system: RunningSystem, name: str) -> ApiClient:
        """Someone with a new account: a token for the API, a session for the pages."""
        session = system.run_in_shell(
            "from django.conf import settings",
            "from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY",
            "from importlib import import_module",
            "from accounts.models import User",
            f"user = User.objects.create_user({name!r}, {f'{name}@example.com'!r}, {PASSWORD!r})",
            "session = import_module(settings.SESSION_ENGINE).SessionStore()",
            "session[SESSION_KEY] = str(user.pk)",
            "session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]",
            "session[HASH_SESSION_KEY] = user.get_session_auth_hash()",
            "session.create()",
            "print(session.session_key)",
        ).strip()
        client = cls(system.port)
        credentials = urlencode({"username": name, "password": PASSWORD})
        answer = client.request(
            "POST",
            "/api/v1/auth/token/",
            credentials.encode(),
            {"Content-Type": "application/x-www-form-urlencoded"},
        )
        assert answer.status == HTTPStatus.OK, answer.text
        client.headers = {
            "Authorization": f"Token {answer.data['token']}",
            "Cookie": f"sessionid={session}",
        }
        return client

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.timeout_s)
        try:
            connection.request(method, path, body, self.headers | (headers or {}))
            response = connection.getresponse()
            return Answer(HTTPStatus(response.status), response.read().decode())
        finally:
            connection.close()

    def get(self, path: str, **parameters: object) -> Answer:
        return self.request("GET", f"{path}?{urlencode(parameters)}" if parameters else path)

    def upload(self, name: str, content: bytes) -> Answer:
        boundary = secrets.token_hex(16)
        head = (
            f"--{boundary}\r\n"
            f'Content-Disposition: form-data; name="file"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        return self.request(
            "POST",
            "/api/v1/photos/",
            head.encode() + content + f"\r\n--{boundary}--\r\n".encode(),
            {"Content-Type": f"multipart/form-data; boundary={boundary}"},
        )

    def photos(self) -> list[dict[str, Any]]:
        """All photos, newest first, page after page."""
        found: list[dict[str, Any]] = []
        path = "/api/v1/photos/?limit=200"
        while path:
            page = self.get(path).data
            found += page["results"]
            path = (page["next"] or "").partition(f":{self.port}")[2]
        return found
