"""docker-compose.yml as Compose reads it, without an engine."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from t2isearch.embedded.state import BASE_DIR

COMPOSE_FILE = BASE_DIR / "docker-compose.yml"
# What a person has to set in `.env`.
SECRETS = {
    "SECRET_KEY": "k" * 50,
    "POSTGRES_PASSWORD": "a-password",
    "MINIO_ROOT_PASSWORD": "another-password",
}
# `$$` is a dollar sign; `${NAME}`, `${NAME:-default}` and `${NAME:?message}` are variables.
_VARIABLE = re.compile(
    r"\$(?:(?P<dollar>\$)|\{(?P<name>\w+)(?::(?P<operator>[-?])(?P<operand>[^}]*))?\})"
)


class NotSet(Exception):
    """A variable that has no default is not set; the message says which."""


def compose(variables: Mapping[str, str]) -> dict[str, Any]:
    """The file with `variables` (those of `.env`) put in their places.

    Raises:
        NotSet: one that is needed is missing or empty.
    """
    document: dict[str, Any] = _interpolated(yaml.safe_load(COMPOSE_FILE.read_text()), variables)
    return document


def named_variables() -> set[str]:
    """The names of all variables that the file takes from `.env`."""
    return {found["name"] for found in _VARIABLE.finditer(COMPOSE_FILE.read_text())} - {None}


def strings(value: object) -> Iterator[str]:
    """All texts in `value`, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


def _interpolated(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return _VARIABLE.sub(lambda found: _replacement(found, variables), value)
    if isinstance(value, dict):
        return {key: _interpolated(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [_interpolated(item, variables) for item in value]
    return value


def _replacement(found: re.Match[str], variables: Mapping[str, str]) -> str:
    if found["dollar"]:
        return "$"
    if text := variables.get(found["name"], ""):
        return text
    if found["operator"] == "?":
        raise NotSet(found["operand"])
    return found["operand"] or ""
