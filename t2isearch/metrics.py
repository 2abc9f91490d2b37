"""Figures for Prometheus (`/metrics`).

What happened is counted from the rows of PostgreSQL when it is asked for, so it is right for any
number of processes and survives their restarts; only requests and the parts of searches are counted
in the process that answers (one web process, see docs/operations.md).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

from django.conf import settings
from django.db.models import Avg, Count, F, Q
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from gallery.models import DiscardedFile, Photo
from search import milvus, status
from search.models import PhotoIndexing, SearchIndex
from t2isearch.counters import latency, registry, requests

RECENT = timedelta(minutes=5)
LOCAL = {"127.0.0.1", "::1"}


class MetricsMiddleware:
    """Counts and times requests by the name of their view: never by path, which is unbounded."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        started = time.perf_counter()
        response = self.get_response(request)
        match = request.resolver_match
        view = (match.view_name or match._func_path) if match else "none"
        method = request.method if request.method in METHODS else "other"
        requests.labels(view, method, str(response.status_code)).inc()
        latency.labels(view).observe(time.perf_counter() - started)
        return response


METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


class Facts(Collector):
    """What the database and Milvus say at this moment."""

    def collect(self) -> Iterator[Metric]:
        yield from _queues()
        yield from _photos()
        yield from _indexing()
        yield from _milvus()
        yield from _workers()


registry.register(Facts())


def _queues() -> Iterator[Metric]:
    waiting = status.work_waiting()
    length = GaugeMetricFamily(
        "t2isearch_waiting", "Pieces of work that wait for a worker.", labels=["work"]
    )
    age = GaugeMetricFamily(
        "t2isearch_waiting_oldest_seconds", "How long the oldest of them waits.", labels=["work"]
    )
    now = timezone.now()
    for name, work in (
        ("render", waiting.to_render),
        ("index", waiting.to_index),
        ("delete_vectors", waiting.deletions),
    ):
        length.add_metric([name], work.number)
        since = (now - work.since).total_seconds() if work.since else 0.0
        age.add_metric([name], max(0.0, since))
    length.add_metric(["delete_files"], DiscardedFile.objects.count())
    return iter([length, age])


def _photos() -> Iterator[Metric]:
    photos = GaugeMetricFamily("t2isearch_photos", "Photos by state.", labels=["state"])
    counts = dict(Photo.objects.values_list("state").annotate(Count("pk")).order_by())
    for state in Photo.State:
        photos.add_metric([str(state.value)], counts.get(state.value, 0))
    yield photos
    failures = GaugeMetricFamily(
        "t2isearch_failed_photos", "Photos that failed, by reason.", labels=["step", "reason"]
    )
    rendering = Photo.objects.filter(state=Photo.State.FAILED)
    indexing = PhotoIndexing.objects.filter(
        index__status=SearchIndex.Status.ACTIVE, state=PhotoIndexing.State.FAILED
    )
    for step, rows in (("render", rendering), ("index", indexing)):
        # The most frequent: reasons are texts, and their number must have an end.
        found = rows.values_list("error").annotate(number=Count("pk")).order_by("-number", "error")
        for reason, number in found[:20]:
            failures.add_metric([step, reason], number)
    yield failures


def _indexing() -> Iterator[Metric]:
    """Of the active generation, over the last minutes."""
    since = timezone.now() - RECENT
    done = PhotoIndexing.objects.filter(
        index__status=SearchIndex.Status.ACTIVE, indexed_at__gte=since
    )
    facts = done.aggregate(
        number=Count("pk"),
        # A photo that was there before is indexed anew: no one waited for it from its upload.
        latency=Avg(
            F("indexed_at") - F("photo__created_at"), filter=Q(photo__created_at__gte=since)
        ),
    )
    yield GaugeMetricFamily(
        "t2isearch_embeddings_per_second",
        "Embeddings written a second, over the last five minutes.",
        value=facts["number"] / RECENT.total_seconds(),
    )
    searchable = GaugeMetricFamily(
        "t2isearch_upload_to_searchable_seconds",
        "Mean from upload to searchable of the photos added in the last five minutes.",
    )
    if facts["latency"] is not None:
        searchable.add_metric([], facts["latency"].total_seconds())
    yield searchable


def _milvus() -> Iterator[Metric]:
    up = GaugeMetricFamily("t2isearch_milvus_up", "Whether Milvus answers.")
    took = GaugeMetricFamily("t2isearch_milvus_ping_seconds", "How long Milvus took to answer.")
    started = time.perf_counter()
    try:
        milvus.ping()
    except Exception:  # whatever is wrong with it, the other figures are wanted
        up.add_metric([], 0)
    else:
        up.add_metric([], 1)
        took.add_metric([], time.perf_counter() - started)
    return iter([up, took])


def _workers() -> Iterator[Metric]:
    found = status.workers()
    living = sum(worker.lives for worker in found.workers)
    yield GaugeMetricFamily("t2isearch_workers", "Workers that live.", value=living)
    yield GaugeMetricFamily(
        "t2isearch_unserved_queues", "Queues that no living worker serves.",
        value=len(found.unserved),
    )  # fmt: skip


@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """404 to all but this machine itself, or who brings METRICS_TOKEN where that is set."""
    if not _may(request):
        return HttpResponse(status=404)
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _may(request: HttpRequest) -> bool:
    if settings.METRICS_TOKEN:
        sent = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return secrets.compare_digest(sent.encode(), settings.METRICS_TOKEN.encode())
    # A proxy on this machine speaks for anybody.
    forwarded = {"X-Forwarded-For", "X-Forwarded-Host", "Forwarded", "X-Real-Ip"}
    proxied = any(name in request.headers for name in forwarded)
    return request.META.get("REMOTE_ADDR") in LOCAL and not proxied
