from __future__ import annotations

import pytest
from pytest_django import Settings

from search import milvus
from search.checks import collection_matches
from search.models import SearchIndex


def found(databases: list[str] | None) -> list[str]:
    return [str(message.id) for message in collection_matches(databases=databases)]


def test_a_collection_of_the_encoders_dimension_is_fine(index: SearchIndex) -> None:
    assert found(["default"]) == []


def test_another_dimension_is_an_error(index: SearchIndex) -> None:
    SearchIndex.objects.update(dimension=512)
    (error,) = collection_matches(databases=["default"])
    assert error.id == "search.E001"
    assert index.collection_name in error.msg
    assert "32 dimensions, its encoder 512" in error.msg
    assert found(None) == []  # without the database nothing can be said


def test_nothing_to_compare_is_no_error(index: SearchIndex) -> None:
    milvus.drop_collection(index.collection_name)
    assert found(["default"]) == []
    SearchIndex.objects.all().delete()
    assert found(["default"]) == []


@pytest.mark.usefixtures("index")
def test_an_outage_is_a_warning(settings: Settings) -> None:
    settings.MILVUS_URI, settings.MILVUS_TIMEOUT_S = "http://127.0.0.1:9", 0.5
    milvus.disconnect()
    try:
        assert found(["default"]) == ["search.W001"]
    finally:
        milvus.disconnect()
