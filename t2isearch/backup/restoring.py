"""Putting a backup back into an empty system. The vectors are not part of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from django.core.files import File
from django.core.files.storage import default_storage
from django.db import connection

from accounts.models import User
from gallery.file_verification import FaultyFile, Reading, read_blocks
from gallery.storage import store_file
from t2isearch.backup.folder import (
    DUMP,
    FILES,
    BackupError,
    Manifest,
    SavedFile,
    found_files,
    listed_files,
    path_in,
    read_manifest,
    sha256_of,
)
from t2isearch.backup.programs import restore_database
from t2isearch.progress import Report

SHOWN = 10
MISSING, CHANGED = "missing", "changed since it was saved"

ListFiles = Callable[[Path], Iterator[SavedFile]]


class DamagedBackup(BackupError):
    """The backup itself is damaged: which of its files, in words."""


def restore(folder: Path, *, accept_damage: bool, report: Report) -> Manifest:
    """Put a backup back.

    All of it is compared with its own list before anything is written. The files come first, so
    that no row is ever without its own, then the database in one transaction: whatever ends this
    leaves a system in which it can be done again. Files in the backup's folder that it does not
    list are left out.

    Raises:
        DamagedBackup: more is missing or damaged than was when it was made; not with
            `accept_damage`, which puts back what there is.
        BackupError: the folder holds no complete backup, the system is not empty, or the database
            or the storage refuses.
    """
    manifest = read_manifest(folder)
    if _is_in_use():
        raise BackupError("This system has people in it: a backup is put into an empty one only.")
    list_files, damage = _check(folder, manifest, report)
    if damage and not accept_damage:
        raise DamagedBackup(_in_words(folder, damage))
    for done, file in enumerate(_saved(list_files, folder), 1):
        if damage.get(file.name, CHANGED) == CHANGED:
            _put_back(path_in(folder, file.name), file.name)
        report(manifest.files + done, 2 * manifest.files)
    os.sync()  # no row on the disk before its file
    existing = connection.introspection.django_table_names(only_existing=True)
    connection.close()
    restore_database(folder / DUMP, replaced_tables=existing)
    return manifest


def _is_in_use() -> bool:
    if User._meta.db_table not in connection.introspection.table_names():
        return False
    return User.objects.exists()


def _check(folder: Path, manifest: Manifest, report: Report) -> tuple[ListFiles, dict[str, str]]:
    """How the files are listed, and what is wrong with the backup by the names in its folder."""
    damage: dict[str, str] = {}
    for name, sha256 in ((DUMP, manifest.dump_sha256), (FILES, manifest.files_sha256)):
        if (sha256 or name == DUMP) and (fault := _fault(folder / name, sha256)):
            damage[name] = fault
    # Backups of the first format have no list.
    list_files = listed_files if manifest.files_sha256 and FILES not in damage else found_files
    for done, file in enumerate(_saved(list_files, folder), 1):
        if fault := _fault(path_in(folder, file.name), file.sha256):
            damage[file.name] = fault
        report(done, 2 * manifest.files)
    return list_files, damage


def _saved(list_files: ListFiles, folder: Path) -> Iterator[SavedFile]:
    """Those that the backup has a copy of."""
    return (file for file in list_files(folder) if not (file.fault and file.sha256 is None))


def _fault(path: Path, sha256: str | None) -> str:
    """What is wrong with a file of the backup; empty for nothing."""
    if not path.is_file():
        return MISSING
    try:
        return CHANGED if sha256 and sha256_of(path) != sha256 else ""
    except OSError as error:
        return f"unreadable ({error.strerror})"


def _in_words(folder: Path, damage: dict[str, str]) -> str:
    shown = [f"  {name}: {what}" for name, what in list(damage.items())[:SHOWN]]
    if len(damage) > SHOWN:
        shown.append(f"  and {len(damage) - SHOWN} more")
    first = f"{len(damage)} files of the backup {folder} are not as they were saved:"
    last = (
        "Nothing was restored. Take another backup, or --accept-damage to put back what there is "
        "of this one."
    )
    return "\n".join([first, *shown, last])


def _put_back(path: Path, name: str) -> None:
    """Store the file; one that is there already, whole, stays as it is."""
    try:
        if default_storage.exists(name):
            if _stored_sha256(name) == sha256_of(path):
                return
            default_storage.delete(name)
        with path.open("rb") as content:
            store_file(name, File(content))
    except Exception as error:  # storages raise whatever they like
        raise BackupError(f"{name} could not be put back: {error}") from error


def _stored_sha256(name: str) -> str:
    reading = Reading()
    try:
        for block in read_blocks(name):
            reading.add(block)
    except FaultyFile:
        return ""
    return reading.sha256
