"""Files that are missing, damaged or left over are found, and mended where that can be."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from unittest.mock import patch

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from django.test import Client
from pytest_django import Settings

from accounts.models import User
from gallery import file_verification
from gallery.models import DiscardedFile, Photo
from gallery.processing import process_due_photos, remove_discarded_files, render_again
from gallery.services import add_photo
from tests import s3
from tests.conftest import draw_picture


def add(owner: User, number: int) -> Photo:
    file = ContentFile(draw_picture(number), name="a.jpg")
    photo = add_photo(owner=owner, file=file, filename=f"{number}.jpg").photo
    process_due_photos(for_seconds=60)
    photo.refresh_from_db()
    return photo


def verify(*options: str) -> tuple[int, str]:
    """The exit code and what was said."""
    said = StringIO()
    try:
        call_command("verify_files", *options, stdout=said, stderr=said)
    except SystemExit as ended:
        return int(str(ended.code)), said.getvalue()
    return 0, said.getvalue()


def change(path: Path, *, at: int = -1000) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(content)


def make_old(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"left over")
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(path, (two_days_ago, two_days_ago))


def files(media: Path) -> set[str]:
    return {str(path.relative_to(media)) for path in media.rglob("*") if path.is_file()}


def test_good_files_are_found_good(ann: User, media: Path) -> None:
    for number in range(3):
        add(ann, number)
    with patch.object(file_verification, "PAGE_SIZE", 2):
        assert verify() == verify("--quick") == (0, "photos: 3\n")


@pytest.mark.parametrize("options", [[], ["--quick"]])
def test_a_lost_original_is_told_to_its_owner_and_the_photo_is_shown(
    ann: User, media: Path, client: Client, options: list[str]
) -> None:
    photo = add(ann, 1)
    (media / str(photo.original.name)).unlink()
    code, said = verify(*options)
    assert code == 1
    assert f"photo {photo.pk}: original missing, {photo.original.name}" in said
    photo.refresh_from_db()
    assert photo.error == ""  # without --repair it only looks
    assert verify("--repair", *options)[0] == 1
    photo.refresh_from_db()
    assert photo.problem == "The stored original is gone. Upload the photo again to restore it."
    client.force_login(ann)
    page = client.get(photo.get_absolute_url()).content.decode()
    assert "Upload the photo again" in page
    assert 'data-testid="retry"' not in page  # nothing but the file helps
    assert client.get("/").context["failed"] == 1
    assert not client.get("/timeline/tiles/").json()["items"][0]["retryable"]
    told = client.post("/photos/retry/", follow=True).content.decode()
    assert "The stored original of 1 photo is lost or damaged. Upload the photo again." in told
    assert client.get(f"/photos/{photo.pk}/preview/").status_code == 200


def test_a_damaged_original_is_found_by_its_hash(ann: User, media: Path) -> None:
    photo = add(ann, 1)
    change(media / str(photo.original.name))
    assert verify("--quick")[0] == 0
    code, said = verify("--repair")
    assert code == 1
    assert "damaged originals: 1" in said
    photo.refresh_from_db()
    assert photo.problem == "The stored original is damaged. Upload the photo again to repair it."
    # What was made from it before is not made again from what is left of it.
    (media / str(photo.preview.name)).unlink()
    verify("--repair")
    assert Photo.objects.get().preview.name == photo.preview.name

    # Put back by hand: the next look takes the words back.
    change(media / str(photo.original.name))
    assert verify("--repair")[0] == 0
    assert Photo.objects.get().problem == ""


def remove(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def zero_the_end(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-500] + bytes(500))


@pytest.mark.parametrize("damage", [remove, cut, empty, zero_the_end])
@pytest.mark.parametrize("kind", ["thumbnail", "preview"])
def test_renditions_are_made_anew(
    ann: User, media: Path, damage: Callable[[Path], None], kind: str
) -> None:
    photo = add(ann, 1)
    damage(media / getattr(photo, kind).name)
    assert verify()[0] == 1
    code, said = verify("--repair")
    assert (code, "repaired: 1" in said) == (0, True)
    assert verify()[0] == 0
    assert (media / getattr(Photo.objects.get(), kind).name).stat().st_size > 0
    remove_discarded_files()
    assert len(files(media)) == 3


def test_files_that_belong_to_nothing_are_removed_when_they_are_old(ann: User, media: Path) -> None:
    add(ann, 1)
    add(ann, 2).delete()  # noted already: no business of ours
    kept = files(media)
    strays = {f"originals/{ann.pk}/left.jpg", "renditions/0/left.jpg", "originals/left.jpg"}
    for name in strays:
        make_old(media / name)
    (media / "originals" / str(ann.pk) / "new.jpg").write_bytes(b"on its way")
    make_old(media / "not-ours" / "note.txt")
    code, said = verify()
    assert code == 1
    assert "strays: 3" in said
    assert verify("--repair")[0] == 0
    assert set(DiscardedFile.objects.values_list("name", flat=True)) > strays
    remove_discarded_files()
    left = files(media) - kept
    assert left == {f"originals/{ann.pk}/new.jpg", "not-ours/note.txt"}


def test_in_a_bucket(bucket: str, ann: User) -> None:
    photo, other = add(ann, 1), add(ann, 2)
    default_storage.delete(str(photo.original.name))
    default_storage.delete(str(other.preview.name))
    default_storage.save(f"originals/{ann.pk}/left.jpg", ContentFile(b"left over"))
    for options in ([], ["--quick"]):
        code, said = verify(*options)
        assert code == 1
        assert "missing originals: 1" in said
        assert "missing previews: 1" in said
    with patch("gallery.file_verification.timezone.now", _in_two_days):
        assert "strays: 1" in verify("--repair")[1]
    remove_discarded_files()
    assert f"originals/{ann.pk}/left.jpg" not in s3.names_in(bucket)
    assert verify("--user", "ann")[1].count("missing") == 2  # the lost original, and its count


def _in_two_days() -> datetime:
    return datetime.now(tz=UTC) + timedelta(days=2)


def test_a_storage_that_is_away_is_told_to_nobody(
    ann: User, bucket: str, settings: Settings
) -> None:
    add(ann, 1)
    settings.STORAGES = settings.STORAGES | {
        "default": {
            "BACKEND": "gallery.bucket.PhotoBucket",
            "OPTIONS": s3.options(bucket) | {"secret_key": "another", "bucket_name": "no-such"},
        }
    }
    for options in (["--repair"], ["--repair", "--quick"]):
        with pytest.raises(CommandError):
            verify(*options)
    assert Photo.objects.get().error == ""


def test_a_volume_that_is_not_mounted_is_no_loss(ann: User, media: Path) -> None:
    add(ann, 1)
    media.rename(media.with_name("elsewhere"))
    for _ in range(2):
        with pytest.raises(CommandError, match="is its volume mounted"):
            verify("--repair")
        media.mkdir(exist_ok=True)
    assert Photo.objects.get().error == ""


def test_one_person_and_from_a_photo_on(ann: User, ben: User, media: Path) -> None:
    photos = [add(ann, 1), add(ben, 2), add(ann, 3)]
    for photo in photos:
        (media / str(photo.original.name)).unlink()
    assert "missing originals: 2" in verify("--user", "ann")[1]
    assert "missing originals: 1" in verify("--from", str(photos[2].pk))[1]
    with (
        patch.object(file_verification, "read_blocks", side_effect=KeyboardInterrupt),
        pytest.raises(CommandError, match="Go on with --from 0"),
    ):
        verify()


def test_stopped_in_the_middle_it_finishes_the_photo(ann: User, media: Path) -> None:
    photos = [add(ann, 1), add(ann, 2)]
    for photo in photos:
        (media / str(photo.thumbnail.name)).unlink()

    def stop_and_render(photo: Photo) -> bool:
        os.kill(os.getpid(), signal.SIGINT)
        return render_again(photo)

    with (
        patch.object(file_verification, "render_again", stop_and_render),
        pytest.raises(CommandError, match=f"Stopped after 1 photos.*--from {photos[0].pk}"),
    ):
        verify("--repair")
    assert "missing thumbnails: 1" in verify()[1]


def test_what_is_deleted_or_rendered_meanwhile_is_no_fault(ann: User, media: Path) -> None:
    deleted, rendered = add(ann, 1), add(ann, 2)
    find = file_verification._faults_of

    def late(photo: Photo, *, quick: bool) -> object:
        if photo.pk == deleted.pk:
            deleted.delete()
            remove_discarded_files()
        elif (media / str(rendered.preview.name)).exists():
            render_again(Photo.objects.get(pk=rendered.pk))
            remove_discarded_files()
        return find(photo, quick=quick)

    with patch.object(file_verification, "_faults_of", late):
        assert verify()[0] == 0
