"""Derived files: whatever lies in the way of one is removed, since it can be made anew."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path


def discard(path: Path) -> None:
    """Remove a file, a link or a directory with all that is in it; an absent one is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(FileNotFoundError, NotADirectoryError):
        path.unlink()


def make_directory(path: Path, mode: int = 0o700) -> None:
    """Have a directory at `path`, in the place of anything else that lies there."""
    try:
        path.mkdir(mode=mode, parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        if path.parent.exists() and not path.parent.is_dir():
            make_directory(path.parent, mode)
        discard(path)
        path.mkdir(mode=mode, exist_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Have a file of this text at `path`, whatever lies there now; its owner's only."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    candidate = Path(name)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        if path.is_dir():
            discard(path)
        candidate.replace(path)
    except BaseException:
        candidate.unlink(missing_ok=True)
        raise
