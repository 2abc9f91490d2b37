"""From a query to the finished page: where the time goes, cold and cached, for one and for many.

    .venv/bin/python -m benchmarks.search [--photos 20000] [--encoder starter]

The page is asked for in this process, by the test client, without a network, with its first 50
photos (random vectors are no closer than chance: the weaker matches). `encode` and `Milvus` are the
calls of the model and of Milvus, `database` all of PostgreSQL's, `ours` the rest.
"""

from __future__ import annotations

import argparse
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from benchmarks.measuring import print_table
from benchmarks.services import add_rows, start_services

SEARCHES = 200
PARTS = ("encode", "Milvus", "database", "ours", "whole")

_spent = threading.local()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=20_000)
    parser.add_argument("--encoder", default="starter")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        start_services(stack)
        rows = _measure(arguments.encoder, arguments.photos)
    print(f"{arguments.photos} photos of one person, {arguments.encoder}; milliseconds")
    print_table(("clients", "query", "part", "p50", "p95", "p99"), rows)


def _measure(encoder: str, count: int) -> list[list[str]]:
    from django.conf import settings
    from django.test import Client

    from search import milvus
    from search.encoders import load_text_encoder
    from search.generations import prepare_index
    from search.models import IndexRun
    from search.runs import start_run, work_on

    settings.SEARCH_ENCODER = encoder
    settings.ALLOWED_HOSTS = ["testserver"]
    index, _created = prepare_index()
    (person,) = add_rows(index, count, owners=1)
    work_on(start_run(index, IndexRun.Kind.REFILL, here=True), until=float("inf"))

    text_encoder = load_text_encoder(index.encoder_info)
    text_encoder.embed_texts = _timed("encode", text_encoder.embed_texts)  # type: ignore[method-assign]
    milvus.search = _timed("Milvus", milvus.search)
    numbers = itertools.count()
    clients_of_threads = threading.local()

    def signed_in() -> Client:
        # A new client makes all middleware anew, which a server does once.
        if not hasattr(clients_of_threads, "client"):
            clients_of_threads.client = Client()
            clients_of_threads.client.force_login(person)
        client: Client = clients_of_threads.client
        return client

    def search(cold: bool) -> dict[str, float]:
        query = f"a dog on beach {next(numbers)}" if cold else "a dog on the beach"
        signed_in()
        with _measured() as spent:
            response = signed_in().get(
                "/search/", {"q": query, "weak": "true"}, headers={"HX-Request": "true"}
            )
        assert response.content.count(b'data-testid="result"') == 50, response.content
        return spent

    rows = []
    for clients, cold in itertools.product((1, 16), (True, False)):
        search(cold)
        with ThreadPoolExecutor(clients) as threads:
            list(threads.map(search, [cold] * 2 * clients))  # connections, middleware
            found = list(threads.map(search, [cold] * SEARCHES))
        for part in PARTS:
            times = [spent[part] * 1e3 for spent in found]
            percentiles = [f"{np.percentile(times, share):.1f}" for share in (50, 95, 99)]
            rows.append([str(clients), "cold" if cold else "cached", part, *percentiles])
    return rows


@contextmanager
def _measured() -> Iterator[dict[str, float]]:
    from django.db import connection

    spent = _spent.parts = dict.fromkeys(PARTS, 0.0)

    def count(execute: Callable[..., Any], *arguments: Any) -> Any:
        started = time.perf_counter()
        try:
            return execute(*arguments)
        finally:
            spent["database"] += time.perf_counter() - started

    started = time.perf_counter()
    with connection.execute_wrapper(count):
        yield spent
    spent["whole"] = time.perf_counter() - started
    spent["ours"] = spent["whole"] - spent["encode"] - spent["Milvus"] - spent["database"]


def _timed(part: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def timed(*arguments: Any, **options: Any) -> Any:
        started = time.perf_counter()
        try:
            return call(*arguments, **options)
        finally:
            if parts := getattr(_spent, "parts", None):
                parts[part] += time.perf_counter() - started

    return timed


if __name__ == "__main__":
    main()
