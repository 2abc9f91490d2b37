"""`make install` in a directory of its own, without packages to download."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from t2isearch.embedded.state import BASE_DIR


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copy(BASE_DIR / "Makefile", tmp_path)
    for name in ("requirements.txt", "requirements-dev.txt"):
        (tmp_path / name).write_text("# nothing yet\n")
    return tmp_path


def make(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Not those that an outer make hands down.
    environment = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    return subprocess.run(
        ["make", f"PYTHON={sys.executable}", *arguments],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_installation_is_made_once_and_taken_up_again(project: Path) -> None:
    requirements = project / "requirements.txt"
    requirements.write_text("./a-package-that-is-not-there-yet\n")
    assert make(project, "install").returncode != 0
    assert (project / ".venv" / "bin" / "python").exists()

    requirements.write_text("# nothing to install\n")
    assert make(project, "install").returncode == 0
    again = make(project, "install")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


def test_nothing_but_coreutils_is_needed(project: Path, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "make", "cat", "cp"):
        (tools / name).symlink_to(str(shutil.which(name)))
    for _ in range(2):
        installed = make(project, "install-dev", f"PATH={tools}")
        assert (installed.returncode, installed.stderr) == (0, "")
    assert installed.stdout == ""


def test_an_old_python_is_refused_in_one_sentence(project: Path) -> None:
    old = project / "python3.9"
    pretend = "import sys; sys.version_info = (3, 9, 1); exec(sys.argv[2])"
    old.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{pretend}" "$@"\n')
    old.chmod(0o755)
    refused = make(project, "run", f"PYTHON={old}")
    assert refused.returncode != 0
    assert f"Python 3.11 or newer is needed, {old} is 3.9" in refused.stderr
    assert "make run PYTHON=python3.12" in refused.stderr
    assert not (project / ".venv").exists()


def test_help_lists_every_target(project: Path) -> None:
    listed = make(project).stdout
    for target in ("install", "install-dev", "run", "backup", "restore", "test", "lint", "format"):
        assert f"make {target} " in listed
