"""Which variables the configuration has, as the code reads them and as the documents name them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import environ

from t2isearch.embedded.state import BASE_DIR
from t2isearch.settings.environment import read_environment

COMPOSE_ONLY = {
    "POSTGRES_PASSWORD",
    "MINIO_ROOT_PASSWORD",
    "PORT",
    "TLS_PORT",
    "LISTEN_ADDRESS",
    "NGINX_SITE",
    "NGINX_TRUSTED_PROXY",
    "TLS_CERTIFICATES",
    "PIP_EXTRA_INDEX_URL",
}


class _Recorder(dict[str, str]):
    """An environment that remembers what it was asked for."""

    def __init__(self, variables: dict[str, str]) -> None:
        super().__init__(variables)
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.asked.add(name)
        return super().get(name, default)

    def __contains__(self, name: object) -> bool:
        self.asked.add(str(name))
        return super().__contains__(name)


def environment_variables() -> set[str]:
    """The names that t2isearch/settings/environment.py asks the environment for."""
    with _recorded() as recorder:
        read_environment()
    # Read apart from the others: where the rest lies depends on it.
    return recorder.asked | {"VAR_DIR"}


@contextmanager
def _recorded() -> Iterator[_Recorder]:
    # The other S3_ variables are asked for only where there is a bucket.
    recorder = _Recorder(dict(os.environ) | {"S3_BUCKET": "photos"})
    before = environ.Env.ENVIRON
    environ.Env.ENVIRON = recorder
    try:
        yield recorder
    finally:
        environ.Env.ENVIRON = before


def example_variables() -> dict[str, str]:
    """The variables in .env.example and the values they have there."""
    lines = (BASE_DIR / ".env.example").read_text().splitlines()
    return dict(line[1:].split("=", 1) for line in lines if re.match(r"#[A-Z0-9_]+=", line))


def documented_variables() -> set[str]:
    """The variables in the first column of the tables in docs/configuration.md."""
    document = (BASE_DIR / "docs" / "configuration.md").read_text()
    rows = re.findall(r"^\| (`[^|]+) \|", document, flags=re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([A-Z0-9_]+)`", row)}
