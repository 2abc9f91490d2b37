"""A backup is put into an empty `VAR_DIR`, and one taken of it, while nothing runs there."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.core.management import call_command

from accounts.models import User
from gallery.services import add_photo
from t2isearch.embedded.child import find_recorded
from t2isearch.embedded.lock import exclusive_lock
from t2isearch.embedded.state import BASE_DIR, Layout
from tests.conftest import draw_picture
from tests.running_system import bare_environment

pytestmark = pytest.mark.system


def run(var_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "t2isearch.embedded", *arguments],
        capture_output=True,
        text=True,
        cwd=BASE_DIR,
        env=bare_environment(var_dir),
        check=False,
    )


def test_a_backup_is_put_into_an_empty_directory(
    transactional_db: None, ann: User, systems_directory: Path, tmp_path: Path
) -> None:
    for number in range(2):
        add_photo(owner=ann, file=ContentFile(draw_picture(number), name="a"), filename="a.jpg")
    folder = tmp_path / "backup"
    call_command("backup", str(folder), stdout=StringIO())

    var_dir = systems_directory / "restored"
    layout = Layout(var_dir)
    restored = run(var_dir, "restore", str(folder))
    assert restored.returncode == 0, restored.stdout + restored.stderr
    assert "2 photos, 2 files are back." in restored.stdout
    assert "Start it with `make run`." in restored.stdout
    assert find_recorded(layout) == []
    assert len([path for path in layout.media.rglob("*") if path.is_file()]) == 2

    saved = run(var_dir, "backup", str(tmp_path / "second"))
    assert saved.returncode == 0, saved.stdout + saved.stderr
    first, second = (
        json.loads((each / "manifest.json").read_text()) for each in (folder, tmp_path / "second")
    )
    for name in ("photos", "files", "bytes", "files_sha256", "faults"):
        assert first[name] == second[name]
    assert find_recorded(layout) == []
    shutil.rmtree(var_dir)


def test_a_system_that_runs_is_left_alone(systems_directory: Path, tmp_path: Path) -> None:
    layout = Layout(systems_directory / "held")
    layout.create()
    with exclusive_lock(layout.lock, address="http://127.0.0.1:8000/"):
        refused = run(layout.root, "restore", str(tmp_path))
    assert refused.returncode == 1
    assert f"t2isearch already runs on {layout.root}" in refused.stderr
    assert "Stop it first." in refused.stderr


def test_without_a_system_there_is_nothing_to_save(systems_directory: Path, tmp_path: Path) -> None:
    nothing = run(systems_directory / "nothing", "backup", str(tmp_path / "backup"))
    assert nothing.returncode == 1
    assert "There is nothing to save" in nothing.stderr
    assert not (tmp_path / "backup").exists()
