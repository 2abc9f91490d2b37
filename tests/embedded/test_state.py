"""What lies under `VAR_DIR` beside the data: derived, but for the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from t2isearch.embedded.state import (
    DamagedKeyError,
    Layout,
    own_secret_key,
    publish_environment,
    published_environment,
)
from tests.damages import DAMAGES, damage


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    layout.create()
    return layout


@pytest.mark.parametrize("how", DAMAGES)
def test_damaged_addresses_count_as_none_and_are_replaced(layout: Layout, how: str) -> None:
    publish_environment(layout, {"DATABASE_URL": "postgresql://one"})
    damage(layout.services, how)
    assert published_environment(layout) == {}
    publish_environment(layout, {"DATABASE_URL": "postgresql://two"})
    assert published_environment(layout) == {"DATABASE_URL": "postgresql://two"}
    assert layout.services.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in layout.run.iterdir()] == ["services.json"]


@pytest.mark.parametrize("name", ["run", "logs", "broker"])
def test_a_file_in_the_place_of_a_derived_folder_gives_way(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("in the way")
    Layout(tmp_path).create()
    assert (tmp_path / name).is_dir()


def test_a_file_in_the_place_of_the_photos_stays(tmp_path: Path) -> None:
    (tmp_path / "media").write_text("who knows what")
    with pytest.raises(FileExistsError):
        Layout(tmp_path).create()
    assert (tmp_path / "media").read_text() == "who knows what"


@pytest.mark.parametrize("how", [how for how in DAMAGES if how != "removed"])
def test_a_damaged_key_is_never_replaced(layout: Layout, how: str) -> None:
    own_secret_key(layout)
    damage(layout.secret_key, how)
    before = layout.secret_key.is_dir() or layout.secret_key.read_bytes()
    with pytest.raises(DamagedKeyError, match="secret_key is damaged"):
        own_secret_key(layout)
    assert (layout.secret_key.is_dir() or layout.secret_key.read_bytes()) == before


def test_a_key_is_made_once(layout: Layout) -> None:
    key = own_secret_key(layout)
    assert len(key) >= 50
    assert own_secret_key(layout) == key
