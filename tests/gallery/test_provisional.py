"""Processes that end between storing a file and writing the row that points at it."""

from __future__ import annotations

import io
import os
import random
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any
from unittest.mock import patch

import psycopg
import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, default_storage
from django.db import OperationalError, connection, transaction
from django.db.backends.postgresql.base import DatabaseWrapper
from django.utils import timezone

from accounts.models import User
from gallery import tasks
from gallery.decoding.service import probe, render
from gallery.models import DiscardedFile, Photo
from gallery.processing import process_due_photos, remove_discarded_files
from gallery.services import add_photo
from tests.conftest import draw_picture


def files(media: Path) -> set[str]:
    return {str(path.relative_to(media)) for path in media.rglob("*") if path.is_file()}


def add(owner: User) -> Photo:
    file = ContentFile(draw_picture(1), name="a.jpg")
    return add_photo(owner=owner, file=file, filename="a.jpg").photo


def in_a_process(work: Callable[[], object]) -> int:
    """The exit code of a process of its own that does `work`."""
    connection.close()  # a connection has one process
    if (child := os.fork()) == 0:
        code = 1
        try:
            code = int(work() or 0)  # type: ignore[call-overload]
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


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

    with patch.object(FileSystemStorage, "save", save):
        assert in_a_process(work) == -9


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
    assert (photo.state, photo.attempts) == ("processing", 0)
    time_passes()
    tasks.remove_discarded_files()
    assert files(media) == {photo.original.name}
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


# An exception does not say whether the row was committed.


def nothing_is_lost(media: Path) -> None:
    """Each file that a row points at is there, and each other one will be removed."""
    connection.close()  # what was never committed is gone
    pointed_at = {
        name
        for names in Photo.objects.values_list("original", "thumbnail", "preview")
        for name in names
        if name
    }
    noted = set(DiscardedFile.objects.values_list("name", flat=True))
    assert pointed_at <= files(media)
    assert pointed_at & noted == set()
    assert files(media) <= pointed_at | noted


@pytest.fixture
def eve() -> User:
    """In a database in which transactions are real."""
    return User.objects.create_user("eve", "eve@example.com", "x")


def fails(error: BaseException) -> Any:
    """A stand-in for `wake`, with a hook that raises after the commit."""

    def hook() -> None:
        raise error

    return lambda _task: transaction.on_commit(hook)


@pytest.mark.parametrize("error", [RuntimeError("a bug"), KeyboardInterrupt(), SystemExit()])
@pytest.mark.django_db(transaction=True)
def test_what_fails_after_the_commit_costs_no_photo(
    eve: User, media: Path, error: BaseException
) -> None:
    with patch("gallery.services.wake", fails(error)), pytest.raises(type(error)):
        add(eve)
    photo = Photo.objects.get()
    assert files(media) == {photo.original.name}
    assert add(eve) == photo
    with (
        patch("gallery.processing.announce", lambda *_: fails(error)(None)),
        suppress(BaseException),
    ):
        process_due_photos(for_seconds=30)
    photo.refresh_from_db()
    assert photo.state == "ready"
    assert files(media) == {photo.original.name, photo.thumbnail.name, photo.preview.name}
    nothing_is_lost(media)


@pytest.mark.parametrize("committed", [True, False])
@pytest.mark.parametrize("comes_back", [True, False])
@pytest.mark.django_db(transaction=True)
def test_a_connection_that_is_lost_in_the_commit(
    eve: User, media: Path, committed: bool, comes_back: bool
) -> None:
    """The database may have done it or not. Where it can't be asked, a sweep decides later."""
    commit, away = DatabaseWrapper._commit, ExitStack()  # type: ignore[attr-defined]

    def lost(self: DatabaseWrapper) -> None:
        if not Photo.objects.exists():
            commit(self)
            return
        # In the transaction that has written the row.
        commits.stop()
        if committed:
            commit(self)
        with psycopg.connect(self.connection.info.dsn) as other:
            other.execute("SELECT pg_terminate_backend(%s)", [self.connection.info.backend_pid])
        if not comes_back:
            nobody = patch.object(DatabaseWrapper, "connect", side_effect=OperationalError("away"))
            away.enter_context(nobody)
        with self.wrap_database_errors:
            self.connection.execute("SELECT 1")

    commits = patch.object(DatabaseWrapper, "_commit", lost)
    commits.start()
    with away, pytest.raises(OperationalError):
        add(eve)
    assert Photo.objects.exists() is committed
    assert len(files(media)) == (1 if committed or not comes_back else 0)
    nothing_is_lost(media)
    time_passes()
    remove_discarded_files()
    assert len(files(media)) == int(committed)
    assert add(eve).original.read() == draw_picture(1)


def interrupted_at(moment: int, work: Callable[[], object]) -> int:
    """Do `work`, with Ctrl-C at that one of all lines that run; returns how many have."""
    lines = 0

    def trace(_frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal lines
        if event == "line":
            lines += 1
            if lines == moment:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return lines


@pytest.mark.parametrize("of", ["upload", "worker", "mending"])
@pytest.mark.django_db(transaction=True)
def test_an_interruption_at_any_moment_loses_nothing(eve: User, media: Path, of: str) -> None:
    facts, renditions = probe(io.BytesIO(draw_picture(1))), render(io.BytesIO(draw_picture(1)))

    def work() -> None:
        if of == "worker":
            process_due_photos(for_seconds=30)
        else:
            add(eve)

    def prepared() -> None:
        Photo.objects.all().delete()
        time_passes()
        remove_discarded_files()
        if of != "upload":
            photo = add(eve)
        if of == "mending":
            Path(default_storage.path(str(photo.original.name))).write_bytes(b"damaged")

    with (
        # A decoder that is interrupted is tested elsewhere.
        patch("gallery.services.check_picture", return_value=facts),
        patch("gallery.processing.render", return_value=renditions),
        patch("t2isearch.dispatch._Message.__call__"),
    ):
        prepared()
        total = interrupted_at(-1, work)
        for moment in sorted(random.Random(12).sample(range(1, total), 12)):
            prepared()
            in_a_process(partial(interrupted_at, moment, work))
            nothing_is_lost(media)
        time_passes()
        remove_discarded_files()
        work()
        assert Photo.objects.get().state == ("ready" if of == "worker" else "processing")
        nothing_is_lost(media)
