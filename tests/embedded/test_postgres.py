"""The embedded PostgreSQL in directories that make it difficult, and after crashes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from t2isearch.embedded.child import Child, python_environment
from t2isearch.embedded.postgres import Postgres, UnusableDataError
from t2isearch.embedded.service import StartFailedError, wait_for_service
from t2isearch.embedded.state import Layout
from t2isearch.settings.environment import read_environment
from tests.damages import damage


@pytest.fixture
def root() -> Iterator[Path]:
    """A directory with a short path, because a socket's path is limited."""
    root = Path(tempfile.mkdtemp(prefix="t2i-"))
    yield root
    shutil.rmtree(root)


@contextmanager
def running(root: Path, *, durable: bool = False) -> Iterator[tuple[Postgres, Child]]:
    layout = Layout(root)
    layout.create()
    postgres = Postgres(layout.postgres, durable=durable)
    child = Child(postgres.program(), layout, python_environment(layout))
    child.start()
    try:
        wait_for_service(postgres, child)
        yield postgres, child
    finally:
        child.stop()


@pytest.mark.parametrize("name", ["a b+%20;'\"x", "one,two", "so-long-" * 20])
def test_any_path_will_do(root: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(root / name) as (postgres, _):
        with psycopg.connect(postgres.address) as connection:
            row = connection.execute("SELECT current_database(), lower('ÄÖ')").fetchone()
        assert row == ("t2isearch", "äö")

        monkeypatch.setenv("DATABASE_URL", postgres.address)
        database = read_environment().database
        assert database["HOST"] == str(postgres.socket_directory)
        assert (database["NAME"], database["USER"]) == ("t2isearch", "postgres")
    if postgres.socket_directory != postgres.data:
        postgres.socket_directory.rmdir()


def test_only_the_owner_can_reach_the_socket(root: Path) -> None:
    with running(root) as (postgres, _):
        assert postgres.socket_directory.stat().st_mode & 0o077 == 0


def test_what_was_committed_is_there_after_a_kill(root: Path) -> None:
    with running(root, durable=True) as (postgres, child):
        with psycopg.connect(postgres.address) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS number")
        os.killpg(json.loads(Layout(root).process(child.name).read_text())["pid"], signal.SIGKILL)
        assert (root / "postgres" / "postmaster.pid").exists()
    with running(root) as (postgres, _), psycopg.connect(postgres.address) as connection:
        assert connection.execute("SELECT number FROM kept").fetchone() == (42,)


def test_a_process_id_that_another_program_has_got_is_no_obstacle(root: Path) -> None:
    with running(root):
        pass
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as other:
        stale = f"{other.pid}\n{root}/postgres\n1700000000\n5432\n{root}/postgres\n\n  1 1\nready\n"
        (root / "postgres" / "postmaster.pid").write_text(stale)
        with running(root) as (postgres, _):
            psycopg.connect(postgres.address).close()
        assert other.poll() is None
        other.kill()


def test_a_server_that_nobody_recorded_makes_way(root: Path) -> None:
    with running(root) as (_, forgotten):
        Layout(root).process("postgres").unlink()
        with running(root) as (postgres, _):
            psycopg.connect(postgres.address).close()
        assert forgotten.exit_code() == 0


def test_an_interrupted_preparation_begins_anew(root: Path) -> None:
    partial = root / "postgres.partial"
    partial.mkdir()
    (partial / "PG_VERSION").write_text("18\n")
    with running(root) as (postgres, _):
        psycopg.connect(postgres.address).close()
    assert not partial.exists()


def test_the_data_of_an_unknown_version_are_refused(root: Path) -> None:
    (root / "postgres").mkdir()
    (root / "postgres" / "PG_VERSION").write_text("9\n")
    with pytest.raises(UnusableDataError, match="was made by PostgreSQL 9"):
        Postgres(root / "postgres").program()


def data_files(postgres: Postgres) -> set[Path]:
    """The files of all databases, without a cache that PostgreSQL itself removes and makes anew."""
    files = (path for path in (postgres.data / "base").rglob("*") if path.is_file())
    return {path for path in files if path.name != "pg_internal.init"}


DAMAGED = r"is damaged: .*\. Nothing was changed or removed\. Put a backup back"


@pytest.mark.parametrize(
    ("pattern", "how"),
    [
        *(("global/pg_control", how) for how in ("emptied", "zeroed", "removed")),
        *(("pg_wal/0*", how) for how in ("emptied", "zeroed", "removed")),
        *(("pg_hba.conf", how) for how in ("emptied", "random")),
        *(("PG_VERSION", how) for how in ("emptied", "random", "removed", "a directory")),
        *(("TABLE", how) for how in ("emptied", "halved", "zeroed", "removed")),
        ("base/*/1259", "zeroed"),  # pg_class
    ],
)
def test_damaged_data_is_told_and_left_alone(root: Path, pattern: str, how: str) -> None:
    with running(root) as (postgres, _), psycopg.connect(postgres.address) as connection:
        connection.execute("CREATE TABLE photo (id bigint PRIMARY KEY, filler text)")
        connection.execute("CREATE TABLE album (cover_id bigint REFERENCES photo)")
        rows = "SELECT n, repeat('x', 500) FROM generate_series(1, 99) n"
        connection.execute(f"INSERT INTO photo {rows}".encode())
        connection.execute("INSERT INTO album SELECT id FROM photo")
        row = connection.execute("SELECT pg_relation_filepath('photo')").fetchone()
        assert row is not None
    files = list(postgres.data.glob(row[0] if pattern == "TABLE" else pattern))
    assert files
    for file in files:
        damage(file, how)
    before = data_files(postgres)
    with pytest.raises((UnusableDataError, StartFailedError), match=DAMAGED), running(root):
        pass
    assert data_files(postgres) >= before


def test_a_failed_statement_is_not_written_down(root: Path) -> None:
    with running(root) as (postgres, child):
        with psycopg.connect(postgres.address, autocommit=True) as connection:
            connection.execute("CREATE TABLE link (token text PRIMARY KEY)")
            connection.execute("INSERT INTO link VALUES ('a-secret')")
            for statement in ("INSERT INTO link VALUES ('a-secret')", "SELECT 'a-secret' FROM nil"):
                with pytest.raises(psycopg.Error):
                    connection.execute(statement.encode())
        log = child.log.read_text()
    assert "duplicate key value" in log
    assert "a-secret" not in log
