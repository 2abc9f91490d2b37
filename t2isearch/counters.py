"""What this process counts while it works, for `/metrics`. What is in rows is counted there."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

registry = CollectorRegistry()
requests = Counter(
    "t2isearch_requests",
    "Requests answered by this process.",
    ["view", "method", "status"],
    registry=registry,
)
latency = Histogram(
    "t2isearch_request_seconds",
    "Seconds until the answer of a request began.",
    ["view"],
    buckets=SECONDS,
    registry=registry,
)
cache_lookups = Counter(
    "t2isearch_cache_lookups",
    "What searches asked the cache for (query: a text's embedding; calibration: a person's).",
    ["what", "result"],
    registry=registry,
)
text_seconds = Histogram(
    "t2isearch_query_embedding_seconds",
    "Seconds that the text tower took for a query that was not in the cache.",
    buckets=SECONDS,
    registry=registry,
)
milvus_seconds = Histogram(
    "t2isearch_milvus_search_seconds",
    "Seconds that Milvus took for a search.",
    buckets=SECONDS,
    registry=registry,
)
milvus_failures = Counter(
    "t2isearch_milvus_failures",
    "Calls of Milvus that failed or were not answered in time.",
    registry=registry,
)


def count_lookup(what: str, *, found: bool) -> None:
    cache_lookups.labels(what, "hit" if found else "miss").inc()
