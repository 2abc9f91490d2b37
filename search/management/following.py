"""A command that does a run itself and shows how far it is."""

from __future__ import annotations

import math
from collections.abc import Callable

from django.core.management.base import BaseCommand, CommandError

from search.models import IndexRun
from search.runs import AlreadyWorkedOn, interrupt, work_on
from t2isearch.progress import progress_report

# What the findings count while it goes on, kind by kind.
_COUNTS = {
    IndexRun.Kind.VERIFY: ("photos",),
    IndexRun.Kind.REFILL: ("put back", "to be embedded"),
    IndexRun.Kind.REINDEX: ("enqueued",),
}


def follow_run(command: BaseCommand, start: Callable[[], IndexRun], doing: str) -> IndexRun:
    """Work on the run that `start` claims until it is finished, then print what it found.

    Ctrl-C interrupts it; the same command goes on from there. A run that a worker is at is left to
    it.

    Raises:
        CommandError: it failed, or a worker is at it.
    """
    try:
        run = start()
    except AlreadyWorkedOn as error:
        raise CommandError(
            "A worker is at it: the console in the admin shows how far it is."
        ) from error
    names = _COUNTS[IndexRun.Kind(run.kind)]
    total = run.index.indexings.count() if run.owner is None else None
    try:
        with progress_report(doing, total) as report:
            work_on(
                run,
                until=math.inf,
                on_step=lambda at: report(sum(at.findings.get(name, 0) for name in names), None),
            )
    except KeyboardInterrupt:
        interrupt(run)
        raise CommandError(
            f"Interrupted after photo {run.position}: the same command goes on from there.",
            returncode=130,
        ) from None
    run.refresh_from_db()
    if run.state != IndexRun.State.DONE:
        raise CommandError(run.error or "It was interrupted.")
    samples = run.findings.get("samples", {})
    for name, number in run.findings.items():
        if name != "samples":
            shown = f" (photos {', '.join(map(str, samples[name]))})" if name in samples else ""
            command.stdout.write(f"{name}: {number}{shown}")
    return run
