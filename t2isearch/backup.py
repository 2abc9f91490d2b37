"""Saving everything that can't be made again, PostgreSQL and the photos, and putting it back.

A backup is a folder: `database.dump` (pg_dump's custom format), `media/` with the files under their
names in the storage, and `manifest.json`, written last: a folder without it is not complete.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import IO, Any, cast

from django.core.files import File
from django.core.files.storage import default_storage
from django.db import connection

from accounts.models import User
from gallery.models import Photo
from t2isearch import __version__
from t2isearch.embedded.postgres import newest_binaries

DUMP, MEDIA, MANIFEST = "database.dump", "media", "manifest.json"
# The settings of a dump stand above these, whatever the rows below them hold.
HEADER_LINES = 30
FILE_FIELDS = ("original", "thumbnail", "preview")


class BackupError(Exception):
    """It can't be done: a sentence saying why."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds. `missing`: files that rows name and the storage does not have."""

    version: str
    photos: int
    files: int
    missing: int


def backup(folder: Path) -> Manifest:
    """Save the system into `folder`, which must be empty or not exist yet.

    The database is saved first: each of its rows then has its file, and a file that is written
    meanwhile is in no row. A photo that is deleted meanwhile is counted as missing.

    Raises:
        BackupError
    """
    if folder.exists() and any(folder.iterdir()):
        raise BackupError(f"{folder} is not empty.")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _run("pg_dump", "--format=custom", "--no-owner", f"--file={folder / DUMP}")
    files = missing = 0
    for name in _file_names():
        target = folder / MEDIA / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with default_storage.open(name, "rb") as source, target.open("wb") as copy:
                shutil.copyfileobj(source, copy, 1024 * 1024)
            files += 1
        except FileNotFoundError:
            missing += 1
    manifest = Manifest(__version__, Photo.objects.count(), files, missing)
    (folder / MANIFEST).write_text(json.dumps(asdict(manifest), indent=2) + "\n")
    return manifest


def restore(folder: Path) -> Manifest:
    """Put a backup back into an empty system. The vectors are not part of it.

    The files come first, so that no row is ever without its own; the database is restored in one
    transaction.

    Raises:
        BackupError: the folder holds no complete backup, or the system is not empty.
    """
    try:
        manifest = Manifest(**json.loads((folder / MANIFEST).read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise BackupError(f"{folder} holds no complete backup.") from error
    if _is_in_use():
        raise BackupError("This system has people in it: a backup is put into an empty one only.")
    media = folder / MEDIA
    for path in sorted(media.rglob("*")):
        name = path.relative_to(media).as_posix()
        if path.is_file() and not default_storage.exists(name):
            with path.open("rb") as content:
                default_storage.save(name, File(content), max_length=200)
    connection.close()
    _restore_database(folder / DUMP)
    return manifest


def _is_in_use() -> bool:
    if User._meta.db_table not in connection.introspection.table_names():
        return False
    return User.objects.exists()


def _file_names() -> Iterator[str]:
    rows = Photo.objects.order_by("pk").values_list(*FILE_FIELDS)
    for row in rows.iterator(chunk_size=1000):
        yield from filter(None, row)


def _restore_database(dump: Path) -> None:
    """Have psql run the dump as a script, in one transaction.

    Not pg_restore by itself: it stops at a setting that its own version writes at the beginning and
    that a server before PostgreSQL 17 does not know.
    """
    options = ("--clean", "--if-exists", "--no-owner", "--file=-")
    with tempfile.TemporaryFile() as complaints:
        reader = _start("pg_restore", *options, str(dump), stdout=PIPE, stderr=complaints)
        writer = _start(
            *("psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"),
            stdin=PIPE,
            stdout=DEVNULL,
            stderr=complaints,
        )
        script, target = cast("IO[bytes]", reader.stdout), cast("IO[bytes]", writer.stdin)
        with suppress(BrokenPipeError):  # psql has ended, and said why
            target.write(b"BEGIN;\n")
            for line in islice(script, HEADER_LINES):
                if not line.startswith(b"SET transaction_timeout"):
                    target.write(line)
            shutil.copyfileobj(script, target)
        script.close()
        # A script that was cut short is never committed.
        whole = reader.wait() == 0
        with suppress(BrokenPipeError):
            target.write(b"COMMIT;\n" if whole else b"ROLLBACK;\n")
            target.close()
        if writer.wait() or not whole:
            complaints.seek(0)
            reason = complaints.read().decode(errors="replace").strip()
            raise BackupError(f"The database could not be restored: {reason}")


def _run(program: str, *arguments: str) -> None:
    process = _start(program, *arguments, stdout=DEVNULL, stderr=PIPE)
    _, said = process.communicate()
    if process.returncode:
        raise BackupError(f"{program} failed: {said.decode(errors='replace').strip()}")


def _start(program: str, *arguments: str, **streams: Any) -> subprocess.Popen[bytes]:
    settings = connection.settings_dict
    # The password is not for the list of processes that everybody can read.
    names = {"HOST": "PGHOST", "PORT": "PGPORT", "USER": "PGUSER", "PASSWORD": "PGPASSWORD"}
    address = {ours: str(settings[key]) for key, ours in names.items() if settings.get(key)}
    return subprocess.Popen(  # noqa: S603 - its arguments are ours
        [newest_binaries() / program, *arguments],
        env=os.environ | address | {"PGDATABASE": str(settings["NAME"])},
        **streams,
    )
