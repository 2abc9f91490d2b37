"""Looking for near-duplicates in a large gallery: how long it takes and what the worker then holds.

    .venv/bin/python -m benchmarks.duplicates [--photos 10000 50000] [--dimension 512]

Random embeddings and random pictures, every hundredth photo a copy of the one before it. The scan
is worked on in turns, as the worker does it; `of reading` is the part of the time in which the
embeddings are read from PostgreSQL.
"""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack

import psutil

from benchmarks.measuring import print_table
from benchmarks.services import add_rows, start_services

EVERY = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, nargs="+", default=[10_000, 50_000])
    parser.add_argument("--dimension", type=int, default=512)
    arguments = parser.parse_args()
    with ExitStack() as stack:
        start_services(stack)
        table = [
            [f"{photos:,}", *_measured(photos, arguments.dimension)] for photos in arguments.photos
        ]
    print_table(("photos", "seconds", "of reading", "turns", "groups", "memory"), table)


def _measured(count: int, dimension: int) -> list[str]:
    from gallery.models import Photo
    from search import duplicates
    from search.models import PhotoIndexing, SearchIndex
    from search.tasks import TURN_SECONDS

    SearchIndex.objects.all().delete()
    index = SearchIndex.objects.create(
        encoder="random", revision="1", dimension=dimension, collection_name="none", status="active"
    )
    (person,) = add_rows(index, count, owners=1, name=f"n{count}-")
    keys = list(Photo.objects.owned_by(person).order_by("pk").values_list("pk", flat=True))
    for first, second in zip(keys[::EVERY], keys[1::EVERY], strict=True):
        original = PhotoIndexing.objects.get(photo_id=first)
        PhotoIndexing.objects.filter(photo_id=second).update(embedding=original.embedding)
    Photo.objects.owned_by(person).update(placeholder=_PLACEHOLDER)

    reading = [0.0]
    read = duplicates._embeddings

    def timed(*arguments: object) -> object:
        started = time.perf_counter()
        try:
            return read(*arguments)  # type: ignore[arg-type]
        finally:
            reading[0] += time.perf_counter() - started

    duplicates._embeddings = timed  # type: ignore[assignment]
    try:
        scan = duplicates.start_scan(person)
        assert scan is not None
        started, turns = time.perf_counter(), 1
        while duplicates.work_on_scans(for_seconds=TURN_SECONDS):
            turns += 1
        spent = time.perf_counter() - started
    finally:
        duplicates._embeddings = read
    scan.refresh_from_db()
    assert scan.state == scan.State.DONE, scan.state
    memory = psutil.Process().memory_info().rss / 2**20
    groups = duplicates.groups_of(scan)
    assert len(duplicates._components(scan.pairs)) == count // EVERY
    return [
        f"{spent:.1f}", f"{reading[0]:.1f}", str(turns), str(len(groups)), f"{memory:,.0f} MiB",
    ]  # fmt: skip


# One picture for all: the vectors alone tell them apart.
_PLACEHOLDER = "data:image/webp;base64,UklGRiQAAABXRUJQVlA4IBgAAAAwAQCdASoBAAEAAgA0JaQAA3AA/vuUAAA="


if __name__ == "__main__":
    main()
