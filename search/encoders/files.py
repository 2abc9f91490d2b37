"""Derived files under ENCODER_CACHE_DIR: written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from t2isearch.files import discard, make_directory


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Write to a file beside ``path`` that takes its place once written without an error.

    Readers see the old content or the new, never a part, however many processes write.
    """
    make_directory(path.parent)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        if path.is_dir():
            discard(path)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
