"""The code, `.env.example` and docs/configuration.md name the same variables."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from t2isearch.embedded.state import BASE_DIR
from t2isearch.settings.environment import read_environment
from tests.configuration import (
    COMPOSE_ONLY,
    documented_variables,
    environment_variables,
    example_variables,
)

# Read by the libraries, not by us.
OTHERS = {"HF_HOME", "HF_HUB_OFFLINE", "HF_ENDPOINT", "HF_TOKEN"}


def test_the_example_lists_every_variable() -> None:
    assert set(example_variables()) == environment_variables() | COMPOSE_ONLY


def test_the_document_describes_every_variable() -> None:
    assert documented_variables() == environment_variables() | COMPOSE_ONLY | OTHERS


def test_the_example_shows_the_defaults(tmp_path: Path) -> None:
    """Settings read with the values of .env.example are those read with nothing set."""
    # Those whose value in the example is an address or a secret to be replaced.
    placeholders = {
        "DATABASE_URL",
        "MILVUS_URI",
        "CELERY_BROKER_URL",
        "CACHE_URL",
        "SECRET_KEY",
        "VAR_DIR",
    }
    shown = {
        name: value
        for name, value in example_variables().items()
        if name not in placeholders | COMPOSE_ONLY
    }
    program = (
        "from t2isearch.settings.environment import read_environment; print(read_environment())"
    )

    def read(variables: dict[str, str]) -> str:
        # Empty counts as not set, and keeps what a developer's `.env` sets away.
        bare = dict.fromkeys(example_variables(), "") | {
            "PATH": os.environ["PATH"],
            "VAR_DIR": str(tmp_path),
        }
        completed = subprocess.run(
            [sys.executable, "-c", program],
            env=bare
            | dict.fromkeys(example_variables(), "")
            | {"VAR_DIR": str(tmp_path)}
            | variables,
            cwd=BASE_DIR,
            capture_output=True,
            text=True,
            check=True,
        )
        return completed.stdout

    assert read(shown) == read({})


@pytest.mark.parametrize(
    ("secret", "sentence"), [("change-me", "value of .env.example"), ("short", "at least 32")]
)
def test_a_secret_that_is_none_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, secret: str, sentence: str
) -> None:
    monkeypatch.setenv("SECRET_KEY", secret)
    with pytest.raises(ImproperlyConfigured, match=sentence):
        read_environment()


def test_a_shared_database_needs_a_shared_secret(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SECRET_KEY", "")
    monkeypatch.setenv("DEBUG", "false")
    monkeypatch.setenv("VAR_DIR", str(tmp_path))
    monkeypatch.setenv("DATABASE_URL", "postgresql://t2isearch@localhost/t2isearch")
    with pytest.raises(ImproperlyConfigured, match="SECRET_KEY must be set"):
        read_environment()
