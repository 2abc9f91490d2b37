"""A backup is put into an empty system, and the photos are found there again."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, default_storage
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from gallery.file_verification import stray_files
from gallery.models import DiscardedFile, Photo
from gallery.processing import process_due_photos, remove_discarded_files, render_again
from gallery.querysets import trash_cutoff
from gallery.removal import files_held
from gallery.services import add_photo
from gallery.trash import purge_due_photos
from search import milvus
from search.models import SearchIndex
from search.tasks import work_on_runs
from t2isearch.backup import saving
from tests import s3
from tests.conftest import draw_picture

Add = Callable[[User, int], Photo]


@pytest.fixture
def committed(transactional_db: None) -> None:
    """Rows that pg_dump can see. Asked for first, before what writes rows."""


@pytest.fixture
def media(settings: Settings, tmp_path: Path) -> Path:
    """A storage of its own."""
    default = settings.STORAGES["default"]
    options = default["OPTIONS"] | {"location": tmp_path / "media"}
    settings.STORAGES = settings.STORAGES | {"default": default | {"OPTIONS": options}}
    settings.MEDIA_ROOT = tmp_path / "media"
    return tmp_path / "media"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backup"


def run(command: str, folder: Path, *options: str) -> str:
    said = StringIO()
    call_command(command, str(folder), *options, stdout=said, stderr=said)
    return said.getvalue()


def restore(folder: Path, *options: str) -> str:
    """Into the empty system, without its search."""
    return run("restore", folder, "--no-index", *options)


def refusal(command: str, folder: Path, *options: str) -> CommandError:
    with pytest.raises(CommandError) as refused:
        run(command, folder, *options)
    return refused.value


def add(owner: User, number: int) -> Photo:
    """A photo with its renditions."""
    file = ContentFile(draw_picture(number), name="a.jpg")
    photo = add_photo(owner=owner, file=file, filename=f"{number}.jpg").photo
    process_due_photos(for_seconds=60)
    photo.refresh_from_db()
    assert photo.state == "ready"
    return photo


def lose_everything(media: Path) -> None:
    call_command("flush", interactive=False, verbosity=0)
    shutil.rmtree(media)
    assert not User.objects.exists()


def manifest_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return content


def listed_in(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "files.jsonl").read_text().splitlines()]


def stored(media: Path) -> set[str]:
    return {str(path.relative_to(media)) for path in media.rglob("*") if path.is_file()}


def named() -> set[str]:
    rows = Photo.objects.values_list("original", "thumbnail", "preview")
    return {name for row in rows for name in row if name}


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def test_photos_are_found_again_after_a_restore(
    committed: None,
    media: Path,
    ann: User,
    add: Add,
    index: SearchIndex,
    folder: Path,
) -> None:
    photos = [add(ann, number) for number in (1, 2, 3)]
    names = [photo.original.name for photo in photos]
    content = photos[0].original.read()
    assert "3 photos, 9 files saved" in run("backup", folder)

    # Nothing is left: neither rows nor files nor vectors.
    milvus.drop_collection(index.collection_name)
    lose_everything(media)

    said = run("restore", folder)
    assert "3 photos, 9 files are back" in said
    assert "put them back from PostgreSQL" in said
    work_on_runs()
    ids = [photo.pk for photo in photos]
    assert milvus.present_ids(index.collection_name, ids) == set(ids)

    client = Client()
    assert client.login(username="ann", password="correct horse battery")
    found = client.get("/api/v1/search/?q=a+white+circle&weak=true").json()["results"]
    assert {result["photo"]["id"] for result in found} == set(ids)
    again = Photo.objects.get(pk=ids[0])
    assert (again.original.name, again.original.read()) == (names[0], content)
    # Keys go on where they were.
    assert add(User.objects.get(), 4).pk > max(ids)


def test_photos_in_s3_are_saved_and_put_back(
    committed: None, bucket: str, ann: User, folder: Path
) -> None:
    photo, lost = add(ann, 1), add(ann, 2)
    content = photo.original.read()
    default_storage.delete(str(lost.original.name))
    names = s3.names_in(bucket)
    assert f"photo {lost.pk}: original missing" in str(refusal("backup", folder))
    call_command("flush", interactive=False, verbosity=0)
    s3.empty(bucket)
    call_command("prepare_storage", stdout=StringIO())

    assert refusal("restore", folder, "--no-index").returncode == 3
    assert s3.names_in(bucket) == names
    assert Photo.objects.get(pk=photo.pk).original.read() == content


def test_rows_and_files_are_of_one_moment(
    committed: None, media: Path, ann: User, folder: Path
) -> None:
    """Beside it people upload, delete for good and have photos rendered again."""
    for number in range(12):
        add(ann, number)
    steps: list[str] = []
    copied = threading.Event()

    def go_on() -> None:
        try:
            for step in range(12):
                copied.wait(5)
                copied.clear()
                oldest = Photo.objects.order_by("pk").first()
                assert oldest is not None
                Photo.objects.filter(pk=oldest.pk).update(trashed_at=trash_cutoff())
                purge_due_photos(for_seconds=5)
                render_again(Photo.objects.order_by("pk").last() or oldest)
                add(ann, 100 + step)
                DiscardedFile.objects.update(due_at=timezone.now())
                steps.append(f"{remove_discarded_files()} removed")
        finally:
            connection.close()

    save_file = saving._save_file

    def save_slowly(*args: Any) -> Any:
        copied.set()
        if len(steps) < 12 and other.is_alive():
            other.join(0.05)
        return save_file(*args)

    other = threading.Thread(target=go_on)
    other.start()
    with patch.object(saving, "_save_file", save_slowly):
        run("backup", folder)
    other.join()
    assert len(steps) == 12
    assert "0 removed" in steps  # while it ran, and so the test is of it

    manifest, listed = manifest_of(folder), listed_in(folder)
    assert (manifest["missing"], manifest["damaged"], manifest["faults"]) == (0, 0, [])
    assert manifest["files"] == len(listed) == 3 * manifest["photos"]
    assert {each["name"] for each in listed} == stored(folder / "media")
    assert manifest["bytes"] == sum(
        (folder / "media" / each["name"]).stat().st_size for each in listed
    )

    # What waited for the end of the backup goes after it.
    DiscardedFile.objects.update(due_at=timezone.now())
    remove_discarded_files()
    assert stored(media) == named()

    lose_everything(media)
    restore(folder)
    assert Photo.objects.count() == manifest["photos"]
    assert stored(media) == named() == {each["name"] for each in listed}


def test_files_wait_for_the_end_of_a_backup_without_an_attempt(
    committed: None, media: Path, ann: User
) -> None:
    add(ann, 1).delete()
    with files_held():
        assert remove_discarded_files() == 0
        assert len(stored(media)) == DiscardedFile.objects.filter(attempts=0).count() == 3
        assert not DiscardedFile.objects.filter(due_at__lte=timezone.now()).exists()
    DiscardedFile.objects.update(due_at=timezone.now())
    assert remove_discarded_files() == 3


def test_one_backup_at_a_time(committed: None, media: Path, folder: Path) -> None:
    with files_held():
        assert "Another backup is under way" in str(refusal("backup", folder))
    assert not folder.exists()
    run("backup", folder)


def test_a_backup_that_is_killed_holds_nothing_up(
    committed: None, media: Path, ann: User, folder: Path
) -> None:
    add(ann, 1).delete()
    connection.close()  # a connection has one process
    if (child := os.fork()) == 0:
        with patch.object(saving, "write_manifest", lambda *_: os.kill(os.getpid(), 9)):
            run("backup", folder)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9
    assert "no complete backup" in str(refusal("restore", folder))
    removed = 0
    for _ in range(600):  # PostgreSQL notices in its own time
        DiscardedFile.objects.update(due_at=timezone.now())
        if removed := remove_discarded_files():
            break
        time.sleep(0.05)
    assert removed == 3


def test_what_is_missing_or_damaged_is_named(
    committed: None, media: Path, ann: User, folder: Path
) -> None:
    gone, damaged, cut, fine = (add(ann, number) for number in range(4))
    (media / str(gone.original.name)).unlink()
    flip_a_byte(media / str(damaged.original.name))
    (media / str(cut.preview.name)).write_bytes(cut.preview.read()[:-100])
    bad_bytes = (media / str(damaged.original.name)).read_bytes()

    said = refusal("backup", folder)
    assert said.returncode == 3
    assert "1 files are missing or can't be read, and 2 are damaged" in str(said)
    manifest = manifest_of(folder)
    assert (manifest["photos"], manifest["files"]) == (4, 11)
    assert (manifest["missing"], manifest["damaged"]) == (1, 2)
    found = {(each["photo"], each["kind"], each["fault"]) for each in manifest["faults"]}
    assert found == {
        (gone.pk, "original", "missing"),
        (damaged.pk, "original", "damaged"),
        (cut.pk, "preview", "damaged"),
    }
    for fault in manifest["faults"]:
        assert fault["name"] in str(said)

    # It is complete all the same: what it said itself is no reason to refuse it.
    lose_everything(media)
    said = refusal("restore", folder, "--no-index")
    assert said.returncode == 3
    assert "Photos that lack files: 1. Damaged when they were saved: 2." in str(said)
    assert (media / str(damaged.original.name)).read_bytes() == bad_bytes
    assert Photo.objects.get(pk=fine.pk).original.read()
    assert stored(media) == named() - {gone.original.name}


@pytest.mark.parametrize(
    ("damage", "named_as"),
    [
        (lambda folder, photo: flip_a_byte(folder / "media" / str(photo.preview.name)), "changed"),
        (lambda folder, photo: (folder / "media" / str(photo.original.name)).unlink(), "missing"),
    ],
)
def test_damage_of_the_backup_itself_is_noticed_before_anything_is_written(
    committed: None,
    media: Path,
    ann: User,
    folder: Path,
    damage: Callable[[Path, Photo], None],
    named_as: str,
) -> None:
    photo = add(ann, 1)
    run("backup", folder)
    damage(folder, photo)
    (folder / "media" / "originals" / "stray.jpg").write_bytes(b"not listed")
    lose_everything(media)
    said = str(refusal("restore", folder, "--no-index"))
    assert named_as in said
    assert "1 files of the backup" in said
    assert not media.exists()
    assert not User.objects.exists()

    with suppress(CommandError):  # where a photo lacks a file, it says so
        restore(folder, "--accept-damage")
    assert User.objects.get() == ann
    assert stored(media) <= named()


def test_a_dump_that_was_cut_is_noticed_and_never_half_restored(
    committed: None, media: Path, ann: User, folder: Path
) -> None:
    run("backup", folder)
    dump = folder / "database.dump"
    dump.write_bytes(dump.read_bytes()[: dump.stat().st_size // 2])
    call_command("flush", interactive=False, verbosity=0)
    assert "database.dump: changed" in str(refusal("restore", folder, "--no-index"))
    with pytest.raises(CommandError, match="could not be restored"):
        restore(folder, "--accept-damage")
    assert not User.objects.exists()


@pytest.mark.parametrize("name", ["../outside.jpg", "/etc/hostname", "originals/../../x", "link"])
def test_a_list_never_leads_out_of_the_folder(
    committed: None, media: Path, ann: User, folder: Path, name: str
) -> None:
    add(ann, 1)
    run("backup", folder)
    (folder.parent / "outside.jpg").write_bytes(b"secret")
    (folder / "media" / "link").symlink_to(folder.parent / "outside.jpg")
    listed = folder / "files.jsonl"
    line = json.dumps({**listed_in(folder)[0], "name": name, "sha256": "0" * 64})
    listed.write_text(listed.read_text() + line + "\n")
    manifest = manifest_of(folder) | {
        "files_sha256": hashlib.sha256(listed.read_bytes()).hexdigest()
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    lose_everything(media)
    said = refusal("restore", folder, "--no-index", "--accept-damage")
    assert "would lie elsewhere" in str(said)
    assert not media.exists()
    assert not User.objects.exists()


def test_a_backup_without_a_list_is_put_back(
    committed: None, media: Path, ann: User, folder: Path
) -> None:
    """As earlier versions made them."""
    gone, _ = add(ann, 1), add(ann, 2)
    run("backup", folder)
    (folder / "files.jsonl").unlink()
    (folder / "media" / str(gone.original.name)).unlink()
    (folder / "media" / "originals" / "stray.jpg").write_bytes(b"of a deleted photo")
    old = {"version": "0.1.0", "photos": 2, "files": 5, "missing": 1}
    (folder / "manifest.json").write_text(json.dumps(old))
    lose_everything(media)
    said = StringIO()
    with pytest.raises(CommandError, match="Photos that lack files: 1"):
        call_command("restore", str(folder), "--no-index", stdout=said, stderr=said)
    assert "2 photos, 5 files are back" in said.getvalue()
    assert "1 files in the storage belong to nothing" in said.getvalue()
    assert Photo.objects.count() == 2
    assert list(stray_files()) == []  # it is too new to be sure


def test_a_restore_that_was_interrupted_can_be_done_again(
    committed: None, media: Path, ann: User, folder: Path
) -> None:
    photo = add(ann, 1)
    content = photo.original.read()
    run("backup", folder)
    lose_everything(media)
    # Killed while it wrote the first file.
    (media / str(photo.original.name)).parent.mkdir(parents=True)
    (media / str(photo.original.name)).write_bytes(content[:100])
    restore(folder)
    assert (media / str(photo.original.name)).read_bytes() == content
    assert stored(media) == named()


def test_a_backup_of_an_older_version_is_migrated(
    committed: None, media: Path, ann: User, folder: Path
) -> None:
    call_command("migrate", "gallery", "0002", verbosity=0)
    try:
        run("backup", folder)
    finally:
        call_command("migrate", verbosity=0)
    call_command("flush", interactive=False, verbosity=0)
    restore(folder)
    assert User.objects.get() == ann
    assert not ann.partial_uploads.exists()  # the table is there again


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_it_is_for_its_owner_only(
    committed: None, media: Path, ann: User, folder: Path, umask: int
) -> None:
    add(ann, 1)
    before = os.umask(umask)
    try:
        if umask == 0:
            folder.mkdir()
        run("backup", folder)
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    modes = {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()}
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    assert modes == {0o600}
    assert {path.stat().st_mode & 0o777 for path in folders} == {0o700}


def full_disk(*args: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def interrupted(*args: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("trouble", "words", "code"),
    [(full_disk, "No space left on device", 1), (interrupted, "holds no backup", 130)],
)
def test_one_that_cannot_be_completed_leaves_nothing(
    committed: None,
    media: Path,
    ann: User,
    folder: Path,
    trouble: Callable[..., None],
    words: str,
    code: int,
) -> None:
    add(ann, 1)
    with patch.object(saving, "write_manifest", trouble):
        refused = refusal("backup", folder)
    assert words in str(refused)
    assert refused.returncode == code
    assert not folder.exists()
    run("backup", folder)


def test_a_file_that_cannot_be_read_is_named(
    committed: None, media: Path, ann: User, folder: Path
) -> None:
    photo = add(ann, 1)
    open_file = FileSystemStorage.open

    def bad_sector(self: FileSystemStorage, name: str, mode: str = "rb") -> Any:
        if name == photo.original.name:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return open_file(self, name, mode)

    with patch.object(FileSystemStorage, "open", bad_sector):
        assert "original unreadable" in str(refusal("backup", folder))
    assert manifest_of(folder)["missing"] == 1
    assert len(stored(folder / "media")) == 2


def test_a_system_in_use_is_left_alone(
    committed: None, media: Path, ann: User, folder: Path
) -> None:
    run("backup", folder)
    assert "has people in it" in str(refusal("restore", folder))
    assert User.objects.get() == ann


def test_folders_that_will_not_do(db: None, media: Path, tmp_path: Path) -> None:
    note = tmp_path / "mine" / "note.txt"
    note.parent.mkdir()
    note.write_text("mine")
    assert "is not empty" in str(refusal("backup", note.parent))
    assert "can't be used: Not a directory" in str(refusal("backup", note))
    assert "where the photos are" in str(refusal("backup", media / "backup"))
    (tmp_path / "link").symlink_to(media)
    assert "where the photos are" in str(refusal("backup", tmp_path / "link" / "backup"))
    assert "no complete backup" in str(refusal("restore", note.parent))
    (note.parent / "database.dump").touch()
    assert "was interrupted" in str(refusal("backup", note.parent))
    (note.parent / "manifest.json").write_text('{"format": 99}')
    assert "newer version" in str(refusal("restore", note.parent))
