"""How fast a lost index is filled again and verified, compared with embedding the photos anew.

    .venv/bin/python -m benchmarks.refill [--rows 20000] [--dimension 512]

Makes rows without pictures in a database and a Milvus Lite of its own, all thrown away at the end.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack

from rich.console import Console
from rich.table import Table

from benchmarks.services import add_rows, start_services

RUNS = 3
# What two cores embed with CLIP ViT-B/32 in bfloat16 (benchmarks/encoders.py).
BASELINE_PHOTOS_PER_S = 42.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--dimension", type=int, default=512)
    arguments = parser.parse_args()
    with ExitStack() as stack:
        start_services(stack)
        rows = _measure(arguments.rows, arguments.dimension)
    table = Table("step", "rows/s", f"against embedding at {BASELINE_PHOTOS_PER_S:.0f}/s")
    for name, seconds in rows.items():
        rate = arguments.rows / statistics.median(seconds)
        table.add_row(name, f"{rate:,.0f}", f"{rate / BASELINE_PHOTOS_PER_S:,.0f} x")
    Console().print(
        f"{arguments.rows} rows of {arguments.dimension} dimensions, median of {RUNS} runs", table
    )


def _measure(count: int, dimension: int) -> dict[str, list[float]]:
    from search import milvus
    from search.models import IndexRun, SearchIndex
    from search.runs import start_run, work_on

    index = SearchIndex.objects.create(
        encoder="none", revision="0", dimension=dimension, collection_name="bench", status="active",
        backfilled_to=None,
    )  # fmt: skip
    add_rows(index, count, owners=4)

    def run(kind: IndexRun.Kind) -> float:
        started = time.perf_counter()
        work_on(start_run(index, kind, here=True), until=float("inf"))
        seconds = time.perf_counter() - started
        finished = IndexRun.objects.filter(kind=kind).latest("pk")
        assert finished.state == "done", finished.traceback
        return seconds

    times: dict[str, list[float]] = {"refill_index": [], "verify_index": []}
    kinds: dict[str, Callable[[], float]] = {
        "refill_index": lambda: run(IndexRun.Kind.REFILL),
        "verify_index": lambda: run(IndexRun.Kind.VERIFY),
    }
    for _ in range(RUNS):
        milvus.drop_collection("bench")
        milvus.ensure_collection("bench", dimension)
        for name, measure in kinds.items():
            times[name].append(measure())
        assert IndexRun.objects.filter(kind="verify").latest("pk").findings["missing"] == 0
    return times


if __name__ == "__main__":
    main()
