"""How the cost of a search grows with the photos and the people, on Milvus Lite and on a server.

    python -m benchmarks.scale [--rows 10000 100000] [--owners 1 100 10000] [--engine lite server]

The server is Milvus 2.3.5 of `make milvus-server`. Embeddings of 512 dimensions lie in clusters
around a common direction, as CLIP's do. A search asks for a person's 310 nearest photos, as that of
the page does; recall@20 is measured against brute force over the same person's photos. `load` is
the rate at which rows are written until they are searchable as a sealed, indexed collection;
`memory` is what all of the engine's processes hold afterwards; `again` how long the first search
takes after a restart (Lite). An engine that answers no search within 120 seconds is given up.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from benchmarks.measuring import configure, print_table

DIMENSION = 512
CLUSTERS = 500
SEARCHES = 100
K = 20
# `search.ranking` for the first page: `FIRST_DEPTH` and ten more.
ASKED = 310
PAGE = 2_000
COLLECTION = "scale"


@dataclass
class Engine:
    """A running Milvus: how to stop it, start it again on the same data, and find its memory."""

    name: str
    stack: ExitStack
    data: Path

    def start(self) -> None:
        from search import milvus

        uri = getattr(self, f"_start_{self.name}")()
        configure(
            MILVUS_URI=uri,
            MILVUS_TOKEN="",
            MILVUS_PARTITIONS=None,
            MILVUS_TIMEOUT_S=600.0,
            MILVUS_SEARCH_TIMEOUT_S=120.0,
        )
        milvus.disconnect()

    def restart(self) -> None:
        self.stack.close()
        self.start()

    def memory_bytes(self) -> int:
        """Of all processes that were started from here."""
        started = psutil.Process().children(recursive=True)
        return sum(process.memory_info().rss for process in started)

    def _start_lite(self) -> str:
        from t2isearch.embedded.child import Child, python_environment
        from t2isearch.embedded.milvus import MilvusLite
        from t2isearch.embedded.service import free_port, wait_for_service
        from t2isearch.embedded.state import Layout

        layout = Layout(self.data)
        layout.create()
        service = MilvusLite(layout.milvus, free_port())
        child = Child(service.program(), layout, python_environment(layout))
        child.start()
        self.stack.callback(child.stop)
        wait_for_service(service, child)
        return service.address

    def _start_server(self) -> str:
        from tests.milvus_server import find_binary, running_milvus_server

        binary = find_binary()
        assert binary, "there is no Milvus server: `make milvus-server` installs one"
        return self.stack.enter_context(running_milvus_server(binary, self.data / "server"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--owners", type=int, nargs="+", default=[1, 100, 10_000])
    parser.add_argument("--engine", nargs="+", choices=["lite", "server"], default=["lite"])
    arguments = parser.parse_args()
    configure()
    from search.milvus import MilvusUnavailable

    table = []
    for engine_name in arguments.engine:
        for rows in arguments.rows:
            for owners in arguments.owners:
                with (
                    tempfile.TemporaryDirectory(prefix="t2isearch-bench-") as folder,
                    ExitStack() as stack,
                ):
                    engine = Engine(engine_name, stack, Path(folder))
                    engine.start()
                    try:
                        measured = _measured(engine, rows, owners)
                    except MilvusUnavailable as error:
                        print(error, file=sys.stderr, flush=True)
                        measured = ["no answer", *[""] * 5]
                table.append([engine_name, f"{rows:,}", f"{owners:,}", *measured])
                print(table[-1], file=sys.stderr, flush=True)
    print_table(
        ("engine", "photos", "people", "load", "p50", "p95", "recall@20", "memory", "again"), table
    )


def _measured(engine: Engine, rows: int, owners: int) -> list[str]:
    from search import milvus

    vectors = _embeddings(rows)
    owner_of = np.arange(rows) % owners
    milvus.ensure_collection(COLLECTION, DIMENSION)
    started = time.perf_counter()
    for page in _pages(rows):
        entries = [
            milvus.Entry(number, int(owner_of[number]) + 1, milvus.NO_TIME, vectors[number])
            for number in page
        ]
        # Sealed now and then, as a refill does.
        milvus.upsert(COLLECTION, entries, seal=page.stop % (5 * PAGE) == 0 or page.stop == rows)
    if engine.name == "server":
        _seal_server()
    load = rows / (time.perf_counter() - started)

    generator = np.random.default_rng(1)
    times, recalls = [], []
    for number in generator.integers(0, rows, SEARCHES + 3):
        query = _normalised(vectors[number] + 0.03 * generator.normal(size=DIMENSION))
        mine = np.flatnonzero(owner_of == owner_of[number])
        nearest = mine[np.argsort(-(vectors[mine] @ query))[:K]]
        before = time.perf_counter()
        hits = milvus.search(COLLECTION, query, owner_id=int(owner_of[number]) + 1, limit=ASKED)
        times.append((time.perf_counter() - before) * 1e3)
        recalls.append(
            len({hit.photo_id for hit in hits[:K]} & set(nearest.tolist())) / len(nearest)
        )
    memory = engine.memory_bytes()
    again = ""
    if engine.name == "lite":
        engine.restart()
        before = time.perf_counter()
        milvus.search(COLLECTION, query, owner_id=int(owner_of[number]) + 1, limit=K)
        again = f"{time.perf_counter() - before:.1f} s"
    return [
        f"{load:,.0f}/s",
        *(f"{np.percentile(times[3:], share):.1f} ms" for share in (50, 95)),
        f"{np.mean(recalls[3:]):.3f}",
        f"{memory / 2**20:,.0f} MiB",
        again,
    ]


def _seal_server() -> None:
    """Flush and wait for the index, as a server does by itself in time."""
    from django.conf import settings
    from pymilvus import MilvusClient  # noqa: TID251 - measured

    client = MilvusClient(uri=settings.MILVUS_URI, timeout=600)
    client.flush(COLLECTION, timeout=600)
    while client.describe_index(COLLECTION, "embedding").get("pending_index_rows", 0):
        time.sleep(0.5)
    client.close()


def _pages(rows: int) -> Iterator[range]:
    for start in range(0, rows, PAGE):
        yield range(start, min(start + PAGE, rows))


def _embeddings(rows: int) -> NDArray[np.float32]:
    """Rows of unit length; the cosine of two is about 0.5, and 0.85 within a cluster."""
    generator = np.random.default_rng(0)
    common = _normalised(generator.normal(size=DIMENSION))
    centres = common + _normalised(generator.normal(size=(CLUSTERS, DIMENSION)))
    vectors = np.empty((rows, DIMENSION), dtype=np.float32)
    for page in _pages(rows):
        clusters = generator.integers(0, CLUSTERS, len(page))
        noise = 0.6 * _normalised(generator.normal(size=(len(page), DIMENSION)))
        vectors[page] = _normalised(centres[clusters] + noise)
    return vectors


def _normalised(rows: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True), dtype=np.float32)


if __name__ == "__main__":
    main()
