"""Saving the system while it runs.

Rows and files are of one moment: pg_dump and the list of files see the same snapshot, and from
before it until all files are copied none is removed (`gallery.removal`).
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO

from django.conf import settings
from django.core.files.storage import default_storage
from django.db import Error, connection, transaction
from django.utils import timezone

from gallery.file_verification import (
    Fault,
    FaultyFile,
    NamedFile,
    Reading,
    named_files,
    read_blocks,
    with_named_files,
)
from gallery.models import Photo
from gallery.removal import FilesHeldElsewhere, files_held
from gallery.storage import StorageUnavailable
from t2isearch import __version__
from t2isearch.backup.folder import (
    DUMP,
    FILES,
    FORMAT,
    MANIFEST,
    MEDIA,
    BackupError,
    Manifest,
    SavedFile,
    as_line,
    sha256_of,
    write_manifest,
)
from t2isearch.backup.programs import dump_database
from t2isearch.progress import Report

# How often the hold on the files is looked at.
CONFIRM_EVERY_S = 20.0


def backup(folder: Path, *, report: Report) -> Manifest:
    """Save the system into `folder`, which must be empty or not exist yet.

    Files that are missing in the storage, or damaged there, are named in the manifest; without them
    the backup is complete. One that can't be completed leaves nothing in `folder`.

    Raises:
        BackupError
    """
    _check_place(folder)
    connection.ensure_connection()  # where the database is away, that is what is said
    try:
        with _for_the_owner_only(), _all_or_nothing(folder), files_held() as confirm_hold:
            manifest = _save(folder, confirm_hold, report)
            write_manifest(folder, manifest)
    except FilesHeldElsewhere as error:
        raise BackupError("Another backup is under way: wait for its end.") from error
    except StorageUnavailable as error:
        raise BackupError(str(error)) from error
    except OSError as error:
        raise BackupError(f"{folder} can't be written to: {error.strerror or error}.") from error
    except Error as error:
        raise BackupError(f"The database failed: {str(error).splitlines()[0]}") from error
    return manifest


def _check_place(folder: Path) -> None:
    target = folder.resolve()
    for place in _saved_places():
        if target.is_relative_to(place):
            raise BackupError(
                f"{folder} lies in {place}, where the photos are: choose another folder."
            )
    if not folder.exists():
        return
    try:
        content = {path.name for path in folder.iterdir()}
    except OSError as error:
        raise BackupError(f"{folder} can't be used: {error.strerror}.") from error
    if content:
        unfinished = DUMP in content and MANIFEST not in content
        hint = " A backup into it was interrupted: remove that first." if unfinished else ""
        raise BackupError(f"{folder} is not empty.{hint}")


def _saved_places() -> Iterator[Path]:
    yield Path(settings.MEDIA_ROOT).resolve()
    with suppress(NotImplementedError):  # a bucket
        yield Path(default_storage.path("")).resolve()


@contextmanager
def _for_the_owner_only() -> Iterator[None]:
    """Whatever is made, by the programs that are started as well, is nobody else's to read."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def _all_or_nothing(folder: Path) -> Iterator[None]:
    """Make the folder; where it can't be completed, take back what was put into it."""
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if folder.stat().st_uid == os.geteuid():
            folder.chmod(0o700)
        (folder / MEDIA).mkdir()
        yield
    except BaseException:
        shutil.rmtree(folder / MEDIA, ignore_errors=True)
        with suppress(OSError):
            for name in (DUMP, FILES, f"{MANIFEST}.part"):
                (folder / name).unlink(missing_ok=True)
            if is_new:
                folder.rmdir()
        raise


def _save(folder: Path, confirm_hold: Callable[[], None], report: Report) -> Manifest:
    size = 0
    faulty: list[SavedFile] = []
    with tempfile.TemporaryFile("w+", dir=folder) as names, (folder / FILES).open("xb") as listed:
        photos, total = _save_rows(folder / DUMP, names)
        names.seek(0)
        confirmed_at = time.monotonic()
        for done, line in enumerate(names, 1):
            saved = _save_file(NamedFile(**json.loads(line)), folder / MEDIA)
            listed.write(as_line(saved))
            size += saved.size or 0
            if saved.fault:
                faulty.append(saved)
            if time.monotonic() - confirmed_at > CONFIRM_EVERY_S:
                confirm_hold()
                confirmed_at = time.monotonic()
            report(done, total)
    confirm_hold()
    missing = sum(file.size is None for file in faulty)
    return Manifest(
        version=__version__,
        photos=photos,
        files=total - missing,
        missing=missing,
        format=FORMAT,
        created_at=timezone.now().isoformat(),
        bytes=size,
        damaged=len(faulty) - missing,
        dump_sha256=sha256_of(folder / DUMP),
        files_sha256=sha256_of(folder / FILES),
        faults=[asdict(file) for file in faulty],
    )


def _save_rows(dump: Path, names: IO[str]) -> tuple[int, int]:
    """Dump the database and list the files that it names; how many photos and files."""
    photos = files = 0
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        cursor.execute("SELECT pg_export_snapshot()")
        (snapshot,) = cursor.fetchone()
        dump_database(dump, snapshot=snapshot)
        for photo in with_named_files(Photo.objects.all()).iterator(chunk_size=1000):
            photos += 1
            for file in named_files(photo):
                files += 1
                names.write(json.dumps(asdict(file)) + "\n")
    return photos, files


def _save_file(file: NamedFile, media: Path) -> SavedFile:
    target = media / file.name
    target.parent.mkdir(parents=True, exist_ok=True)
    reading = Reading()
    try:
        with target.open("xb") as copy:
            for block in read_blocks(file.name):
                reading.add(block)
                copy.write(block)
    except FaultyFile as faulty:
        target.unlink()
        return SavedFile(file.name, file.photo, file.kind, None, None, faulty.fault)
    fault = "" if reading.fits(file) else Fault.DAMAGED
    return SavedFile(file.name, file.photo, file.kind, reading.size, reading.sha256, fault)
