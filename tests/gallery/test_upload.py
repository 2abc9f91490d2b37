from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any
from unittest.mock import patch

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.files.uploadhandler import TemporaryFileUploadHandler
from django.db import connection
from django.test import Client
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pytest_django import Settings

from accounts.models import User
from gallery.decoding.problems import BadPicture
from gallery.formats import MEDIA_TYPES
from gallery.models import Photo
from gallery.probing import probe_picture
from gallery.services import AddedPhoto, add_photo, clean_filename
from gallery.storage import StorageUnavailable
from gallery.validators import RejectedUpload
from tests.conftest import draw_picture
from tests.gallery.pictures import saved

URL = "/api/v1/photos/"
FORMATS = {name: media for name, media in MEDIA_TYPES.items() if name != "MPO"}


def upload(client: Client, content: bytes, name: str = "picture.jpg") -> tuple[int, dict[str, Any]]:
    response = client.post(URL, {"file": SimpleUploadedFile(name, content)})
    return response.status_code, response.json()


def add(owner: User, content: bytes) -> AddedPhoto:
    return add_photo(owner=owner, file=ContentFile(content, name="a.jpg"), filename="a.jpg")


def stored_files(owner: User) -> list[str]:
    folder = f"originals/{owner.pk}"
    return default_storage.listdir(folder)[1] if default_storage.exists(folder) else []


@pytest.fixture
def client(client: Client, ann: User) -> Client:
    client.force_login(ann)
    return client


@pytest.mark.parametrize(("picture_format", "media_type"), FORMATS.items())
def test_each_format_is_taken_in(client: Client, picture_format: str, media_type: str) -> None:
    status, body = upload(client, draw_picture(1, picture_format=picture_format), "no-suffix")
    assert (status, body["media_type"]) == (201, media_type)
    assert (body["width"], body["height"]) == (320, 240)
    assert body["status"] == "processing"


def test_a_jpeg_with_further_pictures_is_a_jpeg(client: Client) -> None:
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    content = saved(frames[0], "MPO", save_all=True, append_images=frames[1:])
    assert upload(client, content)[1]["media_type"] == "image/jpeg"


def noise(picture_format: str) -> bytes:
    image = Image.effect_noise((96, 64), 90).convert("RGB")
    return saved(image, picture_format)


@pytest.mark.parametrize("picture_format", FORMATS)
@pytest.mark.parametrize("share", [0.4, 0.9])
def test_truncated_files_are_rejected(
    client: Client, ann: User, picture_format: str, share: float
) -> None:
    content = noise(picture_format)
    status, body = upload(client, content[: int(len(content) * share)])
    assert (status, len(body["file"])) == (400, 1)
    # Pillow opens no AVIF that is not whole.
    expected = "can't be read" if picture_format == "AVIF" else "damaged or incomplete"
    assert expected in body["file"][0]
    assert not Photo.objects.exists()
    assert stored_files(ann) == []


SVG = (
    b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "The file is empty."),
        (b"hello", "not a picture"),
        (SVG, "not a picture"),
        (b"<!doctype html><script>alert(1)</script>", "not a picture"),
        (b"%PDF-1.7\n", "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
        (saved(Image.new("RGB", (9, 9)), "PPM"), "not a picture"),  # readable, but not taken in
        (b"\xff\xd8\xff", "not a picture"),
    ],
)  # fmt: skip
def test_what_is_no_picture_is_rejected(client: Client, content: bytes, sentence: str) -> None:
    status, body = upload(client, content, "picture.jpg")
    assert status == 400
    assert sentence in str(body["file"])
    assert not Photo.objects.exists()


def test_a_disguise_does_not_survive(client: Client) -> None:
    """A picture that is a page as well is served as what it is, whatever its name."""
    content = draw_picture(1, picture_format="GIF") + b"<script>alert(1)</script>"
    status, body = upload(client, content, "page.html")
    assert (status, body["media_type"]) == (201, "image/gif")
    served = client.get(body["urls"]["original"])
    assert (served["Content-Type"], served["X-Content-Type-Options"]) == ("image/gif", "nosniff")


@pytest.mark.parametrize(
    "content", [None, {"file": "just text"}, {"files": SimpleUploadedFile("a.jpg", b"x")}]
)
def test_a_request_without_a_file_is_refused(client: Client, content: Any) -> None:
    response = client.post(URL, content)
    assert response.status_code == 400
    assert "file" in response.json()


def test_the_body_has_to_be_a_form(client: Client) -> None:
    assert client.post(URL, {"file": "x"}, content_type="application/json").status_code == 415
    broken = client.post(URL, b"--x\r\n", content_type="multipart/form-data; boundary=")
    assert broken.status_code == 400


def test_a_file_that_is_too_large_is_dropped_while_it_comes_in(
    client: Client, ann: User, settings: Settings
) -> None:
    settings.MAX_UPLOAD_BYTES, settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 200_000, 1000
    written = 0
    receive = TemporaryFileUploadHandler.receive_data_chunk

    def counting(self: TemporaryFileUploadHandler, raw_data: bytes, start: int) -> None:
        nonlocal written
        written += len(raw_data)
        receive(self, raw_data, start)

    with patch.object(TemporaryFileUploadHandler, "receive_data_chunk", counting):
        status, body = upload(client, bytes(3_000_000))
    assert status == 400
    assert "larger than" in body["file"][0]
    assert 0 < written <= 200_000
    assert stored_files(ann) == []
    # The largest that may come in is still taken in.
    content = draw_picture(1)
    settings.MAX_UPLOAD_BYTES = len(content)
    assert upload(client, content)[0] == 201


@pytest.mark.parametrize(
    ("picture_format", "side"), [("PNG", 20_000), ("GIF", 20_000), ("TIFF", 20_000)]
)
def test_too_many_pixels_are_rejected_before_they_are_decoded(
    client: Client, settings: Settings, picture_format: str, side: int
) -> None:
    settings.MAX_PIXELS = 1_000_000
    options = {"compression": "group4"} if picture_format == "TIFF" else {}
    bomb = saved(Image.new("1", (side, side)), picture_format, **options)
    assert len(bomb) < 1_000_000

    status, body = upload(client, bomb)
    assert status == 400
    assert "more than 1 megapixels" in body["file"][0]
    with (
        patch("PIL.ImageFile.ImageFile.load", side_effect=AssertionError("decoded")),
        pytest.raises(BadPicture, match="too_many_pixels"),
    ):
        probe_picture(io.BytesIO(bomb), max_pixels=1_000_000)


def test_a_bomb_beyond_pillows_own_limit_is_rejected(client: Client) -> None:
    content = bytearray(draw_picture(1, picture_format="BMP"))
    content[18:26] = (60_000).to_bytes(4, "little") * 2
    status, body = upload(client, bytes(content))
    assert status == 400
    assert "megapixels" in body["file"][0]


def test_the_quota_counts_the_trash_as_well(client: Client, ann: User) -> None:
    content = draw_picture(1)
    ann.quota_bytes = len(content)
    ann.save()
    assert upload(client, content)[0] == 201
    Photo.objects.update(trashed_at=timezone.now())
    status, body = upload(client, draw_picture(2))
    assert status == 400
    assert "no room left" in body["file"][0]
    assert len(stored_files(ann)) == 1


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """What the calls gave or raised, made at the same time on connections of their own."""
    start = Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        start.wait()
        try:
            return call()
        except Exception as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(run, calls))


@pytest.fixture
def meet() -> Iterator[None]:
    """Lets concurrent uploads go on together only once both have stored their file."""
    barrier = Barrier(2)
    store = FileSystemStorage.save

    def save(self: FileSystemStorage, *args: Any, **kwargs: Any) -> str:
        name = store(self, *args, **kwargs)
        barrier.wait(timeout=20)
        return name

    with patch.object(FileSystemStorage, "save", save):
        yield


@pytest.mark.usefixtures("meet")
@pytest.mark.django_db(transaction=True)
def test_the_quota_holds_for_uploads_at_once() -> None:
    ann = User.objects.create_user("ann", "ann@example.com", "x")
    ann.quota_bytes = len(draw_picture(1)) + 100
    ann.save()
    results = at_once(lambda: add(ann, draw_picture(1)), lambda: add(ann, draw_picture(2)))
    assert {type(result) for result in results} == {AddedPhoto, RejectedUpload}
    assert Photo.objects.count() == len(stored_files(ann)) == 1


@pytest.mark.usefixtures("meet")
@pytest.mark.django_db(transaction=True)
def test_the_same_bytes_at_once_are_one_photo() -> None:
    ann = User.objects.create_user("ann", "ann@example.com", "x")
    results = at_once(*[lambda: add(ann, draw_picture(1))] * 2)
    assert sorted(result.duplicate for result in results) == [False, True]
    assert results[0].photo == results[1].photo
    assert Photo.objects.count() == len(stored_files(ann)) == 1


def test_the_same_bytes_give_the_photo_that_is_there(client: Client, ben: User) -> None:
    first, second = upload(client, draw_picture(1)), upload(client, draw_picture(1), "again.jpg")
    assert (first[0], second[0]) == (201, 200)
    assert (first[1].pop("duplicate"), second[1].pop("duplicate")) == (False, True)
    assert first[1] == second[1]
    client.force_login(ben)  # another person's bytes are their own photo
    assert upload(client, draw_picture(1))[0] == 201


def test_a_photo_in_the_trash_comes_back(client: Client) -> None:
    key = upload(client, draw_picture(1))[1]["id"]
    Photo.objects.update(trashed_at=timezone.now())
    status, body = upload(client, draw_picture(1))
    assert (status, body["id"], body["duplicate"]) == (200, key, True)
    assert client.get(f"{URL}{key}/").status_code == 200


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("holiday.jpg", "holiday.jpg"),
        ("/home/ann/holiday.jpg", "holiday.jpg"),
        ("C:\\Users\\Ann\\holiday.jpg", "holiday.jpg"),
        ("2:30 at the lake.jpg", "2:30 at the lake.jpg"),
        ("../../etc/passwd", "passwd"),
        ("été à Zürich — 夏.jpg", "été à Zürich — 夏.jpg"),
        ("a\r\nSet-Cookie: b\x00.jpg", "aSet-Cookie: b.jpg"),
        ("\u202egpj.exe", "gpj.exe"),
        ("\udcff.jpg", ".jpg"),
        ("  ", "photo"),
        ("///", "photo"),
        ("x" * 300 + ".jpg", "x" * 251 + ".jpg"),
    ],
)
def test_file_names(sent: str, kept: str) -> None:
    assert clean_filename(sent) == kept


@given(st.text(max_size=400))
def test_any_file_name_becomes_one_that_can_be_kept(name: str) -> None:
    kept = clean_filename(name)
    assert 0 < len(kept) <= 255
    assert kept.isprintable()
    assert not {"/", "\\"} & set(kept)
    assert clean_filename(kept) == kept


@pytest.mark.parametrize("name", ["é “q” ; x.jpg", "a'b%00.jpg", "x" * 251 + ".jpg", "-rf *"])
def test_odd_names_come_through_an_upload(client: Client, name: str) -> None:
    status, body = upload(client, draw_picture(1), name)
    assert (status, body["filename"]) == (201, name)
    assert str(Photo.objects.get().original.name).endswith(".jpg")


class DiskFull(OSError):
    pass


def test_a_write_that_fails_midway_leaves_nothing_behind(ann: User, media: Path) -> None:
    class Filling(ContentFile):  # type: ignore[type-arg]
        """Gives its bytes while it is looked at, and fails in the middle of being stored."""

        reads = 0

        def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
            self.reads += 1
            content = draw_picture(1)
            yield content[:1000]
            if self.reads > 1:
                raise DiskFull
            yield content[1000:]

    with pytest.raises(StorageUnavailable):
        add_photo(owner=ann, file=Filling(draw_picture(1), name="a.jpg"), filename="a.jpg")
    assert not Photo.objects.exists()
    assert [path for path in media.rglob("*") if path.is_file()] == []


def test_a_row_that_cannot_be_written_leaves_no_file(ann: User, media: Path) -> None:
    with patch.object(Photo, "save", side_effect=DiskFull), pytest.raises(DiskFull):
        add(ann, draw_picture(1))
    assert [path for path in media.rglob("*") if path.is_file()] == []


def test_too_many_uploads_have_to_wait(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from rest_framework.throttling import ScopedRateThrottle

    monkeypatch.setitem(ScopedRateThrottle.THROTTLE_RATES, "upload", "2/minute")
    assert [upload(client, draw_picture(number))[0] for number in range(3)] == [201, 201, 429]
    response = client.post(URL, {"file": SimpleUploadedFile("a.jpg", draw_picture(9))})
    assert 0 < int(response["Retry-After"]) <= 60
    assert client.get(URL).status_code == 200  # looking is not uploading
