"""Asking the web server whether the whole system can be used."""

from __future__ import annotations

import http.client
import json
import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Readiness:
    """The answer of `GET /readyz`; `problem` says what is not ready."""

    ready: bool
    problem: str = ""


def read_readiness(*, host: str, port: int, timeout_s: float = 60.0) -> Readiness:
    """Ask once. A server that does not answer yet is not ready.

    The first answer takes as long as loading the query encoder.
    """
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request("GET", "/readyz", headers={"Host": _accepted_host()})
        response = connection.getresponse()
        body = response.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return Readiness(ready=False, problem=f"the web server does not answer ({error})")
    finally:
        connection.close()
    if response.status == http.HTTPStatus.OK:
        return Readiness(ready=True)
    return Readiness(
        ready=False, problem=_failing_parts(body) or f"/readyz answers {response.status}"
    )


def web_answers(*, host: str, port: int) -> bool:
    """Whether the web server serves pages: all that the gallery needs beside the database."""
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", "/healthz", headers={"Host": _accepted_host()})
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def reachable_host(host: str) -> str:
    """An address of this machine for a server bound to `host`, which may be all addresses."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104


def _accepted_host() -> str:
    """A host name that ALLOWED_HOSTS lets in."""
    names = [name.strip() for name in os.environ.get("ALLOWED_HOSTS", "").split(",")]
    first = names[0].removeprefix(".")
    return "localhost" if first in {"", "*"} else first


def _failing_parts(body: str) -> str:
    """The parts that a 503 names as failed, in words."""
    try:
        parts: dict[str, str] = json.loads(body)["parts"]
    except (ValueError, TypeError, KeyError):
        return ""
    failed = [name for name, state in parts.items() if state != "ok"]
    return f"{' and '.join(failed)} failed" if failed else ""
