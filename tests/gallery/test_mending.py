"""Uploading the same bytes again mends a photo whose files were lost or damaged."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from gallery.models import DiscardedFile, Photo
from gallery.partial_uploads import append, start_upload
from gallery.processing import (
    DAMAGED,
    MISSING,
    process_due_photos,
    process_photo,
    remove_discarded_files,
    render_again,
)
from gallery.services import add_photo
from tests.conftest import draw_picture
from tests.gallery.test_provisional import files

PICTURE = draw_picture(1)


@pytest.fixture
def photo(ann: User) -> Photo:
    """A photo with its renditions."""
    file = ContentFile(PICTURE, name="a.jpg")
    photo = add_photo(owner=ann, file=file, filename="a.jpg").photo
    process_due_photos(for_seconds=30)
    photo.refresh_from_db()
    return photo


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "gone": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(PICTURE[:-100]),
    "of the same size": flip_a_bit,
    "with all others": lambda path: shutil.rmtree(path.parents[2]),
}


def by_api(owner: User, _folder: Path) -> None:
    client = Client()
    client.force_login(owner)
    response = client.post("/api/v1/photos/", {"file": SimpleUploadedFile("b.jpg", PICTURE)})
    assert (response.status_code, response.json()["duplicate"]) == (200, True)
    assert response.json()["status"] == "processing"


def in_pieces(owner: User, folder: Path) -> None:
    upload = start_upload(owner=owner, length=len(PICTURE), filename="b.jpg")
    upload = append(upload, at=0, body=io.BytesIO(PICTURE))
    assert (upload.state, upload.duplicate) == ("added", True)


def by_command(owner: User, folder: Path) -> None:
    (folder / "pictures").mkdir()
    (folder / "pictures" / "b.jpg").write_bytes(PICTURE)
    call_command("import_photos", str(folder / "pictures"), user="ann", stdout=StringIO())


def is_mended(photo: Photo, media: Path) -> bool:
    process_due_photos(for_seconds=30)
    remove_discarded_files()
    photo.refresh_from_db()
    assert (photo.state, photo.error, photo.trashed_at) == ("ready", "", None)
    assert photo.original.read() == PICTURE
    assert not DiscardedFile.objects.exists()
    return files(media) == {photo.original.name, photo.thumbnail.name, photo.preview.name}


@pytest.fixture(autouse=True)
def _uploads(settings: Settings, tmp_path: Path) -> None:
    settings.UPLOADS_ROOT = tmp_path / "uploads"


@pytest.mark.parametrize("again", [by_api, in_pieces, by_command])
@pytest.mark.parametrize("damage", DAMAGES)
def test_an_original(
    ann: User, photo: Photo, media: Path, tmp_path: Path, damage: str,
    again: Callable[[User, Path], None],
) -> None:  # fmt: skip
    DAMAGES[damage](media / str(photo.original.name))
    again(ann, tmp_path)
    assert is_mended(photo, media)
    assert photo.filename == "a.jpg"


@pytest.mark.parametrize("damage", ["gone", "of the same size"])
@pytest.mark.parametrize("trashed", [True, False])
def test_a_photo_that_failed_for_it(
    ann: User, photo: Photo, media: Path, tmp_path: Path, damage: str, trashed: bool
) -> None:
    now = timezone.now()
    Photo.objects.update(state="processing", due_at=now, trashed_at=now if trashed else None)
    DAMAGES[damage](media / str(photo.original.name))
    process_due_photos(for_seconds=30)
    photo.refresh_from_db()
    assert (photo.state, photo.error) == ("failed", MISSING if damage == "gone" else DAMAGED)
    by_api(ann, tmp_path)
    assert is_mended(photo, media)


@pytest.mark.parametrize("rendition", ["thumbnail", "preview"])
def test_renditions_that_are_gone(
    ann: User, photo: Photo, media: Path, tmp_path: Path, rendition: str
) -> None:
    (media / str(getattr(photo, rendition).name)).unlink()
    by_api(ann, tmp_path)
    assert is_mended(photo, media)


def test_what_is_whole_stays_as_it_is(ann: User, photo: Photo, media: Path) -> None:
    before = files(media)
    file = ContentFile(PICTURE, name="a.jpg")
    assert add_photo(owner=ann, file=file, filename="a.jpg").photo.state == "ready"
    assert files(media) == before
    assert not DiscardedFile.objects.exists()


def test_a_damaged_original_makes_no_renditions(photo: Photo, media: Path) -> None:
    flip_a_bit(media / str(photo.original.name))
    with pytest.raises(Exception, match="damaged"):
        render_again(photo)
    assert photo.thumbnail.name in files(media)


def test_a_worker_that_read_the_damaged_one_does_not_fail_the_mended(
    ann: User, photo: Photo, media: Path, tmp_path: Path
) -> None:
    Photo.objects.update(state="processing")
    (media / str(photo.original.name)).unlink()
    stale = Photo.objects.get()
    by_api(ann, tmp_path)
    process_photo(stale)
    assert Photo.objects.get().state == "processing"
    assert is_mended(photo, media)
