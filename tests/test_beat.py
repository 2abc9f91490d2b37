"""The file of the schedule is derived."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from t2isearch.beat import Scheduler
from t2isearch.celery import app
from tests.damages import DAMAGES, damage

THEN = datetime(2026, 1, 1, tzinfo=UTC)
ENTRY = "search-verify"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file of a schedule that sent something a long time ago."""
    running = scheduler(tmp_path / "schedule")
    running.schedule[ENTRY].last_run_at = THEN
    running.close()
    return tmp_path / "schedule"


def scheduler(file: Path) -> Scheduler:
    return Scheduler(app=app, schedule_filename=str(file))


def test_it_remembers_what_was_sent_when(file: Path) -> None:
    again = scheduler(file)
    assert again.schedule[ENTRY].last_run_at == THEN
    assert again.schedule[ENTRY].is_due()[0]
    assert "celery.backend_cleanup" not in again.schedule


@pytest.mark.parametrize("how", DAMAGES)
def test_it_is_made_anew_when_it_is_damaged(file: Path, how: str) -> None:
    damage(file, how)
    again = scheduler(file)
    assert not again.schedule[ENTRY].is_due()[0]
    again.schedule[ENTRY].last_run_at = THEN
    again.close()
    assert scheduler(file).schedule[ENTRY].last_run_at == THEN


@pytest.mark.parametrize("how", DAMAGES)
def test_beat_goes_on_when_it_is_damaged_meanwhile(file: Path, how: str) -> None:
    running = scheduler(file)
    damage(file, how)
    assert running.schedule[ENTRY].last_run_at == THEN
    running.sync()
    assert scheduler(file).schedule[ENTRY].last_run_at == THEN


def test_beat_goes_on_where_it_cannot_write(tmp_path: Path) -> None:
    running = scheduler(tmp_path / "absent" / "schedule")
    running.sync()
    assert ENTRY in running.schedule
