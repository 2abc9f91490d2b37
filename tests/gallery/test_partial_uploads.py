"""Resumable uploads: the tus protocol over the API, and what becomes of the bytes."""

from __future__ import annotations

import base64
import errno
import hashlib
import io
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import UUID, uuid4

import pytest
from django.core.cache import cache
from django.core.files.storage import FileSystemStorage
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.utils import timezone
from django.utils.http import parse_http_date
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings
from rest_framework.throttling import ScopedRateThrottle

from accounts.models import Scope, User
from accounts.services import delete_account
from accounts.tokens import create_token
from gallery import partial_uploads, tasks
from gallery.decoding.service import DecoderUnavailable
from gallery.models import DiscardedFile, PartialUpload, Photo
from gallery.partial_uploads import (
    MOST_UNFINISHED,
    Checksum,
    OffsetConflict,
    UploadBusy,
    append,
    cancel_upload,
    finish_due_uploads,
    offset_of,
    start_upload,
)
from gallery.processing import GAVE_UP
from gallery.services import add_photo
from gallery.tasks import remove_expired_uploads
from gallery.validators import RejectedUpload
from tests.conftest import draw_picture
from tests.gallery.test_provisional import killed_after_storing
from tests.gallery.test_upload import at_once, stored_files

URL = "/api/v1/uploads/"
PICTURE = draw_picture(1)
MEDIA_TYPE = "application/offset+octet-stream"


@pytest.fixture(autouse=True)
def folder(settings: Settings, tmp_path: Path) -> Path:
    """Where the bytes of this test's uploads lie."""
    settings.UPLOADS_ROOT = tmp_path / "uploads"
    return tmp_path / "uploads"


@pytest.fixture
def client(client: Client, ann: User) -> Client:
    client.force_login(ann)
    return client


def encoded(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def call(client: Client, method: str, path: str, body: bytes = b"", **headers: Any) -> Any:
    """A call of the protocol. `Upload_Offset=3` is a header; None leaves one out."""
    always = {"Tus-Resumable": "1.0.0", "Content-Type": MEDIA_TYPE}
    sent = always | {name.replace("_", "-"): value for name, value in headers.items()}
    return client.generic(
        method,
        path,
        body,
        headers={name: str(value) for name, value in sent.items() if value is not None},
    )


def begin(client: Client, length: int = len(PICTURE), name: str = "lake.jpg") -> str:
    """The path of a new upload."""
    response = call(
        client, "POST", URL, Upload_Length=length, Upload_Metadata=f"filename {encoded(name)}"
    )
    assert response.status_code == 201, response.content
    return str(response["Location"])


def send(client: Client, path: str, at: int, piece: bytes, **headers: Any) -> Any:
    return call(client, "PATCH", path, piece, Upload_Offset=at, **headers)


def offset(client: Client, path: str) -> int:
    response = call(client, "HEAD", path)
    assert response.status_code == 200
    return int(response["Upload-Offset"])


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def upload_at(path: str) -> PartialUpload:
    return PartialUpload.objects.get(pk=UUID(path.rstrip("/").rpartition("/")[2]))


def test_what_the_server_can_do(client: Client, settings: Settings) -> None:
    for path in (URL, f"{URL}{uuid4()}/"):
        response = client.options(path)
        assert response.status_code == 204
        assert response["Tus-Version"] == "1.0.0"
        assert response["Tus-Extension"] == "creation,expiration,termination,checksum"
        assert response["Tus-Max-Size"] == str(settings.MAX_UPLOAD_BYTES)
        assert response["Tus-Checksum-Algorithm"] == "sha1,sha256"


def test_a_file_in_two_pieces(
    client: Client, ann: User, folder: Path,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:  # fmt: skip
    response = call(
        client, "POST", URL, Upload_Length=len(PICTURE),
        Upload_Metadata=f"filename {encoded('été à Zürich.jpg')},is_private",
    )  # fmt: skip
    assert (response.status_code, response["Tus-Resumable"]) == (201, "1.0.0")
    assert response.json()["filename"] == "été à Zürich.jpg"
    path = response["Location"]
    assert path == f"{URL}{response.json()['id']}/"
    left = parse_http_date(response["Upload-Expires"]) - timezone.now().timestamp()
    assert timedelta(hours=23) < timedelta(seconds=left) <= timedelta(hours=24)

    response = call(client, "HEAD", path)
    assert (response.status_code, response.content) == (200, b"")
    assert (response["Upload-Offset"], response["Upload-Length"]) == ("0", str(len(PICTURE)))
    assert response["Upload-Metadata"] == f"filename {encoded('été à Zürich.jpg')},is_private"
    assert (response["Cache-Control"], response["Tus-Resumable"]) == ("no-store", "1.0.0")

    response = send(client, path, 0, PICTURE[:1000])
    assert (response.status_code, response.content) == (204, b"")
    assert (response["Upload-Offset"], response["Tus-Resumable"]) == ("1000", "1.0.0")
    assert "Upload-Expires" in response
    assert files_in(folder) == [upload_at(path).pk.hex]
    assert (folder.stat().st_mode & 0o777) == 0o700
    assert ((folder / upload_at(path).pk.hex).stat().st_mode & 0o777) == 0o600
    body = client.get(path).json()
    assert (body["state"], body["offset"], body["photo"]) == ("receiving", 1000, None)

    with django_capture_on_commit_callbacks(execute=True):
        response = send(client, path, 1000, PICTURE[1000:])
    assert (response.status_code, response["Upload-Offset"]) == (204, str(len(PICTURE)))
    photo = Photo.objects.owned_by(ann).get()
    assert photo.filename == "été à Zürich.jpg"
    assert photo.original.read() == PICTURE
    assert files_in(folder) == []

    # Whoever lost the last answer is told the same.
    assert offset(client, path) == len(PICTURE)
    body = client.get(path).json()
    assert (body["state"], body["photo"], body["duplicate"]) == ("added", photo.pk, False)
    assert send(client, path, len(PICTURE), b"").status_code == 204
    assert send(client, path, 0, PICTURE[:1000]).status_code == 409


def test_the_same_bytes_are_the_photo_that_is_there(client: Client, ann: User) -> None:
    paths = [begin(client) for _ in range(2)]
    for path in paths:
        assert send(client, path, 0, PICTURE).status_code == 204
    first, second = (client.get(path).json() for path in paths)
    assert (first["duplicate"], second["duplicate"]) == (False, True)
    assert first["photo"] == second["photo"]
    assert len(stored_files(ann)) == 1


def test_a_file_that_is_no_picture(
    client: Client, ann: User, folder: Path,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:  # fmt: skip
    content = b"Dear Ann, this is no picture."
    path = begin(client, len(content))
    sentence = "This is not a picture, or one in a format that can't be read."
    with django_capture_on_commit_callbacks(execute=True):
        response = send(client, path, 0, content)
    assert response.status_code == 400
    assert response["Content-Type"] == "application/problem+json"
    assert response.json()["errors"] == {"file": [sentence]}
    assert (files_in(folder), stored_files(ann)) == ([], [])
    body = client.get(path).json()
    assert (body["state"], body["error"], body["photo"]) == ("rejected", sentence, None)
    # A client that lost the answer does not take it for a photo.
    assert call(client, "HEAD", path).status_code == 410
    again = send(client, path, len(content), b"")
    assert (again.status_code, again.json()["detail"]) == (410, sentence)


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Upload_Length": None}, 400, "invalid"),
        ({"Upload_Length": "x"}, 400, "invalid"),
        ({"Upload_Length": "-1"}, 400, "invalid"),
        ({"Upload_Length": "1.5"}, 400, "invalid"),
        ({"Upload_Length": "９"}, 400, "invalid"),
        ({"Upload_Length": "9" * 19}, 400, "invalid"),
        ({"Upload_Length": "9" * 5000}, 400, "invalid"),
        ({"Upload_Length": None, "Upload_Defer_Length": 1}, 400, "invalid"),
        ({"Upload_Length": 0}, 400, "invalid"),
        ({"Upload_Length": 52_428_801}, 413, "too_large"),
        ({"Upload_Length": 2**63 - 1}, 413, "too_large"),
        ({"Tus_Resumable": None}, 412, "unknown_version"),
        ({"Tus_Resumable": "0.2.2"}, 412, "unknown_version"),
        ({"Upload_Metadata": "filename not-base64!"}, 400, "invalid"),
        ({"Upload_Metadata": "filename YQ==,filename YQ=="}, 400, "invalid"),
        ({"Upload_Metadata": ",filename YQ=="}, 400, "invalid"),
        ({"Upload_Metadata": "filename YQ== more"}, 400, "invalid"),
        ({"Upload_Metadata": "ключ YQ=="}, 400, "invalid"),
        ({"Upload_Metadata": f"filename {'A' * 4096}"}, 400, "invalid"),
    ],
)
def test_what_can_not_begin(
    client: Client, headers: dict[str, Any], status: int, code: str
) -> None:
    response = call(client, "POST", URL, **{"Upload_Length": 100} | headers)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response["Content-Type"] == "application/problem+json"
    assert response["Tus-Resumable"] == "1.0.0"
    assert response.get("Tus-Version") == ("1.0.0" if status == 412 else None)
    assert not PartialUpload.objects.exists()


@pytest.mark.parametrize(
    ("metadata", "filename"),
    [
        ("", "photo"),
        ("is_private", "photo"),
        ("filename", "photo"),
        (f"filename {encoded('../../etc/passwd')}", "passwd"),
        (f"name {encoded('a.jpg')}, filename {encoded('b.jpg')}", "b.jpg"),
        (f"filename {encoded(b'caf' + bytes([0xE9]))}", "caf\ufffd"),
        (f"filename {encoded('a' + chr(0) + 'b.jpg')}", "ab.jpg"),
        (f"filename {encoded('x' * 300 + '.jpg')}", "x" * 251 + ".jpg"),
    ],
)
def test_file_names_in_the_metadata(client: Client, metadata: str, filename: str) -> None:
    response = call(client, "POST", URL, Upload_Length=9, Upload_Metadata=metadata)
    assert (response.status_code, response.json()["filename"]) == (201, filename)


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Upload_Offset": None}, 400, "invalid"),
        ({"Upload_Offset": "x"}, 400, "invalid"),
        ({"Upload_Offset": 9}, 409, "wrong_offset"),
        ({"Upload_Offset": 11}, 409, "wrong_offset"),
        ({"Upload_Offset": 2**63 - 1}, 413, "beyond_length"),
        ({"Upload_Offset": 97}, 413, "beyond_length"),
        ({"Tus_Resumable": None}, 412, "unknown_version"),
        ({"Content_Type": "application/octet-stream"}, 415, "unsupported_media_type"),
        ({"Content_Type": ""}, 415, "unsupported_media_type"),
        ({"Transfer_Encoding": "chunked"}, 411, "length_required"),
        ({"Upload_Checksum": "md5 1B2M2Y8AsgTpgAmY7PhCfg=="}, 400, "invalid"),
        ({"Upload_Checksum": "sha1"}, 400, "invalid"),
        ({"Upload_Checksum": "sha1 YQ=="}, 400, "invalid"),
        ({"Upload_Checksum": f"sha1 {encoded(bytes(20))}"}, 460, "checksum_mismatch"),
    ],
)
def test_pieces_that_are_refused(
    client: Client, headers: dict[str, Any], status: int, code: str
) -> None:
    path = begin(client, 100)
    send(client, path, 0, bytes(10))
    response = call(client, "PATCH", path, b"more", **{"Upload_Offset": 10} | headers)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response.json()["title"]
    assert response["Content-Type"] == "application/problem+json"
    assert offset(client, path) == 10
    assert partial_uploads._path(upload_at(path).pk).read_bytes() == bytes(10)


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_pieces_with_a_checksum(client: Client, ann: User, algorithm: str) -> None:
    path, at = begin(client), 0
    for piece in (PICTURE[:1500], PICTURE[1500:]):
        right = encoded(hashlib.new(algorithm, piece).digest())
        spoilt = piece[:-1] + bytes([piece[-1] ^ 1])
        response = send(client, path, at, spoilt, Upload_Checksum=f"{algorithm} {right}")
        assert (response.status_code, response.json()["title"]) == (460, "Checksum Mismatch")
        assert offset(client, path) == at
        response = send(client, path, at, piece, Upload_Checksum=f"{algorithm} {right}")
        assert response.status_code == 204
        at += len(piece)
    assert Photo.objects.owned_by(ann).get().original.read() == PICTURE


def test_cancelling(
    client: Client, folder: Path,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:  # fmt: skip
    path = begin(client)
    send(client, path, 0, PICTURE[:1000])
    assert call(client, "DELETE", path, Tus_Resumable=None).status_code == 412
    with django_capture_on_commit_callbacks(execute=True):
        response = call(client, "DELETE", path)
    assert (response.status_code, response["Tus-Resumable"]) == (204, "1.0.0")
    assert files_in(folder) == []
    for method in ("HEAD", "DELETE", "GET"):
        assert call(client, method, path).status_code == 404
    assert send(client, path, 1000, PICTURE[1000:]).status_code == 404


def test_cancelling_what_is_a_photo_already_leaves_the_photo(client: Client, ann: User) -> None:
    path = begin(client)
    send(client, path, 0, PICTURE)
    assert call(client, "DELETE", path).status_code == 204
    assert Photo.objects.owned_by(ann).exists()


def test_a_photo_that_is_deleted_leaves_its_upload(client: Client) -> None:
    path = begin(client)
    send(client, path, 0, PICTURE)
    Photo.objects.get().delete()
    body = client.get(path).json()
    assert (body["state"], body["photo"]) == ("added", None)


def test_the_method_can_be_named_in_a_header(client: Client, ann: User) -> None:
    """For who is behind something that lets no PATCH through."""
    path = begin(client)
    override: dict[str, Any] = {"X_HTTP_Method_Override": "PATCH"}
    response = call(client, "POST", path, PICTURE[:9], Upload_Offset=0, **override)
    assert (response.status_code, offset(client, path)) == (204, 9)
    assert call(client, "POST", path).status_code == 405
    # Only a POST may: the others are let through without a CSRF token.
    assert call(client, "GET", path, X_HTTP_Method_Override="DELETE").status_code == 200
    assert call(client, "POST", path, X_HTTP_Method_Override="DELETE").status_code == 204


@pytest.mark.parametrize("method", ["GET", "HEAD", "PATCH", "DELETE"])
def test_another_persons_upload_does_not_exist(client: Client, ben: User, method: str) -> None:
    theirs = start_upload(owner=ben, length=len(PICTURE), filename="private.jpg")
    response = call(client, method, f"{URL}{theirs.pk}/", PICTURE, Upload_Offset=0)
    missing = call(client, method, f"{URL}{uuid4()}/", PICTURE, Upload_Offset=0)
    assert response.status_code == missing.status_code == 404
    theirs.refresh_from_db()
    assert (theirs.offset, theirs.state) == (0, "receiving")


def test_what_is_no_key_is_not_found(client: Client) -> None:
    response = client.get(f"{URL}7/")
    assert (response.status_code, response["Content-Type"]) == (404, "application/problem+json")


@pytest.mark.parametrize("scope", list(Scope))
def test_a_token_needs_the_scope_for_writing(ann: User, scope: Scope) -> None:
    secret = create_token(owner=ann, name="phone", scopes=[scope]).secret
    client = Client(headers={"Authorization": f"Bearer {secret}"})
    allowed = scope == Scope.PHOTOS_WRITE
    path = f"{URL}{start_upload(owner=ann, length=9, filename='a.jpg').pk}/"
    asked = {
        "POST": call(client, "POST", URL, Upload_Length=9),
        "GET": client.get(path),
        "HEAD": call(client, "HEAD", path),
        "PATCH": send(client, path, 0, b"x"),
        "DELETE": call(client, "DELETE", path),
    }
    wanted = {"POST": 201, "GET": 200, "HEAD": 200, "PATCH": 204, "DELETE": 204}
    statuses = {method: response.status_code for method, response in asked.items()}
    assert statuses == (wanted if allowed else dict.fromkeys(wanted, 403))


def test_nobody_uploads(client: Client) -> None:
    path = begin(client)
    client.logout()
    for response in (
        call(client, "POST", URL, Upload_Length=9),
        call(client, "HEAD", path),
        send(client, path, 0, b"x"),
        call(client, "DELETE", path),
        client.options(URL),
    ):
        assert response.status_code == 401


def test_a_session_needs_a_csrf_token(ann: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(ann)
    client.get("/")
    csrf: dict[str, Any] = {"X_CSRFToken": client.cookies["csrftoken"].value}
    assert call(client, "POST", URL, Upload_Length=9).status_code == 403
    path = call(client, "POST", URL, Upload_Length=9, **csrf)["Location"]
    assert send(client, path, 0, b"x").status_code == 403
    assert send(client, path, 0, b"x", **csrf).status_code == 204
    assert call(client, "DELETE", path).status_code == 403
    override: dict[str, Any] = {"X_HTTP_Method_Override": "DELETE"}
    assert call(client, "POST", path, **override).status_code == 403
    assert call(client, "POST", path, **override, **csrf).status_code == 204


def test_an_upload_counts_once_however_many_pieces(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ScopedRateThrottle.THROTTLE_RATES, "upload", "2/minute")
    path = begin(client)
    for at in range(5):
        assert send(client, path, at, PICTURE[at : at + 1]).status_code == 204
    begin(client)
    response = call(client, "POST", URL, Upload_Length=9)
    assert response.status_code == 429
    assert int(response["Retry-After"]) > 0
    assert send(client, path, 5, PICTURE[5:6]).status_code == 204


def test_what_is_coming_in_counts_against_the_quota(client: Client, ann: User) -> None:
    ann.quota_bytes = 1000
    ann.save()
    path = begin(client, 600)
    response = call(client, "POST", URL, Upload_Length=401)
    assert response.status_code == 400
    assert response.json()["errors"]["file"][0].startswith("There is no room left for it")
    begin(client, 400)
    call(client, "DELETE", path)
    begin(client, 600)


def test_the_quota_is_checked_at_the_end_as_well(client: Client, ann: User) -> None:
    path = begin(client)
    ann.quota_bytes = 1000
    ann.save()
    response = send(client, path, 0, PICTURE)
    assert response.status_code == 400
    assert response.json()["errors"]["file"][0].startswith("There is no room left for it")
    assert not Photo.objects.exists()


def test_nobody_has_unfinished_uploads_without_end(client: Client, ann: User, ben: User) -> None:
    paths = [begin(client, 9) for _ in range(MOST_UNFINISHED)]
    response = call(client, "POST", URL, Upload_Length=9)
    assert (response.status_code, response.json()["code"]) == (409, "too_many_unfinished")
    sentence = "You have 100 unfinished uploads. Finish or cancel some of them first."
    assert response.json()["detail"] == sentence
    start_upload(owner=ben, length=9, filename="a.jpg")
    call(client, "DELETE", paths[0])
    begin(client, 9)


def expire(*paths: str) -> None:
    keys = [upload_at(path).pk for path in paths]
    PartialUpload.objects.filter(pk__in=keys).update(expires_at=timezone.now())


def test_what_is_not_finished_in_time_is_removed(
    client: Client, folder: Path,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:  # fmt: skip
    expired, kept, added = begin(client), begin(client), begin(client)
    for path in (expired, kept):
        send(client, path, 0, PICTURE[:1000])
    send(client, added, 0, PICTURE)
    (folder / uuid4().hex).write_bytes(b"of a process that was killed")
    (folder / "README").write_bytes(b"not ours")
    expire(expired, added)
    # It is gone at once, and its bytes at the next turn.
    assert call(client, "HEAD", expired).status_code == 404
    assert send(client, expired, 1000, PICTURE[1000:]).status_code == 404
    with django_capture_on_commit_callbacks(execute=True):
        remove_expired_uploads()
    left = upload_at(kept)
    assert list(PartialUpload.objects.all()) == [left]
    assert files_in(folder) == sorted(["README", left.pk.hex])
    assert Photo.objects.count() == 1
    with django_capture_on_commit_callbacks(execute=True):
        remove_expired_uploads()
    assert offset(client, kept) == 1000


def test_without_a_folder_there_is_nothing_to_remove(ann: User, folder: Path) -> None:
    remove_expired_uploads()
    assert not folder.exists()


def test_an_account_that_is_deleted_takes_its_uploads_along(
    client: Client, ann: User, folder: Path,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:  # fmt: skip
    path = begin(client)
    send(client, path, 0, PICTURE[:1000])
    with django_capture_on_commit_callbacks(execute=True):
        delete_account(user=ann)
    assert not PartialUpload.objects.exists()
    assert files_in(folder) == []


@pytest.mark.parametrize(
    "wrong", [{"offset": 101}, {"offset": 100}, {"length": 0}, {"state": "added"}]
)
def test_the_database_refuses_what_can_not_be(ann: User, wrong: dict[str, Any]) -> None:
    upload = start_upload(owner=ann, length=100, filename="a.jpg")
    with pytest.raises(IntegrityError), transaction.atomic():
        PartialUpload.objects.filter(pk=upload.pk).update(**wrong)


# Interruptions


class Broken(io.BytesIO):
    """A request's body whose connection breaks after `whole` reads."""

    def __init__(self, content: bytes, whole: int) -> None:
        super().__init__(content)
        self.whole = whole

    def read(self, size: int | None = -1, /) -> bytes:
        self.whole -= 1
        if self.whole < 0:
            raise ConnectionResetError
        return super().read(size)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partial_uploads, "BLOCK_BYTES", 256)


@pytest.mark.usefixtures("small_blocks")
def test_what_came_before_the_connection_broke_counts(ann: User) -> None:
    upload = start_upload(owner=ann, length=len(PICTURE), filename="a.jpg")
    with pytest.raises(ConnectionResetError):
        append(upload, at=0, body=Broken(PICTURE, 3))
    upload.refresh_from_db()
    assert offset_of(upload) == 768
    append(upload, at=768, body=io.BytesIO(PICTURE[768:]))
    assert Photo.objects.get().original.read() == PICTURE


@pytest.mark.usefixtures("small_blocks")
def test_with_a_checksum_nothing_counts_before_all_is_there(ann: User) -> None:
    upload = start_upload(owner=ann, length=len(PICTURE), filename="a.jpg")
    checksum = Checksum("sha256", hashlib.sha256(PICTURE).digest())
    with pytest.raises(ConnectionResetError):
        append(upload, at=0, body=Broken(PICTURE, 3), checksum=checksum)
    upload.refresh_from_db()
    assert offset_of(upload) == 0
    append(upload, at=0, body=io.BytesIO(PICTURE), checksum=checksum)
    assert Photo.objects.get().original.read() == PICTURE


def test_bytes_of_a_killed_process_are_cut_off(client: Client, ann: User, folder: Path) -> None:
    """They were written, but it was killed before the row was."""
    path = begin(client)
    send(client, path, 0, PICTURE[:1000])
    file = folder / upload_at(path).pk.hex
    file.write_bytes(file.read_bytes() + b"never counted" * 1000)
    assert offset(client, path) == 1000
    assert send(client, path, 1000, PICTURE[1000:]).status_code == 204
    assert Photo.objects.owned_by(ann).get().original.read() == PICTURE


@pytest.mark.parametrize("left", [None, 0, 400])
def test_bytes_that_were_lost_are_sent_again(
    client: Client, ann: User, folder: Path, left: int | None
) -> None:
    """By a power cut, or as the database was put back from a backup."""
    path = begin(client)
    send(client, path, 0, PICTURE[:1000])
    file = folder / upload_at(path).pk.hex
    if left is None:
        file.unlink()
    else:
        file.write_bytes(PICTURE[:left])
    assert send(client, path, 1000, PICTURE[1000:]).status_code == 409
    assert offset(client, path) == client.get(path).json()["offset"] == (left or 0)
    assert send(client, path, left or 0, PICTURE[left or 0 :]).status_code == 204
    assert Photo.objects.owned_by(ann).get().original.read() == PICTURE


# Finishing: what becomes of a complete upload


def no_room(*_args: Any, **_options: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


def no_decoder(*_args: Any, **_options: Any) -> Any:
    raise DecoderUnavailable("none")


NOT_NOW = [
    (patch.object(FileSystemStorage, "_save", no_room), 507, "no_room"),
    (patch("gallery.validators.probe", no_decoder), 503, "unavailable"),
]


def complete_but_unfinished(client: Client, fault: Any = NOT_NOW[1]) -> str:
    """The path of an upload whose last byte came in while it could not be finished."""
    path = begin(client)
    send(client, path, 0, PICTURE[:1000])
    with fault[0]:
        response = send(client, path, 1000, PICTURE[1000:])
        assert (response.status_code, response.json()["code"]) == fault[1:]
        assert (response["Retry-After"], response["Tus-Resumable"]) == ("60", "1.0.0")
        assert not Photo.objects.exists()
        # Who asks on is told the same, and nothing is taken for a refusal.
        assert call(client, "HEAD", path).status_code == fault[1]
        assert send(client, path, len(PICTURE), b"").status_code == fault[1]
        body = client.get(path).json()
        assert (body["state"], body["offset"]) == ("finishing", len(PICTURE))
    assert upload_at(path).attempts == 0
    return path


@pytest.mark.parametrize("fault", NOT_NOW, ids=["full", "no decoder"])
@pytest.mark.parametrize("method", ["HEAD", "PATCH", "worker"])
def test_what_can_not_be_finished_now_is_finished_later(
    client: Client, ann: User, media: Path, folder: Path, fault: Any, method: str,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:  # fmt: skip
    path = complete_but_unfinished(client, fault)
    assert [each for each in media.rglob("*") if each.is_file()] == []
    with django_capture_on_commit_callbacks(execute=True):
        if method == "worker":
            assert finish_due_uploads(for_seconds=30) is False  # it has a pause
            PartialUpload.objects.update(due_at=timezone.now())
            finish_due_uploads(for_seconds=30)
        else:
            headers: dict[str, Any] = {"Upload_Offset": len(PICTURE)} if method == "PATCH" else {}
            assert call(client, method, path, **headers).status_code in {200, 204}
    body = client.get(path).json()
    assert (body["state"], body["duplicate"]) == ("added", False)
    assert Photo.objects.owned_by(ann).get().original.read() == PICTURE
    assert files_in(folder) == []
    assert not DiscardedFile.objects.exists()


def test_the_sweep_wakes_a_worker_for_what_is_not_finished(
    client: Client, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    complete_but_unfinished(client)
    with patch.object(tasks.finish_uploads, "apply_async") as woken:
        for expected in (0, 1):
            with django_capture_on_commit_callbacks(execute=True):
                tasks.sweep()
            assert woken.call_count == expected
            PartialUpload.objects.update(due_at=timezone.now())
    tasks.finish_uploads()
    assert Photo.objects.count() == 1


def test_a_client_waits_for_who_finishes_its_upload(client: Client) -> None:
    path = complete_but_unfinished(client)
    later = timezone.now() + timedelta(minutes=1)
    PartialUpload.objects.update(attempts=1, due_at=later)  # leased
    assert call(client, "HEAD", path).status_code == 423
    assert send(client, path, len(PICTURE), b"").status_code == 423
    PartialUpload.objects.update(due_at=timezone.now())  # its process has died
    assert call(client, "HEAD", path).status_code == 200
    assert Photo.objects.count() == 1


def test_what_is_complete_does_not_expire_and_counts_against_the_quota(
    client: Client, ann: User
) -> None:
    path = complete_but_unfinished(client)
    ann.quota_bytes = len(PICTURE)
    with pytest.raises(RejectedUpload, match="no room"):
        start_upload(owner=ann, length=1, filename="a.jpg")
    expire(path)
    remove_expired_uploads()
    PartialUpload.objects.update(due_at=timezone.now())
    assert upload_at(path).state == "finishing"
    finish_due_uploads(for_seconds=30)
    assert Photo.objects.owned_by(ann).get().original.read() == PICTURE
    remove_expired_uploads()
    assert not PartialUpload.objects.exists()


def test_what_can_never_be_finished_is_refused_at_last(client: Client, settings: Settings) -> None:
    path = complete_but_unfinished(client)
    with patch("gallery.partial_uploads.add_photo", side_effect=RuntimeError("a bug")):
        for _ in range(settings.WORK_MAX_ATTEMPTS):
            PartialUpload.objects.update(due_at=timezone.now())
            finish_due_uploads(for_seconds=30)
    body = client.get(path).json()
    assert (body["state"], body["error"]) == ("rejected", GAVE_UP)
    # One that ends its process each time.
    other = complete_but_unfinished(client)
    PartialUpload.objects.filter(pk=upload_at(other).pk).update(
        attempts=settings.WORK_MAX_ATTEMPTS, due_at=timezone.now()
    )
    finish_due_uploads(for_seconds=30)
    assert client.get(other).json()["error"] == GAVE_UP


@pytest.mark.parametrize("left", [None, 400])
def test_bytes_that_are_lost_before_it_is_finished_are_sent_again(
    client: Client, folder: Path, left: int | None
) -> None:
    path = complete_but_unfinished(client)
    file = folder / upload_at(path).pk.hex
    file.unlink() if left is None else file.write_bytes(PICTURE[:left])
    assert offset(client, path) == 0
    assert send(client, path, 0, PICTURE).status_code == 204
    assert Photo.objects.get().original.read() == PICTURE


@pytest.mark.parametrize(
    ("fault", "status"),
    [(OSError(errno.ENOSPC, "full"), 507), (OSError(errno.EDQUOT, "quota"), 507),
     (OSError(errno.EROFS, "read-only"), 503), (PermissionError(errno.EACCES, "no"), 503)],
)  # fmt: skip
@pytest.mark.parametrize("checksum", [True, False])
def test_pieces_that_can_not_be_written(
    client: Client, fault: OSError, status: int, checksum: bool
) -> None:
    path = begin(client)
    send(client, path, 0, PICTURE[:1000])
    digest = encoded(hashlib.sha256(PICTURE[1000:2000]).digest())
    headers = {"Upload_Checksum": f"sha256 {digest}"} if checksum else {}
    where = "tempfile.SpooledTemporaryFile.write" if checksum else "gallery.partial_uploads._write"
    with patch(where, side_effect=fault):
        response = send(client, path, 1000, PICTURE[1000:2000], **headers)
    assert (response.status_code, response["Retry-After"]) == (status, "60")
    assert response["Content-Type"] == "application/problem+json"
    assert offset(client, path) == 1000
    assert send(client, path, 1000, PICTURE[1000:], Upload_Checksum=None).status_code == 204
    assert Photo.objects.get().original.read() == PICTURE


@pytest.mark.django_db(transaction=True)
def test_nothing_is_locked_while_it_is_finished() -> None:
    """A process that is killed in between leaves a complete upload and a noted file."""
    ann = User.objects.create_user("ann", "ann@example.com", "x")
    upload = start_upload(owner=ann, length=len(PICTURE), filename="a.jpg")
    store = FileSystemStorage.save
    seen: list[Any] = []

    def look() -> None:
        seen.append(PartialUpload.objects.select_for_update(nowait=True).get().state)
        seen.append(DiscardedFile.objects.count())

    def save(self: FileSystemStorage, *args: Any, **kwargs: Any) -> str:
        assert not connection.in_atomic_block
        assert at_once(lambda: transaction.atomic()(look)()) == [None]
        return store(self, *args, **kwargs)

    with patch.object(FileSystemStorage, "save", save):
        append(upload, at=0, body=io.BytesIO(PICTURE))
    assert seen == ["finishing", 1]


@pytest.mark.django_db(transaction=True)
def test_a_killed_process_leaves_it_to_be_finished(media: Path) -> None:
    ann = User.objects.create_user("ann", "ann@example.com", "x")
    upload = start_upload(owner=ann, length=len(PICTURE), filename="a.jpg")
    killed_after_storing(1, lambda: append(upload, at=0, body=io.BytesIO(PICTURE)))
    upload.refresh_from_db()
    assert (upload.state, upload.attempts) == ("finishing", 1)
    PartialUpload.objects.update(due_at=timezone.now())
    DiscardedFile.objects.update(due_at=timezone.now())
    tasks.finish_uploads()
    tasks.remove_discarded_files()
    photo = Photo.objects.get()
    assert [str(each.relative_to(media)) for each in media.rglob("*") if each.is_file()] == [
        photo.original.name
    ]
    upload.refresh_from_db()
    assert (upload.state, upload.photo, upload.duplicate) == ("added", photo, False)


@pytest.mark.django_db(transaction=True)
def test_two_that_finish_one_upload_make_one_photo() -> None:
    """A process that was frozen for longer than its lease wakes up."""
    ann = User.objects.create_user("ann", "ann@example.com", "x")
    upload = start_upload(owner=ann, length=len(PICTURE), filename="a.jpg")

    def overtaken(**options: Any) -> Any:
        patched.stop()
        PartialUpload.objects.update(due_at=timezone.now())
        tasks.finish_uploads()
        return add_photo(**options)

    patched = patch("gallery.partial_uploads.add_photo", overtaken)
    patched.start()
    finished = append(upload, at=0, body=io.BytesIO(PICTURE))
    assert (finished.state, finished.duplicate) == ("added", False)
    assert finished.photo == Photo.objects.get()
    assert len(stored_files(ann)) == 1


@pytest.mark.django_db(transaction=True)
def test_one_that_is_cancelled_while_it_is_finished_makes_no_photo(folder: Path) -> None:
    ann = User.objects.create_user("ann", "ann@example.com", "x")
    upload = start_upload(owner=ann, length=len(PICTURE), filename="a.jpg")

    def cancelled(**options: Any) -> Any:
        cancel_upload(PartialUpload.objects.get())
        return add_photo(**options)

    with (
        patch("gallery.partial_uploads.add_photo", cancelled),
        pytest.raises(PartialUpload.DoesNotExist),
    ):
        append(upload, at=0, body=io.BytesIO(PICTURE))
    assert not Photo.objects.exists()
    assert (stored_files(ann), files_in(folder)) == ([], [])


# Interrupted in any way


@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_cutting_with_interruptions_gives_the_same_bytes(
    client: Client, ann: User, small_blocks: None, data: st.DataObject
) -> None:
    cache.clear()  # the calls of the examples are not one person's
    path, at, sent, pieces = begin(client), 0, len(PICTURE), 0
    while at < sent:
        pieces += 1
        # Twenty pieces tell as much as thousands.
        size = data.draw(st.integers(1, sent - at), "piece") if pieces < 20 else sent - at
        piece = PICTURE[at : at + size]
        faults = ["broken", "crash", "wrong offset"] if pieces < 20 else []
        what = data.draw(st.sampled_from(["whole", *faults]), "what")
        if what == "whole":
            checked = data.draw(st.booleans(), "with a checksum")
            digest = encoded(hashlib.sha256(piece).digest())
            headers = {"Upload_Checksum": f"sha256 {digest}"} if checked else {}
            assert send(client, path, at, piece, **headers).status_code == 204
        elif what == "broken":
            whole = data.draw(st.integers(0, 4), "blocks that arrive")
            body = Broken(piece, whole)
            with suppress(ConnectionResetError):
                append(upload_at(path), at=at, body=body)
        elif what == "crash":
            file = partial_uploads._path(upload_at(path).pk)
            if file.exists():
                with file.open("ab") as tail:
                    tail.write(data.draw(st.binary(max_size=600), "written, not counted"))
        else:
            wrong = (at + data.draw(st.integers(1, sent), "bytes off")) % (sent + 1)
            assert send(client, path, wrong, PICTURE[wrong:]).status_code == 409
        at = offset(client, path)
    upload = upload_at(path)
    assert upload.photo is not None
    assert upload.photo.original.read() == PICTURE
    upload.photo.delete()
    upload.delete()


# At the same time


def patching(owner: User, path: str, piece: bytes) -> Callable[[], int]:
    def one() -> int:
        client = Client()
        client.force_login(owner)
        return int(send(client, path, 0, piece).status_code)

    return one


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.django_db(transaction=True)
def test_of_two_pieces_at_once_one_is_taken() -> None:
    ann = User.objects.create_user("ann", "ann@example.com", "x")
    client = Client()
    client.force_login(ann)
    path = begin(client)
    statuses = at_once(*[patching(ann, path, PICTURE)] * 2)
    # Or one overtakes the other in the middle, and finishes it.
    assert sorted(statuses) in ([204, 409], [204, 423], [409, 423], [423, 423], [409, 409])
    at = offset(client, path)
    if at < len(PICTURE):
        assert send(client, path, at, PICTURE[at:]).status_code == 204
    assert Photo.objects.get().original.read() == PICTURE


@pytest.mark.django_db(transaction=True)
def test_who_writes_is_alone() -> None:
    """A second request is told so at once, and goes on when the first is through."""
    ann = User.objects.create_user("ann", "ann@example.com", "x")
    client = Client()
    client.force_login(ann)
    path = begin(client)
    with transaction.atomic():
        PartialUpload.objects.select_for_update().get()
        [busy] = at_once(patching(ann, path, PICTURE))
    assert busy == 423
    assert at_once(patching(ann, path, PICTURE)) == [204]


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_hangs_is_overtaken() -> None:
    """What it still sends when it wakes up is refused."""
    ann = User.objects.create_user("ann", "ann@example.com", "x")
    upload = start_upload(owner=ann, length=len(PICTURE), filename="a.jpg")

    class Hanging(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            block = super().read(size)
            append(upload, at=0, body=io.BytesIO(PICTURE[:2000]))
            return block

    with pytest.raises(OffsetConflict):
        append(upload, at=0, body=Hanging(PICTURE))
    upload.refresh_from_db()
    assert offset_of(upload) == 2000


@pytest.mark.django_db(transaction=True)
def test_one_that_is_cancelled_meanwhile_takes_nothing_more(folder: Path) -> None:
    ann = User.objects.create_user("ann", "ann@example.com", "x")
    upload = start_upload(owner=ann, length=len(PICTURE), filename="a.jpg")

    class Cancelled(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            cancel_upload(PartialUpload.objects.get(pk=upload.pk))
            return super().read(size)

    with pytest.raises(PartialUpload.DoesNotExist):
        append(upload, at=0, body=Cancelled(PICTURE))
    assert files_in(folder) == []


@pytest.mark.django_db(transaction=True)
def test_the_quota_holds_for_uploads_that_begin_at_once() -> None:
    ann = User.objects.create_user("ann", "ann@example.com", "x", quota_bytes=1000)
    results = at_once(*[lambda: start_upload(owner=ann, length=600, filename="a.jpg")] * 2)
    assert {type(result) for result in results} == {PartialUpload, RejectedUpload}


@pytest.mark.parametrize("first", ["account", "upload"])
@pytest.mark.django_db(transaction=True)
def test_an_account_that_is_deleted_while_an_upload_is_finished(folder: Path, first: str) -> None:
    ann = User.objects.create_user("ann", "ann@example.com", "x")
    upload = start_upload(owner=ann, length=len(PICTURE), filename="a.jpg")

    def meanwhile(**options: Any) -> Any:
        if first == "account":
            delete_account(user=User.objects.get())
            return add_photo(**options)
        added = add_photo(**options)
        delete_account(user=User.objects.get())
        return added

    with (
        patch("gallery.partial_uploads.add_photo", meanwhile),
        pytest.raises(PartialUpload.DoesNotExist),
    ):
        append(upload, at=0, body=io.BytesIO(PICTURE))
    assert not User.objects.exists()
    assert files_in(folder) == []
    tasks.remove_discarded_files()
    assert stored_files(ann) == []


@pytest.mark.django_db(transaction=True)
def test_an_account_and_the_end_of_its_upload_at_once(folder: Path) -> None:
    ann = User.objects.create_user("ann", "ann@example.com", "x")
    upload = start_upload(owner=ann, length=len(PICTURE), filename="a.jpg")
    finished, deleted = at_once(
        lambda: append(upload, at=0, body=io.BytesIO(PICTURE)).state,
        lambda: delete_account(user=ann),
    )
    assert deleted is None
    # While the deletion holds the row, the upload is told to ask again, and is gone then.
    assert finished == "added" or isinstance(finished, PartialUpload.DoesNotExist | UploadBusy)
    assert not User.objects.exists()
    assert files_in(folder) == []
