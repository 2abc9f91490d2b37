"""Removing what a dropped generation holds."""

from __future__ import annotations

from search import milvus
from search.models import IndexRun

PAGE_SIZE = 5000


def drop_step(run: IndexRun) -> bool:
    """Drop the collection, then one page of rows; returns whether it was the last.

    Raises MilvusUnavailable.
    """
    milvus.drop_collection(run.index.collection_name)
    page = run.index.indexings.order_by("pk").values_list("pk", flat=True)[:PAGE_SIZE]
    deleted, _ = run.index.indexings.filter(pk__in=list(page)).delete()
    run.findings["rows"] = run.findings.get("rows", 0) + deleted
    return deleted < PAGE_SIZE
