"""Milvus Lite keeps what it acknowledged, however it ends."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pymilvus import MilvusClient  # noqa: TID251 - the server is tested, not the application

from t2isearch.embedded.child import Child, python_environment
from t2isearch.embedded.milvus import MilvusLite
from t2isearch.embedded.service import free_port, wait_for_service
from t2isearch.embedded.state import Layout


@contextmanager
def running(root: Path) -> Iterator[tuple[MilvusClient, Child]]:
    layout = Layout(root)
    layout.create()
    milvus = MilvusLite(layout.milvus, port=free_port())
    child = Child(milvus.program(), layout, python_environment(layout))
    child.start()
    try:
        wait_for_service(milvus, child)
        client = MilvusClient(milvus.address)
        try:
            yield client, child
        finally:
            client.close()
    finally:
        child.stop()


@pytest.mark.parametrize("killed", [True, False])
def test_what_was_inserted_is_there_after_a_restart(tmp_path: Path, *, killed: bool) -> None:
    with running(tmp_path) as (client, child):
        client.create_collection("photos", dimension=4)
        client.insert("photos", [{"id": key, "vector": [key, 1, 0, 0]} for key in range(100)])
        if killed:
            record = Layout(tmp_path).process(child.name).read_text()
            os.killpg(json.loads(record)["pid"], signal.SIGKILL)
    with running(tmp_path) as (client, _):
        client.load_collection("photos")
        assert client.query("photos", output_fields=["count(*)"])[0]["count(*)"] == 100


def test_it_closes_its_files_when_asked_to_stop(tmp_path: Path) -> None:
    with running(tmp_path) as (_, child):
        pass
    assert child.last_lines()[-1] == "Shutting down..."
