"""`python -m t2isearch.embedded.milvus_server DATA PORT`: Milvus Lite, with a log of our own.

It writes down what it could not do, with the values that it was given.
"""

from __future__ import annotations

import logging
import sys

from milvus_lite.adapter.grpc.server import run_server  # type: ignore[import-untyped]

from t2isearch.redaction import Redacting


def main(data: str, port: str) -> None:
    handler = logging.StreamHandler()
    handler.addFilter(Redacting())
    logging.basicConfig(
        handlers=[handler],
        level=logging.WARNING,
        format="{asctime} {levelname} {name}: {message}",
        style="{",
    )
    run_server(data, host="127.0.0.1", port=int(port))


if __name__ == "__main__":
    main(*sys.argv[1:])
