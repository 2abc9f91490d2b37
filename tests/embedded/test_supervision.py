"""What the supervisor does about children that end, and about the files it keeps, on small ones."""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from t2isearch.embedded import service as service_module
from t2isearch.embedded import supervisor as supervisor_module
from t2isearch.embedded.child import Child, Program, python_environment
from t2isearch.embedded.milvus import MilvusLite
from t2isearch.embedded.postgres import Postgres, UnusableDataError
from t2isearch.embedded.service import StartFailedError, free_port, wait_for_service
from t2isearch.embedded.state import Layout, published_environment
from t2isearch.embedded.supervisor import START_TRIES, Supervised, Supervisor
from t2isearch.embedded.terminal import Terminal
from tests.damages import damage


class Watched:
    """A supervisor that has started nothing, and what it says."""

    def __init__(self, root: Path) -> None:
        self.said = io.StringIO()
        self.layout = Layout(root)
        self.layout.create()
        terminal = Terminal(Console(file=self.said, width=200))
        self.supervisor = Supervisor(
            layout=self.layout, host="127.0.0.1", port=1, terminal=terminal
        )

    def child(self, code: str, *, essential: bool = False) -> Supervised:
        program = Program(
            name="child", command=(sys.executable, "-c", code), is_essential=essential
        )
        child = Child(program, self.layout, python_environment(self.layout))
        child.start()
        return Supervised(child, started_at=time.monotonic())


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    monkeypatch.setattr(supervisor_module, "LONGEST_RESTART_PAUSE_S", 0.0)
    return Watched(tmp_path)


def look_after(watched: Watched, supervised: Supervised, *, failures: int) -> None:
    while supervised.failures < failures:
        watched.supervisor._look_after(supervised)
        time.sleep(0.01)


def test_what_the_gallery_does_without_is_started_again_for_ever(watched: Watched) -> None:
    supervised = watched.child("raise SystemExit(3)")
    look_after(watched, supervised, failures=2 * START_TRIES)
    supervised.child.stop()
    said = watched.said.getvalue()
    assert said.count("child ended with exit code 3; it is started again in 0 s.") == 10


def test_an_essential_one_that_never_starts_ends_it(watched: Watched) -> None:
    supervised = watched.child("print('no way'); raise SystemExit(3)", essential=True)
    with pytest.raises(StartFailedError, match="ended 5 times in a row") as raised:
        look_after(watched, supervised, failures=START_TRIES + 1)
    assert raised.value.last_lines == ["no way"]


def test_the_data_of_a_milvus_that_never_starts_is_given_up(watched: Watched) -> None:
    supervised = watched.child("raise SystemExit(3)")
    supervised.service = MilvusLite(watched.layout.milvus, port=1)
    (watched.layout.milvus / "collections").mkdir(parents=True)
    look_after(watched, supervised, failures=START_TRIES)
    assert (watched.layout.milvus / "collections").exists()
    look_after(watched, supervised, failures=START_TRIES + 1)
    supervised.child.stop()
    assert list(watched.layout.milvus.iterdir()) == []
    assert "The data of Milvus Lite is removed: it is made anew." in watched.said.getvalue()


@pytest.mark.parametrize("how", ["emptied", "zeroed", "removed", "a directory"])
def test_the_addresses_are_kept_in_order(watched: Watched, how: str) -> None:
    watched.supervisor._tend()
    damage(watched.layout.services, how)
    watched.supervisor._tend()
    assert published_environment(watched.layout) == {"WEB": "http://127.0.0.1:1/"}


def test_photos_without_a_database_are_no_new_gallery(watched: Watched) -> None:
    photo = watched.layout.media / "originals" / "1.jpg"
    photo.parent.mkdir()
    photo.touch()
    services = service_module.unconfigured_services(watched.layout)
    watched.supervisor._refuse_photos_without_database(
        [each for each in services if each.title != "PostgreSQL"]
    )
    postgres = Postgres(watched.layout.postgres)
    with pytest.raises(UnusableDataError, match="says whose they are"):
        watched.supervisor._refuse_photos_without_database([postgres])


def test_what_lives_is_waited_for_and_said_to_be(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "REPORT_EVERY_S", 0.1)
    monkeypatch.setattr(service_module, "START_PATIENCE_S", 0.5)
    code = "import time; print('recovering', flush=True); time.sleep(60)"
    supervised = watched.child(code, essential=True)
    milvus = MilvusLite(watched.layout.milvus, port=free_port())
    said: list[str] = []

    def report(sentence: str) -> None:
        said.append(sentence)
        if len(said) == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        wait_for_service(milvus, supervised.child, report=report)
    assert said[-1] == "Milvus Lite is still starting. Its log ends: recovering"
    supervised.child.stop()
    # One that the gallery does without is given up.
    supervised = watched.child(code)
    with pytest.raises(StartFailedError, match="did not accept connections"):
        wait_for_service(milvus, supervised.child)
    supervised.child.stop()
