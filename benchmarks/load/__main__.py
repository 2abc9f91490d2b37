"""Many people at once: how much the whole system carries, and what happens beyond that.

    .venv/bin/python -m pip install --requirement benchmarks/load/requirements.txt
    .venv/bin/python -m benchmarks.load [--users 10 20 40 80] [--seconds 40] [--photos 300]

Starts a system of its own on free ports (the starter encoder, the limits that are the defaults),
fills it, and runs `locustfile.py` with more and more people, who wait 1 to 3 seconds between two
things that they do. What is carried is the largest step without an error whose p95 is below a
second. Then twice as many people come, and then half as many: did it recover? `put off` are the
answers 429, `waiting` the photos that are not searchable when a step ends, `drained` the seconds
until they are. The people run on the same cores, which is why the figures are too low.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.ingest import pictures
from benchmarks.measuring import print_table
from tests.api_client import ApiClient
from tests.running_system import RunningSystem

PEOPLE = 10
PATIENCE_S = 600.0
LONGEST_P95_MS = 1000.0
SHOWN = ("timeline", "timeline: tiles", "thumbnail", "search", "upload", "Aggregated")


@dataclass(frozen=True, slots=True)
class Step:
    """What a step came to; times in milliseconds by name of the request."""

    users: int
    rows: dict[str, dict[str, str]]
    put_off: int
    memory: str
    waiting: int
    drained_s: float

    @property
    def is_carried(self) -> bool:
        whole = self.rows["Aggregated"]
        return whole["Failure Count"] == "0" and float(whole["95%"]) < LONGEST_P95_MS

    def lines(self, label: str) -> list[list[str]]:
        lines = []
        for name in SHOWN:
            if (row := self.rows.get(name)) is None:
                continue
            is_sum = name == "Aggregated"
            lines.append(
                [
                    label, "all" if is_sum else name, f"{float(row['Requests/s']):.1f}",
                    *(f"{float(row[share]):,.0f}" for share in ("50%", "95%", "99%")),
                    row["Failure Count"], str(self.put_off) if is_sum else "",
                    self.memory if is_sum else "", str(self.waiting) if is_sum else "",
                    f"{self.drained_s:.0f}" if is_sum else "",
                ]
            )  # fmt: skip
        return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, nargs="+", default=[10, 20, 40, 80])
    parser.add_argument("--seconds", type=int, default=40)
    parser.add_argument("--photos", type=int, default=300)
    arguments = parser.parse_args()
    table: list[list[str]] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="t2isearch-bench-")))
        folder.chmod(0o711)
        system = stack.enter_context(
            RunningSystem.start(folder / "system", environment={"SEARCH_ENCODER": "starter"})
        )
        people = folder / "people.json"
        people.write_text(json.dumps(_filled(system, arguments.photos)))
        carried = arguments.users[0]
        for users in arguments.users:
            step = _step(system, people, users, arguments.seconds)
            table += step.lines(str(users))
            if not step.is_carried:
                break
            carried = users
        for users, label in ((2 * carried, "twice"), (max(1, carried // 2), "half, after")):
            step = _step(system, people, users, arguments.seconds)
            table += step.lines(f"{users} ({label})")
    print(f"Carried: {carried} people at once.\n")
    print_table(
        (
            "people", "request", "a second", "p50 ms", "p95 ms", "p99 ms", "errors", "put off",
            "memory", "waiting", "drained s",
        ),
        table,
    )  # fmt: skip


def _filled(system: RunningSystem, photos: int) -> list[dict[str, str]]:
    """People, each with some photos that are searchable."""
    people = []
    for number in range(PEOPLE):
        client = ApiClient.of_new_person(system, f"person{number}")
        for file in pictures((1152, 864), photos // PEOPLE, first=number * 10_000):
            answer = client.upload("photo.jpg", file)
            assert answer.status == 201, answer.text
        people.append(
            {
                "session": client.headers["Cookie"].partition("=")[2],
                "token": client.headers["Authorization"].partition(" ")[2],
            }
        )
    system.wait_until(lambda: _waiting(system) == 0, PATIENCE_S, "all are searchable")
    return people


def _step(system: RunningSystem, people: Path, users: int, seconds: int) -> Step:
    prefix = people.with_name("figures")
    memory = [0]
    ended = threading.Event()
    watching = threading.Thread(target=_watch, args=(system, memory, ended))
    watching.start()
    try:
        completed = subprocess.run(
            [
                sys.executable, "-m", "locust", "--headless", "--only-summary",
                "--csv", str(prefix),
                "--locustfile", str(Path(__file__).with_name("locustfile.py")),
                "--host", system.base_url, "--users", str(users), "--spawn-rate", str(users),
                "--run-time", f"{seconds}s", "--stop-timeout", "60", "--reset-stats",
            ],
            env=os.environ | {"LOAD_PEOPLE": str(people)}, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
    finally:
        ended.set()
        watching.join()
    rows = _figures(prefix.with_name("figures_stats.csv"))
    if "Aggregated" not in rows:
        raise SystemExit(completed.stderr)
    for line in _figures(prefix.with_name("figures_failures.csv"), by="Error"):
        print(f"{users} people: {line}", file=sys.stderr)
    waiting, started = _waiting(system), time.perf_counter()
    system.wait_until(lambda: _waiting(system) == 0, PATIENCE_S, "all are searchable")
    put_off = sum(int(row["Request Count"]) for row in rows.values() if row["Type"] == "429")
    return Step(
        users=users,
        rows=rows,
        put_off=put_off,
        memory=f"{memory[0] / 2**20:,.0f} MiB",
        waiting=waiting,
        drained_s=time.perf_counter() - started,
    )


def _figures(file: Path, by: str = "Name") -> dict[str, dict[str, str]]:
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    return {row[by] if row.get("Type") != "429" else f"429 {row[by]}": row for row in rows}


def _watch(system: RunningSystem, most: list[int], ended: threading.Event) -> None:
    """What all processes of the system hold together, at most; shared pages count once."""
    assert system.process is not None
    supervisor = psutil.Process(system.process.pid)
    while not ended.wait(1.0):
        processes: list[Any] = [supervisor, *supervisor.children(recursive=True)]
        total = 0
        for process in processes:
            try:
                total += process.memory_full_info().pss
            except psutil.NoSuchProcess:
                continue
        most[0] = max(most[0], total)


def _waiting(system: RunningSystem) -> int:
    """The photos that are not searchable yet."""
    ((count,),) = system.query(
        "SELECT count(*) FROM gallery_photo WHERE state <> 'failed' AND NOT EXISTS (SELECT FROM"
        " search_photoindexing WHERE photo_id = gallery_photo.id AND indexed_at IS NOT NULL)"
    )
    return int(count)


if __name__ == "__main__":
    main()
