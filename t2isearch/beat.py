"""Celery's schedule, with what was last sent when in a file that may be lost.

Celery's own keeps pickles in a `shelve`, reads them all the while, and ends on most damage.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from celery import beat

from t2isearch.files import discard, write_whole

logger = logging.getLogger(__name__)


class Scheduler(beat.Scheduler):
    """Reads its file once, so that what was due while nothing ran is made up for."""

    def __init__(self, *args: Any, schedule_filename: str, **kwargs: Any) -> None:
        self._file = Path(schedule_filename)
        super().__init__(*args, **kwargs)

    @property
    def info(self) -> str:
        return f"    . times -> {self._file}"

    def setup_schedule(self) -> None:
        super().setup_schedule()
        for name, sent_at in self._read().items():
            if name in self.schedule:
                self.schedule[name].last_run_at = sent_at
        self.sync()

    def sync(self) -> None:
        times = {
            name: entry.last_run_at.isoformat()
            for name, entry in self.schedule.items()
            if entry.last_run_at is not None
        }
        try:
            write_whole(self._file, json.dumps(times, indent=2) + "\n")
        except OSError as error:
            logger.warning("%s can't be written: %s", self._file, error)

    def close(self) -> None:
        self.sync()
        super().close()

    def _read(self) -> dict[str, datetime]:
        try:
            return {
                # A time without its zone could not be compared.
                name: datetime.fromisoformat(sent_at).astimezone(UTC)
                for name, sent_at in json.loads(self._file.read_bytes()).items()
            }
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            logger.warning("%s can't be read and is made anew: %s", self._file, error)
            discard(self._file)
            return {}
