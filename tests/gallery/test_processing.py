from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
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
from PIL.ExifTags import Base
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from accounts.models import User
from gallery import processing, tasks
from gallery.models import DiscardedFile, Photo
from gallery.processing import (
    DAMAGED,
    GAVE_UP,
    MISSING,
    fail_abandoned_photos,
    photos_wait,
    process_due_photos,
    process_photo,
    remove_discarded_files,
)
from gallery.services import add_photo, change_photo, retry_photo
from gallery.signals import photo_ready, photo_retried
from t2isearch.leases import claim
from tests.conftest import draw_picture
from tests.gallery.pictures import exif_with, quartered, saved

TAKEN = datetime(2021, 7, 4, 12, 30, 45, tzinfo=UTC)


def files(media: Path) -> set[str]:
    return {str(path.relative_to(media)) for path in media.rglob("*") if path.is_file()}


def add(owner: User, number: int = 1, content: bytes | None = None) -> Photo:
    file = ContentFile(content or draw_picture(number), name="a.jpg")
    return add_photo(owner=owner, file=file, filename=f"{number}.jpg").photo


@pytest.fixture
def rendered_before(ann: User, media: Path) -> Photo:
    """A photo as a version rendered it that knew of no exposure."""
    exif = exif_with(
        {Base.Model: "Pixel 8"},
        {Base.FNumber: 2.0, Base.DateTimeOriginal: "2021:07:04 12:30:45"},
    )
    photo = add(ann, content=saved(quartered((1200, 800)), exif=exif.tobytes()))
    process_due_photos(for_seconds=30)
    photo.refresh_from_db()
    photo.taken_at, photo.f_number = TAKEN + timedelta(days=1), None
    photo.save()
    return photo


def test_photos_are_rendered_again(
    rendered_before: Photo, media: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    announced: list[int] = []

    def announce(photo_id: int, **_: Any) -> None:
        announced.append(photo_id)

    photo_ready.connect(announce)
    before = files(media)
    try:
        call_command("render_again")
    finally:
        photo_ready.disconnect(announce)
    assert capsys.readouterr().out == "1 made anew, 0 left as they were.\n"
    photo = Photo.objects.get()
    assert (photo.state, photo.f_number) == ("ready", 2.0)
    assert photo.taken_at == rendered_before.taken_at  # the owner said so
    assert photo.thumbnail.name not in before
    assert announced == []  # the vectors stay

    remove_discarded_files()
    assert files(media) == {photo.original.name, photo.thumbnail.name, photo.preview.name}


def test_what_cannot_be_rendered_again_stays(
    rendered_before: Photo, ben: User, media: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (media / str(rendered_before.original.name)).write_bytes(b"no picture")
    call_command("render_again", user="ann")
    out = capsys.readouterr().out
    assert out.startswith(f"0 made anew, 1 left as they were.\n  photo {rendered_before.pk}: ")
    (media / str(rendered_before.original.name)).unlink()
    call_command("render_again")
    assert capsys.readouterr().out == "0 made anew, 1 left as they were.\n"
    photo = Photo.objects.get()
    assert (photo.state, photo.thumbnail) == ("ready", rendered_before.thumbnail)
    assert not DiscardedFile.objects.exists()

    call_command("render_again", user="ben")
    call_command("render_again", "--from", str(rendered_before.pk + 1))
    assert capsys.readouterr().out == 2 * "0 made anew, 0 left as they were.\n"
    with pytest.raises(CommandError, match="no user named nobody"):
        call_command("render_again", user="nobody")


def due_now() -> None:
    Photo.objects.update(due_at=timezone.now())


class Full(OSError):
    pass


def test_a_photo_is_rendered(ann: User, media: Path) -> None:
    exif = exif_with({Base.Model: "Pixel 8"}, {Base.DateTimeOriginal: "2021:07:04 12:30:45"})
    photo = add(ann, content=saved(quartered((1200, 800)), exif=exif.tobytes()))
    assert photos_wait()
    assert process_due_photos(for_seconds=30) is False
    photo.refresh_from_db()
    assert (photo.state, photo.error, photo.attempts) == ("ready", "", 1)
    assert (photo.taken_at, photo.camera) == (TAKEN, "Pixel 8")
    assert (photo.thumbnail_width, photo.thumbnail_height) == (512, 341)
    assert photo.placeholder
    assert files(media) == {photo.original.name, photo.thumbnail.name, photo.preview.name}
    assert not photos_wait()


def test_a_turn_ends_in_time_and_says_that_there_is_more(ann: User) -> None:
    add(ann)
    assert process_due_photos(for_seconds=0) is True
    assert photos_wait()


def test_the_time_its_owner_gave_meanwhile_stays(ann: User) -> None:
    exif = exif_with(details={Base.DateTimeOriginal: "2001:01:01 00:00:00"})
    photo = add(ann, content=saved(quartered(), exif=exif.tobytes()))
    (claimed,) = claim(Photo.objects.all(), limit=1)
    change_photo(photo, taken_at=TAKEN)
    process_photo(claimed)
    photo.refresh_from_db()
    assert (photo.state, photo.taken_at) == ("ready", TAKEN)


def test_a_change_that_a_worker_overtook_is_announced(
    ann: User, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    stale = add(ann)
    process_due_photos(for_seconds=30)
    told: list[int] = []

    def listen(photo_id: int, **_: Any) -> None:
        told.append(photo_id)

    photo_ready.connect(listen)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            change_photo(stale, taken_at=TAKEN)
    finally:
        photo_ready.disconnect(listen)
    assert told == [stale.pk]


@pytest.mark.parametrize("fault", [MemoryError(), RuntimeError("a bug")])
def test_what_may_pass_is_tried_again_after_a_pause(
    ann: User, media: Path, fault: Exception
) -> None:
    photo = add(ann)
    original = files(media)
    with patch.object(processing, "render", side_effect=fault):
        process_due_photos(for_seconds=30)
    photo.refresh_from_db()
    assert (photo.state, photo.attempts) == ("processing", 1)
    assert photo.due_at > timezone.now() + timedelta(minutes=5)
    assert not photos_wait()
    assert files(media) == original
    due_now()
    process_due_photos(for_seconds=30)
    photo.refresh_from_db()
    assert (photo.state, photo.attempts) == ("ready", 2)


@pytest.mark.parametrize("fails_at", [1, 2])
def test_a_storage_that_fails_midway_keeps_no_rendition(
    ann: User, media: Path, fails_at: int
) -> None:
    add(ann)
    original, calls, save = files(media), 0, FileSystemStorage._save  # type: ignore[attr-defined]

    def filling(self: FileSystemStorage, name: str, content: Any) -> str:
        nonlocal calls
        calls += 1
        if calls < fails_at:
            return str(save(self, name, content))
        save(self, name, ContentFile(b"half"))
        raise Full

    with patch.object(FileSystemStorage, "_save", filling):
        process_due_photos(for_seconds=30)
    assert calls == fails_at
    assert files(media) == original
    assert Photo.objects.get().state == "processing"


def test_a_storage_that_stalls_is_not_the_pictures_fault(ann: User) -> None:
    photo = add(ann)
    with patch.object(FileSystemStorage, "_open", side_effect=TimeoutError):
        process_due_photos(for_seconds=30)
    photo.refresh_from_db()
    assert photo.state == "processing"


def test_after_the_last_attempt_it_has_failed_with_a_reason(ann: User, settings: Settings) -> None:
    add(ann, 1)
    with patch.object(processing, "render", side_effect=RuntimeError("a bug")):
        for _ in range(settings.WORK_MAX_ATTEMPTS):
            due_now()
            process_due_photos(for_seconds=30)
    photo = Photo.objects.get()
    assert (photo.state, photo.error) == ("failed", GAVE_UP)
    assert photo.attempts == settings.WORK_MAX_ATTEMPTS
    assert photo.problem == photo.error


def test_one_that_fails_does_not_hold_up_the_others(ann: User) -> None:
    photos = [add(ann, number) for number in range(3)]
    default_storage.delete(str(photos[0].original.name))
    Path(default_storage.path(str(photos[1].original.name))).write_bytes(b"overwritten")
    process_due_photos(for_seconds=30)
    states = list(Photo.objects.order_by("pk").values_list("state", "error"))
    assert states == [("failed", MISSING), ("failed", DAMAGED), ("ready", "")]


def test_the_retry_button(ann: User, client: Client) -> None:
    photo = add(ann)
    content = default_storage.open(str(photo.original.name)).read()
    default_storage.delete(str(photo.original.name))
    process_due_photos(for_seconds=30)
    client.force_login(ann)
    page = client.get(f"/photos/{photo.pk}/").content.decode()
    assert MISSING in page
    assert f'action="/photos/{photo.pk}/retry/"' in page

    default_storage.save(photo.original.name, ContentFile(content))
    assert client.post(f"/photos/{photo.pk}/retry/")["Location"] == f"/photos/{photo.pk}/"
    photo.refresh_from_db()
    assert (photo.state, photo.error, photo.attempts) == ("processing", "", 0)
    process_due_photos(for_seconds=30)
    photo.refresh_from_db()
    assert photo.state == "ready"


@pytest.mark.parametrize(("rendered", "announced"), [(False, False), (True, True)])
def test_only_what_has_renditions_is_retried_elsewhere(
    ann: User,
    rendered: bool,
    announced: bool,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    photo = add(ann)
    if rendered:
        process_due_photos(for_seconds=30)
        photo.refresh_from_db()
    told: list[int] = []

    def listen(photo_id: int, **_: Any) -> None:
        told.append(photo_id)

    photo_retried.connect(listen)
    try:
        with django_capture_on_commit_callbacks(execute=True):
            retry_photo(photo)
    finally:
        photo_retried.disconnect(listen)
    assert bool(told) is announced


def test_abandoned_leases(ann: User, settings: Settings) -> None:
    """A worker that is killed gives its photo back; one that always kills it fails at last."""
    photo = add(ann)
    for attempt in range(1, settings.WORK_MAX_ATTEMPTS + 1):
        assert fail_abandoned_photos() == 0
        (claimed,) = claim(Photo.objects.filter(state="processing"), limit=1)
        assert claimed.attempts == attempt
        assert not photos_wait()
        due_now()
    process_due_photos(for_seconds=30)
    photo.refresh_from_db()
    assert photo.state == "processing"  # nobody takes it up once more
    tasks.sweep()
    photo.refresh_from_db()
    assert (photo.state, photo.error) == ("failed", GAVE_UP)


def test_a_photo_that_is_deleted_while_it_is_rendered_leaves_nothing(
    ann: User, media: Path
) -> None:
    photo = add(ann)
    (claimed,) = claim(Photo.objects.all(), limit=1)
    photo.delete()
    process_photo(claimed)
    assert not Photo.objects.exists()
    assert remove_discarded_files() == 1
    assert files(media) == set()


def test_a_photo_that_is_rendered_while_it_is_deleted_leaves_nothing(
    ann: User, media: Path
) -> None:
    stale = add(ann)
    process_due_photos(for_seconds=30)
    stale.delete()  # it was read before it had renditions
    assert remove_discarded_files() == 3
    assert files(media) == set()


def test_two_workers_with_one_photo_make_it_once(ann: User, media: Path) -> None:
    add(ann)
    first = claim(Photo.objects.all(), limit=1)[0]
    due_now()
    second = claim(Photo.objects.all(), limit=1)[0]
    process_photo(second)
    process_photo(first)
    photo = Photo.objects.get()
    assert files(media) == {photo.original.name, photo.thumbnail.name, photo.preview.name}


@pytest.mark.parametrize("delete", [Photo.delete, lambda photo: photo.owner.delete()])
def test_files_are_removed_with_the_photo_or_its_owner(
    ann: User, media: Path, delete: Callable[[Photo], Any]
) -> None:
    photo = add(ann)
    process_due_photos(for_seconds=30)
    delete(photo)
    assert DiscardedFile.objects.count() == len(files(media)) == 3
    tasks.remove_discarded_files()
    assert not DiscardedFile.objects.exists()
    assert files(media) == set()


def test_a_file_that_cannot_be_removed_is_tried_again(ann: User, media: Path) -> None:
    photos = [add(ann, number) for number in range(2)]
    for photo in photos:
        photo.delete()
    stuck, remove = photos[0].original.name, FileSystemStorage.delete

    def delete(self: FileSystemStorage, name: str) -> None:
        if name == stuck:
            raise PermissionError
        remove(self, name)

    with patch.object(FileSystemStorage, "delete", delete):
        assert remove_discarded_files() == 1
    assert files(media) == {stuck}
    DiscardedFile.objects.update(due_at=timezone.now())
    assert remove_discarded_files() == 1
    assert files(media) == set()


def test_files_that_are_gone_already_are_no_error(ann: User, media: Path) -> None:
    add(ann).delete()
    shutil.rmtree(media)
    assert remove_discarded_files() == 1


def test_the_sweep_wakes_workers_for_what_was_left_behind(
    ann: User, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with (
        patch.object(tasks.render_photos, "apply_async") as render,
        patch.object(tasks.remove_discarded_files, "apply_async") as remove,
    ):
        with django_capture_on_commit_callbacks(execute=True):
            tasks.sweep()
        assert (render.call_count, remove.call_count) == (0, 0)
        add(ann)
        DiscardedFile.objects.create(name="x")
        connection.run_on_commit.clear()  # the messages about it are lost
        with django_capture_on_commit_callbacks(execute=True):
            tasks.sweep()
        assert (render.call_count, remove.call_count) == (1, 1)
