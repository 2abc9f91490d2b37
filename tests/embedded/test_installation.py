"""An interrupted or outdated installation is told in one sentence."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from t2isearch.embedded import installation


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    return tmp_path / "requirements.txt"


def test_the_projects_own_requirements_are_installed() -> None:
    assert installation.installation_problem() is None


def test_extras_comments_and_local_versions_are_understood(
    requirements: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requirements.write_text("# A comment\n\ntorch==2.13.0\npsycopg[binary]==3.3.9 # why\n")
    versions = {"torch": "2.13.0+cpu", "psycopg": "3.3.9"}
    monkeypatch.setattr(metadata, "version", versions.__getitem__)
    assert installation.installation_problem(requirements) is None


def test_missing_packages_are_named(requirements: Path) -> None:
    requirements.write_text("no-such-package==1.0\nnor-this-one==2.0\nDjango==5.2.19\n")
    assert installation.installation_problem(requirements) == (
        "The installation is not complete, no-such-package and nor-this-one are missing: "
        "run `make install`."
    )


def test_many_missing_packages_are_counted(requirements: Path) -> None:
    requirements.write_text("".join(f"no-such-package-{number}==1\n" for number in range(10)))
    problem = installation.installation_problem(requirements)
    assert problem is not None
    assert "and 7 more packages are missing" in problem


def test_another_version_is_named(requirements: Path) -> None:
    installed = metadata.version("pytest")
    requirements.write_text("pytest==0.1\n")
    assert installation.installation_problem(requirements) == (
        f"The installation is out of date, it has pytest {installed} (wanted: 0.1): "
        "run `make install`."
    )
