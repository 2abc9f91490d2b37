"""How far a command is: a bar with rate and time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

# Between two lines of a log.
LINE_EVERY_S = 5.0

# Called with how many are done, and how many there are where that has changed.
Report = Callable[[int, int | None], None]


@contextmanager
def progress_report(doing: str, total: int | None) -> Iterator[Report]:
    """Show on standard error how far `doing` is; yields the function to say so with.

    `total` is None where it is not known.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(doing, total)
        return
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(show_speed=True),
        TimeRemainingColumn(),
        console=console,
    )
    with progress:
        task = progress.add_task(doing, total=total)

        def report(done: int, total: int | None = None) -> None:
            progress.update(task, completed=done, total=total)

        yield report


class _Lines:
    """Writes a line now and then."""

    def __init__(self, doing: str, total: int | None) -> None:
        self._doing = doing
        self._total = total
        self._started_at = self._written_at = time.monotonic()
        self._started_with: int | None = None

    def __call__(self, done: int, total: int | None = None) -> None:
        now = time.monotonic()
        self._total = self._total if total is None else total
        if self._started_with is None:
            self._started_with, self._started_at = done, now
        if now - self._written_at < LINE_EVERY_S and done != self._total:
            return
        self._written_at = now
        sys.stderr.write(f"{self._line(done, now - self._started_at)}\n")
        sys.stderr.flush()

    def _line(self, done: int, seconds: float) -> str:
        rate = (done - (self._started_with or 0)) / seconds if seconds else 0.0
        line = f"{self._doing}: {done}"
        if self._total:
            line += f" of {self._total} ({done / self._total:.0%})"
        if rate:
            line += f", {rate:.1f}/s"
            if self._total and done < self._total:
                left = timedelta(seconds=round((self._total - done) / rate))
                line += f", {left} left"
        return line
