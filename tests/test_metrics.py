"""The figures for Prometheus, and who may read them."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import Settings

from accounts.models import User
from gallery.models import Photo
from search.models import PhotoIndexing, SearchIndex
from t2isearch.embedded.state import BASE_DIR
from tests.accounts.rows import photo_of

Add = Callable[[User, int], Photo]


def figures(client: Client) -> dict[tuple[str, str], float]:
    """The samples of /metrics by name and the values of their labels, sorted by label."""
    response = client.get("/metrics")
    assert response.status_code == 200
    return {
        (sample.name, ",".join(label for _, label in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(response.content.decode())
        for sample in family.samples
    }


def test_what_the_rows_say(client: Client, ann: User, add: Add, index: SearchIndex) -> None:
    add(ann, 1)
    broken, waiting = photo_of(ann), photo_of(ann)
    Photo.objects.filter(pk=broken.pk).update(state="failed", error="The stored original is gone.")
    found = figures(client)
    assert found["t2isearch_photos", "ready"] == 1
    assert found["t2isearch_photos", "failed"] == 1
    assert found["t2isearch_waiting", "render"] == 1
    assert found["t2isearch_waiting", "index"] == 0
    assert found["t2isearch_waiting_oldest_seconds", "render"] >= 0
    assert found["t2isearch_failed_photos", "The stored original is gone.,render"] == 1
    assert found["t2isearch_embeddings_per_second", ""] == pytest.approx(1 / 300)
    indexed = PhotoIndexing.objects.get(photo__state="ready")
    assert indexed.indexed_at is not None
    took = (indexed.indexed_at - indexed.photo.created_at).total_seconds()
    assert found["t2isearch_upload_to_searchable_seconds", ""] == pytest.approx(took)
    assert found["t2isearch_milvus_up", ""] == 1
    assert waiting.state == "processing"


def test_the_parts_of_a_search_are_counted(
    client: Client, ann: User, add: Add, index: SearchIndex
) -> None:
    add(ann, 1)
    client.force_login(ann)

    def counted() -> dict[tuple[str, str], float]:
        found = figures(client)
        return {
            key: found.get(key, 0.0)
            for key in (
                ("t2isearch_cache_lookups_total", "hit,query"),
                ("t2isearch_cache_lookups_total", "miss,query"),
                ("t2isearch_query_embedding_seconds_count", ""),
                ("t2isearch_milvus_search_seconds_count", ""),
            )
        }

    before = counted()
    for _search in range(3):
        assert client.get("/search/", {"q": "a circle"}).status_code == 200
    after = counted()
    assert [after[key] - before[key] for key in after] == [2, 1, 1, 3]


def test_the_dashboard_asks_for_figures_that_exist(
    client: Client, ann: User, add: Add, index: SearchIndex
) -> None:
    add(ann, 1)
    client.get("/metrics")
    known = {name for name, _ in figures(client)} | {"t2isearch_failed_photos"}
    dashboard = (BASE_DIR / "docs" / "grafana-dashboard.json").read_text()
    asked = set(re.findall(r"t2isearch_\w+", dashboard))
    assert len(asked) > 8
    assert asked <= known


def test_requests_are_counted_by_view_and_never_by_path(client: Client, ann: User) -> None:
    key = ("t2isearch_requests_total", "GET,404,gallery:photo")
    client.force_login(ann)
    before = figures(client).get(key, 0)
    client.get("/photos/123456/")
    client.get("/photos/123457/")
    after = figures(client)
    assert after[key] == before + 2
    assert not any("123456" in labels for _, labels in after)


def test_the_figures_are_there_without_milvus(
    client: Client, db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> str:
        raise ConnectionError("away")

    monkeypatch.setattr("search.milvus.ping", away)
    found = figures(client)
    assert found["t2isearch_milvus_up", ""] == 0
    assert ("t2isearch_photos", "ready") in found


@pytest.mark.parametrize(
    ("address", "headers"),
    [
        ("10.0.0.7", {}),
        # Through a proxy on this machine.
        ("127.0.0.1", {"X-Forwarded-For": "10.0.0.7"}),
    ],
)
def test_others_get_nothing(db: None, address: str, headers: dict[str, str]) -> None:
    client = Client(headers=headers, REMOTE_ADDR=address)
    assert client.get("/metrics").status_code == 404


def test_a_token_opens_it(db: None, settings: Settings) -> None:
    settings.METRICS_TOKEN = "a token for the figures"
    for token, status in (("a token for the figures", 200), ("anöther", 404), ("", 404)):
        client = Client(headers={"Authorization": f"Bearer {token}"}, REMOTE_ADDR="10.0.0.7")
        assert client.get("/metrics").status_code == status
    assert Client().get("/metrics").status_code == 404
