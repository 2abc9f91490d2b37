from __future__ import annotations

import io
import json
import unicodedata
import zipfile
from pathlib import Path, PureWindowsPath
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage, storages
from django.test import Client
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import User
from gallery.albums import add_to_album, create_album
from gallery.archive import UniqueNames, photo_archive
from gallery.models import Photo
from gallery.services import add_photo
from tests.conftest import draw_picture


@pytest.fixture
def client(client: Client, ann: User) -> Client:
    client.force_login(ann)
    return client


def add(owner: User, number: int, filename: str) -> Photo:
    file = ContentFile(draw_picture(number), name="a.jpg")
    return add_photo(owner=owner, file=file, filename=filename).photo


def unpacked(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert {info.compress_type for info in archive.infolist()} <= {zipfile.ZIP_STORED}
        return {info.filename: archive.read(info) for info in archive.infolist()}


def test_a_selection(client: Client, ann: User, ben: User) -> None:
    photos = [add(ann, 1, "IMG_1.JPG"), add(ann, 2, "img_1.jpg"), add(ann, 3, "été.jpg")]
    theirs, trashed = add(ben, 4, "theirs.jpg"), add(ann, 5, "trashed.jpg")
    Photo.objects.filter(pk=trashed.pk).update(trashed_at=timezone.now())
    ids = ",".join(str(photo.pk) for photo in [*photos, theirs, trashed])
    response = client.post("/photos/download/", {"ids": ids})
    assert response.streaming
    assert response["Content-Disposition"] == 'attachment; filename="Photos.zip"'
    assert "private" in response["Cache-Control"]
    assert unpacked(response.getvalue()) == {
        "IMG_1.JPG": draw_picture(1),
        "img_1 (2).jpg": draw_picture(2),
        "été.jpg": draw_picture(3),
    }
    assert client.post("/photos/download/", {"ids": str(theirs.pk)}).status_code == 404
    assert client.post("/photos/download/").status_code == 404


def test_an_album(client: Client, ann: User) -> None:
    photo, _ = add(ann, 1, "a.jpg"), add(ann, 2, "b.jpg")
    album = create_album(owner=ann, title="Summer / 2024 “at” the lake")
    assert client.get(f"/albums/{album.pk}/download/").status_code == 404  # nothing in it
    add_to_album(album, photo_ids=[photo.pk])
    response = client.get(f"/albums/{album.pk}/download/")
    assert "Summer%20_%202024" in response["Content-Disposition"]
    assert unpacked(response.getvalue()) == {"a.jpg": draw_picture(1)}


def test_what_is_gone_is_named_and_stops_nothing(client: Client, ann: User) -> None:
    gone, kept = add(ann, 1, "gone.jpg"), add(ann, 2, "kept.jpg")
    default_storage.delete(str(gone.original.name))
    content = client.post("/photos/download/", {"ids": f"{gone.pk},{kept.pk}"}).getvalue()
    assert unpacked(content) == {"kept.jpg": draw_picture(2), "MISSING.txt": b"gone.jpg\n"}


def test_nothing_is_read_before_it_is_sent(ann: User, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        add(ann, number, f"{number}.jpg")
    opened: list[str] = []
    open_file = default_storage.open

    def opening(name: str, mode: str = "rb") -> Any:
        opened.append(name)
        return open_file(name, mode)

    # The storage itself, behind the lazy object.
    monkeypatch.setattr(storages["default"], "open", opening)
    pieces = photo_archive(Photo.objects.owned_by(ann))
    first = next(pieces)
    assert len(opened) == 1
    assert len(unpacked(b"".join([first, *pieces]))) == 3


def test_everything_of_an_account(client: Client, ann: User, ben: User, media: Path) -> None:
    first, second = add(ann, 1, "a.jpg"), add(ann, 2, "a.jpg")
    add(ben, 3, "theirs.jpg")
    Photo.objects.filter(pk=first.pk).update(caption="At “the” lake\n", is_favourite=True)
    Photo.objects.filter(pk=second.pk).update(trashed_at=timezone.now())
    album = create_album(owner=ann, title="Summer")
    add_to_album(album, photo_ids=[first.pk])
    create_album(owner=ben, title="Private")
    files = unpacked(client.get("/export/").getvalue())
    assert set(files) == {"photos/a.jpg", "photos/a (2).jpg", "metadata.json"}
    assert files["photos/a (2).jpg"] == draw_picture(2)
    metadata = json.loads(files["metadata.json"])
    assert metadata["account"]["email"] == "ann@example.com"
    one, other = metadata["photos"]
    assert (one["file"], one["caption"], one["is_favourite"]) == (
        "photos/a.jpg", "At “the” lake\n", True,
    )  # fmt: skip
    assert one["trashed_at"] is None
    assert other["trashed_at"] is not None
    assert [(each["title"], each["photos"]) for each in metadata["albums"]] == [
        ("Summer", ["photos/a.jpg"])
    ]


def test_an_empty_account(client: Client) -> None:
    files = unpacked(client.get("/export/").getvalue())
    assert json.loads(files["metadata.json"])["photos"] == []


DEVICES = [
    "CON", "con.jpg", "Con .jpg", "nul.tar.gz", "AUX.", "PRN  ", "COM1.png", "com¹.png", "LPT9",
    "lpt³", "COM0", "CONIN$", "conout$.txt", "CLOCK$", " con", ".nul", "CON" + " " * 300 + "x.jpg",
]  # fmt: skip


@pytest.mark.parametrize("filename", DEVICES)
def test_no_name_is_a_device_of_windows(filename: str) -> None:
    names = UniqueNames()
    for _ in range(3):
        name = names.take(filename)
        assert name.partition(".")[0].rstrip(" ").upper().startswith("_")
        assert not PureWindowsPath(name).is_reserved()
    assert UniqueNames().take("console.jpg") == "console.jpg"
    assert UniqueNames().take("COM10.jpg") == "COM10.jpg"


def test_names_of_any_script_fit_into_a_file_system() -> None:
    names = UniqueNames()
    long = [names.take("山" * 250 + ".jpg") for _ in range(3)]
    assert all(len(name.encode()) < 255 and name.endswith(".jpg") for name in long)
    assert len(set(long)) == 3
    composed, decomposed = names.take("é.jpg"), names.take("e\u0301.jpg")
    assert unicodedata.normalize("NFC", decomposed) != composed


def test_the_list_of_what_is_missing_keeps_its_name(ann: User, media: Path) -> None:
    add(ann, 1, "missing.TXT")
    files = unpacked(b"".join(photo_archive(Photo.objects.owned_by(ann))))
    assert list(files) == ["missing (2).TXT"]


@given(
    st.lists(
        st.text(max_size=300) | st.sampled_from(["a.jpg", "A.JPG", "a (2).jpg", "..", *DEVICES])
    )
)
def test_names_are_unique_and_safe(filenames: list[str]) -> None:
    names = UniqueNames()
    taken = [names.take(filename) for filename in filenames]
    assert len({name.casefold() for name in taken}) == len(taken)
    for name in taken:
        assert name
        assert not set('<>:"/\\|?*\x00') & set(name)
        assert name == name.strip(". ")
        assert len(name.encode()) < 255
        assert not PureWindowsPath(name).is_reserved()
