"""An S3 that speaks the real protocol over HTTP, in a process of its own (moto)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3

from t2isearch.embedded.service import free_port
from tests.fetching import fetch

KEY, SECRET, REGION = "a-key", "a-secret", "eu-west-1"
BUCKET = "photos"


@contextmanager
def running_s3(log: Path) -> Iterator[str]:
    """The address of an S3 that is empty, as long as the context lasts."""
    port = free_port()
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        while not _answers(address):
            assert server.poll() is None, log.read_text()
        yield address
    finally:
        server.terminate()
        server.wait()


def _answers(address: str) -> bool:
    try:
        return fetch(f"{address}/moto-api/").status < 500
    except OSError:
        return False


def empty(address: str) -> None:
    """Forget everything, the bucket included."""
    assert fetch(f"{address}/moto-api/reset", "POST").status == 200


def options(address: str) -> dict[str, Any]:
    """The options of the storage, as the settings make them of the environment."""
    return {
        "bucket_name": BUCKET,
        "endpoint_url": address,
        "public_endpoint_url": None,
        "region_name": REGION,
        "access_key": KEY,
        "secret_key": SECRET,
    }


def client(address: str) -> Any:
    """The S3 as its owner sees it."""
    return boto3.client(
        "s3",
        endpoint_url=address,
        region_name=REGION,
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
    )


def names_in(address: str) -> set[str]:
    """The names of all objects in the bucket."""
    found = client(address).list_objects_v2(Bucket=BUCKET).get("Contents", [])
    return {each["Key"] for each in found}
