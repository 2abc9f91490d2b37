"""A real Milvus server for the tests, from the wheel `milvus`, which has an environment of its own.

It is Milvus 2.3 of 2023 (the last one that came as a wheel): a second check on the protocol, beside
Milvus Lite. `.venv-milvus` is made by `make milvus-server`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from t2isearch.embedded.service import free_port
from t2isearch.embedded.state import BASE_DIR

START_PATIENCE_S = 90.0


def find_binary() -> str | None:
    """`MILVUS_SERVER`, or the one that `make milvus-server` installed."""
    installed = BASE_DIR / ".venv-milvus" / "bin" / "milvus-server"
    return os.environ.get("MILVUS_SERVER") or (str(installed) if installed.exists() else None)


@contextmanager
def running_milvus_server(binary: str, data: Path) -> Iterator[str]:
    """Run the server on an empty directory, and yield its URI once it answers."""
    port = free_port()
    process = subprocess.Popen(
        [binary, "--data", str(data), "--proxy-port", str(port)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait_until_healthy(process, f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        _kill_tree(process)
        shutil.rmtree(data, ignore_errors=True)


def _wait_until_healthy(process: subprocess.Popen[bytes], uri: str) -> None:
    from pymilvus import MilvusClient, MilvusException  # noqa: TID251 - before search.milvus can

    deadline = time.monotonic() + START_PATIENCE_S
    while time.monotonic() < deadline:
        assert process.poll() is None, f"milvus-server ended with {process.returncode}"
        try:
            client = MilvusClient(uri=uri, timeout=5)
            client.list_collections(timeout=5)
        except MilvusException:
            time.sleep(0.5)
        else:
            client.close()
            return
    raise AssertionError("milvus-server did not answer in time")


def _kill_tree(process: subprocess.Popen[bytes]) -> None:
    family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for member in family:
        member.kill()
    process.wait()
