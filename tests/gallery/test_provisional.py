"""Processes that end between storing a file and writing the row that points at it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.db import connection
from django.utils import timezone

from accounts.models import User
from gallery import tasks
from gallery.models import DiscardedFile, Photo
from gallery.processing import process_due_photos, remove_discarded_files
from gallery.services import add_photo
from tests.conftest import draw_picture


def files(media: Path) -> set[str]:
    return {str(path.relative_to(media)) for path in media.rglob("*") if path.is_file()}


def add(owner: User) -> Photo:
    file = ContentFile(draw_picture(1), name="a.jpg")
    return add_photo(owner=owner, file=file, filename="a.jpg").photo


def killed_after_storing(count: int, work: Any) -> None:
    """Do `work` in a process of its own that is killed once it has stored so many files."""
    store, stored = FileSystemStorage.save, 0

    def save(self: FileSystemStorage, *args: Any, **kwargs: Any) -> str:
        nonlocal stored
        name = store(self, *args, **kwargs)
        stored += 1
        if stored == count:
            os.kill(os.getpid(), 9)
        return name

    connection.close()  # a connection has one process
    if (child := os.fork()) == 0:
        with patch.object(FileSystemStorage, "save", save):
            work()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9


def time_passes() -> None:
    DiscardedFile.objects.update(due_at=timezone.now())
    Photo.objects.update(due_at=timezone.now())


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.django_db(transaction=True)
def test_a_worker_that_is_killed_leaves_no_rendition(media: Path, count: int) -> None:
    photo = add(User.objects.create_user("ann", "ann@example.com", "x"))
    killed_after_storing(count, lambda: process_due_photos(for_seconds=30))
    assert len(files(media)) == 1 + count
    assert remove_discarded_files() == 0  # not before it is certain
    time_passes()
    tasks.remove_discarded_files()
    assert files(media) == {photo.original.name}
    process_due_photos(for_seconds=30)
    photo.refresh_from_db()
    assert files(media) == {photo.original.name, photo.thumbnail.name, photo.preview.name}
    assert not DiscardedFile.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_an_upload_that_is_killed_leaves_no_original(media: Path) -> None:
    ann = User.objects.create_user("ann", "ann@example.com", "x")
    killed_after_storing(1, lambda: add(ann))
    assert len(files(media)) == 1
    assert not Photo.objects.exists()
    time_passes()
    assert remove_discarded_files() == 1
    assert files(media) == set()


def test_files_that_are_being_removed_are_not_pointed_at(ann: User, media: Path) -> None:
    """A worker that was away for so long that the sweep has begun to clear up after it."""
    photo = add(ann)
    store = FileSystemStorage.save

    def save(self: FileSystemStorage, *args: Any, **kwargs: Any) -> str:
        DiscardedFile.objects.update(attempts=1)
        return store(self, *args, **kwargs)

    with patch.object(FileSystemStorage, "save", save):
        process_due_photos(for_seconds=30)
    photo.refresh_from_db()
    assert (photo.state, photo.attempts) == ("processing", 1)
    assert files(media) == {photo.original.name}
    time_passes()
    process_due_photos(for_seconds=30)
    photo.refresh_from_db()
    assert photo.state == "ready"


def test_what_cannot_be_removed_at_once_is_removed_later(ann: User, media: Path) -> None:
    with (
        patch.object(Photo, "save", side_effect=OSError("disk full")),
        patch.object(FileSystemStorage, "delete", side_effect=PermissionError),
        pytest.raises(OSError, match="disk full"),
    ):
        add(ann)
    assert len(files(media)) == 1
    time_passes()
    assert remove_discarded_files() == 1
    assert files(media) == set()
    assert not DiscardedFile.objects.exists()
