"""A backup is put into an empty system, and the photos are found there again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.test import Client

from accounts.models import User
from gallery.models import Photo
from search import milvus
from search.models import SearchIndex
from search.tasks import work_on_runs
from tests import s3

Add = Callable[[User, int], Photo]


@pytest.fixture
def committed(transactional_db: None) -> None:
    """Rows that pg_dump can see. Asked for first, before what writes rows."""


def run(command: str, folder: Path) -> str:
    said = StringIO()
    call_command(command, str(folder), stdout=said, stderr=said)
    return said.getvalue()


def test_photos_are_found_again_after_a_restore(
    committed: None, ann: User, add: Add, index: SearchIndex, tmp_path: Path
) -> None:
    photos = [add(ann, number) for number in (1, 2, 3)]
    names = [photo.original.name for photo in photos]
    content = photos[0].original.read()
    folder = tmp_path / "backup"
    assert "3 photos, 9 files saved" in run("backup", folder)

    # Nothing is left: neither rows nor files nor vectors.
    milvus.drop_collection(index.collection_name)
    call_command("flush", interactive=False, verbosity=0)
    shutil.rmtree(settings.MEDIA_ROOT)
    assert not User.objects.exists()

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
    committed: None, bucket: str, ann: User, add: Add, tmp_path: Path
) -> None:
    photo = add(ann, 1)
    content = photo.original.read()
    names = s3.names_in(bucket)
    assert "1 photos, 3 files saved" in run("backup", tmp_path / "backup")
    call_command("flush", interactive=False, verbosity=0)
    s3.empty(bucket)
    call_command("prepare_storage", stdout=StringIO())

    assert "1 photos, 3 files are back" in run("restore", tmp_path / "backup")
    assert s3.names_in(bucket) == names
    assert Photo.objects.get().original.read() == content


def test_a_system_in_use_is_left_alone(committed: None, ann: User, tmp_path: Path) -> None:
    run("backup", tmp_path / "backup")
    with pytest.raises(CommandError, match="has people in it"):
        run("restore", tmp_path / "backup")
    assert User.objects.get() == ann


def test_missing_files_are_counted(committed: None, ann: User, add: Add, tmp_path: Path) -> None:
    photo = add(ann, 1)
    photo.preview.delete(save=False)
    assert "1 files are missing" in run("backup", tmp_path / "backup")


def test_folders_that_will_not_do(db: None, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(CommandError, match="is not empty"):
        run("backup", tmp_path)
    with pytest.raises(CommandError, match="no complete backup"):
        run("restore", tmp_path)


def test_a_database_that_refuses_stays_empty(committed: None, ann: User, tmp_path: Path) -> None:
    run("backup", tmp_path / "backup")
    dump = tmp_path / "backup" / "database.dump"
    dump.write_bytes(dump.read_bytes()[: dump.stat().st_size // 2])
    call_command("flush", interactive=False, verbosity=0)
    with pytest.raises(CommandError, match="could not be restored"):
        run("restore", tmp_path / "backup")
    assert not User.objects.exists()
