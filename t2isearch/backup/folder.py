"""What lies in the folder of a backup."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

DUMP, MEDIA, FILES, MANIFEST = "database.dump", "media", "files.jsonl", "manifest.json"
FORMAT = 2


class BackupError(Exception):
    """It can't be done: a sentence saying why."""


@dataclass(frozen=True, slots=True)
class SavedFile:
    """A line of `files.jsonl`: a file that a row of the saved database names.

    `size` and `sha256` are those of the copy, None where there is none. `fault` says what was wrong
    with the file in the storage already (`gallery.file_verification`), and is empty for most.
    """

    name: str
    photo: int
    kind: str
    size: int | None
    sha256: str | None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds. What has a default is not in those of format 1, nor is `files.jsonl`.

    `files` were saved, `bytes` long together; `missing` were not, since the storage did not give
    them; `damaged` of those that were saved are not what they should be. `faults` names both kinds.
    """

    version: str
    photos: int
    files: int
    missing: int
    format: int = 1
    created_at: str = ""
    bytes: int = 0
    damaged: int = 0
    dump_sha256: str = ""
    files_sha256: str = ""
    faults: list[dict[str, Any]] = field(default_factory=list)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Last, once all else is on the disk. The manifest is there whole or not at all."""
    os.sync()
    candidate = folder / f"{MANIFEST}.part"
    with candidate.open("x") as file:
        file.write(json.dumps(asdict(manifest), indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    candidate.rename(folder / MANIFEST)
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read_manifest(folder: Path) -> Manifest:
    """What the folder says it holds.

    Raises:
        BackupError: the folder holds no complete backup, or one of a newer version.
    """
    try:
        content = json.loads((folder / MANIFEST).read_text())
        if content.get("format", 1) > FORMAT:
            raise BackupError(f"{folder} was made by a newer version: install that one first.")
        return Manifest(**content)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise BackupError(f"{folder} holds no complete backup.") from error


def as_line(file: SavedFile) -> bytes:
    return json.dumps(asdict(file)).encode() + b"\n"


def listed_files(folder: Path) -> Iterator[SavedFile]:
    """The lines of `files.jsonl`.

    Raises:
        BackupError: a line is damaged.
    """
    with (folder / FILES).open("rb") as lines:
        for line in lines:
            try:
                yield SavedFile(**json.loads(line))
            except (ValueError, TypeError) as error:
                raise BackupError(f"{folder / FILES} is damaged.") from error


def found_files(folder: Path) -> Iterator[SavedFile]:
    """What lies in `media/`, for backups without a list."""
    media = folder / MEDIA
    for directory, _, names in os.walk(media):
        for name in names:
            path = Path(directory, name)
            yield SavedFile(path.relative_to(media).as_posix(), 0, "", None, None)


def path_in(folder: Path, name: str) -> Path:
    """Where the copy of the file `name` is.

    Raises:
        BackupError: that would be outside of the backup.
    """
    media = (folder / MEDIA).resolve()
    try:
        path = media / name
        if path.resolve() == path and path.is_relative_to(media) and path != media:
            return path
    except (TypeError, ValueError):  # no name at all
        pass
    raise BackupError(f"{folder} names a file that would lie elsewhere: {name}")


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
