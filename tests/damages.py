"""What may happen to a file on a disk."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

_CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda content: b"",
    "halved": lambda content: content[: len(content) // 2],
    "zeroed": lambda content: bytes(len(content)),
    "random": lambda content: random.Random(1).randbytes(len(content)),
    "no text": lambda content: b"\xff\xfe" + content[2:],
    "another JSON": lambda content: b'[["one"], {"properties": 3}]',
    "a number": lambda content: b"42",
}
DAMAGES = (*_CHANGES, "removed", "a directory")


def damage(file: Path, how: str) -> None:
    """Do to a file, or to each file below a directory, one of `DAMAGES`."""
    if file.is_dir():
        for each in [path for path in file.rglob("*") if path.is_file()]:
            damage(each, how)
        return
    if how in _CHANGES:
        # In place, as a failing disk would: who has it open sees it.
        with file.open("rb+") as opened:
            content = opened.read()
            opened.seek(0)
            opened.truncate()
            opened.write(_CHANGES[how](content))
        return
    file.unlink()
    if how == "a directory":
        file.mkdir()
        (file / "within").touch()


def remove(path: Path) -> None:
    """Remove whatever lies there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
