"""Single requests over HTTP, with nothing but what they are given: no session, no following."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Answer:
    status: HTTPStatus
    headers: http.client.HTTPMessage
    body: bytes


def fetch(
    address: str,
    method: str = "GET",
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> Answer:
    """What `address` (`http://host:port/path?query`) answers.

    Raises:
        OSError: nothing listens there.
    """
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.netloc, timeout=60)
    try:
        path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        return Answer(HTTPStatus(response.status), response.headers, response.read())
    finally:
        connection.close()
