"""A storage that is full, read-only or away: said in words, and no photo's fault."""

from __future__ import annotations

import errno
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.test import Client
from django.utils import timezone
from PIL import Image
from pytest_django import Settings

from accounts.models import User
from gallery import processing
from gallery.decoding.pool import pool
from gallery.decoding.service import DecodersKilled
from gallery.models import DiscardedFile, Photo
from gallery.processing import (
    GAVE_UP,
    fail_abandoned_photos,
    process_due_photos,
    process_photo,
)
from gallery.services import add_photo
from gallery.storage import StorageFull, StorageUnavailable, outage_of
from t2isearch.leases import Outages, claim
from tests.conftest import draw_picture
from tests.gallery.pictures import saved

LARGE = saved(Image.effect_noise((400, 400), 90), "PNG")  # some 150 KB


@pytest.fixture
def client(client: Client, ann: User) -> Client:
    client.force_login(ann)
    return client


@pytest.fixture(params=["no room", "no inode", "read-only"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own that takes nothing more."""
    options = {"no room": "size=32k", "no inode": "nr_inodes=2", "read-only": "size=1m"}
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options[request.param], "tmpfs", str(folder)]
    if (
        sys.platform != "linux"
        or subprocess.run(mount, capture_output=True, check=False).returncode
    ):
        pytest.skip("no file system can be mounted here")
    if request.param == "read-only":
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    elif request.param == "no inode":
        (folder / "x").touch()
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def in_words(response: Any) -> None:
    assert response.status_code in {503, 507}
    assert response["Retry-After"] == "60"
    if "json" in response["Content-Type"]:
        body = response.json()
        assert body["status"] == response.status_code
        sentence = body["detail"]
    else:
        sentence = response.content.decode()
    full, away = "The storage of this site is full", "stored or read right now"
    assert (full if response.status_code == 507 else away) in sentence.replace("&#x27;", "'")


def post_photo(client: Client) -> Any:
    return client.post("/api/v1/photos/", {"file": SimpleUploadedFile("a.png", LARGE)})


def post_picture(client: Client) -> Any:
    return client.post("/search/picture/", {"picture": SimpleUploadedFile("a.png", LARGE)})


def patch_piece(client: Client) -> Any:
    tus = {"Tus-Resumable": "1.0.0"}
    begun = client.post("/api/v1/uploads/", headers=tus | {"Upload-Length": str(len(LARGE))})
    return client.patch(
        begun["Location"], LARGE, content_type="application/offset+octet-stream",
        headers=tus | {"Upload-Offset": "0"},
    )  # fmt: skip


def test_the_media_folder(client: Client, disk: Path, settings: Settings) -> None:
    options = settings.STORAGES["default"] | {"OPTIONS": {"location": disk / "media"}}
    settings.STORAGES = settings.STORAGES | {"default": options}
    for post in (post_photo, patch_piece):
        in_words(post(client))
    assert not Photo.objects.exists()


def test_the_folder_of_uploads_in_pieces(client: Client, disk: Path, settings: Settings) -> None:
    settings.UPLOADS_ROOT = disk / "uploads"
    in_words(patch_piece(client))


@pytest.mark.parametrize("post", [post_photo, post_picture])
def test_the_temporary_folder(
    client: Client, disk: Path, settings: Settings, post: Callable[[Client], Any]
) -> None:
    settings.FILE_UPLOAD_TEMP_DIR = str(disk)
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 0
    in_words(post(client))
    assert not Photo.objects.exists()


def test_without_any_temporary_folder(
    client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python finds none when all of them are full."""
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 0
    monkeypatch.setattr(tempfile, "tempdir", None)
    nowhere = FileNotFoundError(errno.ENOENT, "No usable temporary directory found")
    with patch("tempfile._get_default_tempdir", side_effect=nowhere):
        in_words(post_photo(client))


def test_files_that_can_not_be_read_now(client: Client, ann: User) -> None:
    photo = ready(ann)
    with patch.object(FileSystemStorage, "_open", side_effect=OSError(errno.EIO, "I/O error")):
        in_words(client.get(f"/photos/{photo.pk}/thumbnail/"))
        in_words(client.post("/photos/download/", {"ids": str(photo.pk)}))
        in_words(client.get("/export/"))


def test_what_is_an_outage() -> None:
    assert type(outage_of(OSError(errno.ENOSPC, ""))) is StorageFull
    assert type(outage_of(OSError(errno.EROFS, ""))) is StorageUnavailable
    for other in (FileNotFoundError(errno.ENOENT, ""), BrokenPipeError(), ValueError()):
        assert outage_of(other) is None


# The worker


def waiting(owner: User, number: int = 1) -> Photo:
    file = ContentFile(draw_picture(number), name="a.jpg")
    return add_photo(owner=owner, file=file, filename="a.jpg").photo


def ready(owner: User) -> Photo:
    photo = waiting(owner)
    process_due_photos(for_seconds=30)
    photo.refresh_from_db()
    assert photo.state == "ready"
    return photo


FAULTS: dict[str, Callable[[], Any]] = {
    "full": lambda: patch.object(FileSystemStorage, "_save", side_effect=OSError(errno.ENOSPC, "")),
    "reading": lambda: patch.object(FileSystemStorage, "_open", side_effect=OSError(errno.EIO, "")),
    "stalls": lambda: patch.object(FileSystemStorage, "_open", side_effect=TimeoutError),
    "database": lambda: patch.object(processing, "announce", side_effect=OperationalError("away")),
    "processes": lambda: patch("subprocess.Popen", side_effect=OSError(errno.EAGAIN, "fork")),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_outage_counts_for_nothing_however_long(
    ann: User, settings: Settings, fault: str
) -> None:
    photo = waiting(ann)
    if fault == "processes":
        pool().end()
    with FAULTS[fault]():
        for _ in range(3 * settings.WORK_MAX_ATTEMPTS):
            process_due_photos(for_seconds=30)
            photo.refresh_from_db()
            assert (photo.state, photo.attempts) == ("processing", 0)
            assert photo.due_at > timezone.now()
            Photo.objects.update(due_at=timezone.now())
    process_due_photos(for_seconds=30)
    photo.refresh_from_db()
    assert photo.state == "ready"


def test_pauses_grow_with_each_outage_in_a_row(db: None, settings: Settings) -> None:
    settings.WORK_BACKOFF = timedelta(seconds=4)
    DiscardedFile.objects.create(name="x")
    outages = Outages()

    def pause() -> float:
        DiscardedFile.objects.update(due_at=timezone.now())
        [row] = claim(DiscardedFile.objects.all(), limit=1)
        outages.put_off(row)
        row.refresh_from_db()
        assert row.attempts == 0
        return (row.due_at - timezone.now()).total_seconds()

    pauses = [pause() for _ in range(20)]
    assert 1 < pauses[0] <= 4
    assert all(299 < each <= 600 for each in pauses[10:])
    outages.over(DiscardedFile.objects.get())
    assert pause() <= 4


def test_what_has_its_decoders_killed_is_tried_a_few_times(ann: User, settings: Settings) -> None:
    """As by the kernel: it may be the picture that takes the memory of the machine."""
    photo = waiting(ann)
    with patch.object(processing, "render", side_effect=DecodersKilled("SIGKILL")):
        for _ in range(settings.WORK_MAX_ATTEMPTS):
            Photo.objects.update(due_at=timezone.now())
            process_due_photos(for_seconds=30)
    photo.refresh_from_db()
    assert (photo.state, photo.error) == ("failed", GAVE_UP)


def test_a_storage_that_is_not_mounted_is_no_photos_fault(ann: User, media: Path) -> None:
    photo = waiting(ann)
    away = media.rename(media.with_name("elsewhere"))
    media.mkdir()
    process_due_photos(for_seconds=30)
    media.rmdir()
    away.rename(media)
    photo.refresh_from_db()
    assert (photo.state, photo.attempts) == ("processing", 0)


def test_what_a_frozen_worker_brings_after_it_was_given_up(ann: User, settings: Settings) -> None:
    photo = waiting(ann)
    Photo.objects.update(attempts=settings.WORK_MAX_ATTEMPTS - 1)
    [claimed] = claim(Photo.objects.all(), limit=1)
    Photo.objects.update(due_at=timezone.now())  # it was frozen for longer than its lease
    assert fail_abandoned_photos() == 1
    process_photo(claimed)
    photo.refresh_from_db()
    assert (photo.state, photo.error) == ("ready", "")
    assert not DiscardedFile.objects.exists()


def test_an_import_stops_where_there_is_no_room(ann: User, tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(draw_picture(number))
    with FAULTS["full"](), pytest.raises(CommandError, match="Stopped after 0 of 3 files, 0 added"):
        call_command("import_photos", str(tmp_path), user="ann")
    assert not Photo.objects.exists()
