"""What it costs to decode in a child process, against decoding here.

    python -m benchmarks.decoding [--rounds 40]

The two ways alternate, so that whatever else the machine does meets both; the CPU time (of both
processes together, a mean) is what stays the same on a busy machine. A file in memory is copied
once for the decoder, one on disk is opened anew. The second table says what starting a decoder
takes and what an idle one holds after this work.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import psutil
from django.conf import settings

from benchmarks.ingest import KINDS, pictures
from benchmarks.measuring import print_table

MOST_PIXELS = 120_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    settings.configure(
        USE_TZ=True,
        TIME_ZONE="UTC",
        MAX_PIXELS=MOST_PIXELS,
        DECODE_TIMEOUT_S=30.0,
        DECODE_PATIENCE_S=60.0,
        DECODE_MEMORY_BYTES=24 * MOST_PIXELS + 1024**3,
    )
    from gallery.decoding.pool import pool
    from gallery.decoding.service import probe
    from gallery.formats import register_formats

    register_formats()
    rows = []
    for kind, size in KINDS.items():
        rows += _rows(kind, next(pictures(size, 1)), rounds)
    print_table(
        ("photo", "step", "here ms", "in a child ms", "ratio", "CPU here", "CPU in a child"), rows
    )
    print()

    idle = psutil.Process(pool()._idle[-1].pid).memory_full_info()
    starts = []
    content = next(pictures((40, 30), 1))
    for _round in range(5):
        pool().end()
        started = time.perf_counter()
        probe(io.BytesIO(content))
        starts.append(time.perf_counter() - started)
    figures = [
        ["start and first small picture", f"{statistics.median(starts) * 1e3:.0f} ms"],
        ["memory of an idle decoder, its own", f"{idle.uss / 1024**2:.0f} MiB"],
        ["with its share of what several use", f"{idle.pss / 1024**2:.0f} MiB"],
    ]
    print_table(("a decoder", ""), figures)


def _rows(kind: str, content: bytes, rounds: int) -> list[list[str]]:
    from gallery.decoding.service import probe, render
    from gallery.probing import probe_picture
    from gallery.renditions import make_renditions

    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        ways: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
            "check the upload, in memory": (
                lambda: probe_picture(io.BytesIO(content), max_pixels=MOST_PIXELS),
                lambda: probe(io.BytesIO(content)),
            ),
            "check the upload, on disk": (
                lambda: probe_picture(file, max_pixels=MOST_PIXELS),
                lambda: probe(file),
            ),
            "make both renditions": (
                lambda: make_renditions(io.BytesIO(content)),
                lambda: render(io.BytesIO(content)),
            ),
        }
        return [
            [kind, step, *_compared(here, in_child, rounds)]
            for step, (here, in_child) in ways.items()
        ]


def _compared(here: Callable[[], Any], in_child: Callable[[], Any], rounds: int) -> list[str]:
    times: tuple[list[float], list[float]] = ([], [])
    cpu = [0.0, 0.0]
    for number in range(rounds + 1):
        for way, call in enumerate((here, in_child)):
            used, started = _cpu_seconds(), time.perf_counter()
            call()
            if number:  # the first one is not counted
                times[way].append((time.perf_counter() - started) * 1e3)
                cpu[way] += (_cpu_seconds() - used) * 1e3 / rounds
    alone, apart = (statistics.median(each) for each in times)
    return [f"{alone:.1f}", f"{apart:.1f}", f"{apart / alone:.2f}", *(f"{ms:.1f}" for ms in cpu)]


def _cpu_seconds() -> float:
    from gallery.decoding.pool import pool

    own = time.process_time()
    if not pool()._idle:
        return own
    used = psutil.Process(pool()._idle[-1].pid).cpu_times()
    return own + used.user + used.system


if __name__ == "__main__":
    main()
