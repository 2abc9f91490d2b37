"""Uploads in pieces against the real web server: by another's tus client, and when it is killed."""

from __future__ import annotations

import hashlib
import io
import random
import socket
from contextlib import suppress
from http import HTTPStatus

import pytest
from PIL import Image
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError

from tests.api_client import ApiClient
from tests.e2e.pictures import encode
from tests.running_system import RunningSystem

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

UPLOADS = "/api/v1/uploads/"
MEGABYTE = 1024 * 1024
BLOCK = MEGABYTE


def noise(number: int) -> bytes:
    """A BMP of 4.6 MB that nothing can be left out of."""
    size = (1240, 1240)
    pixels = random.Random(number).randbytes(size[0] * size[1] * 3)
    return encode(Image.frombytes("RGB", size, pixels), "BMP")


def tus_client(client: ApiClient) -> TusClient:
    return TusClient(
        f"http://127.0.0.1:{client.port}{UPLOADS}",
        headers={"Authorization": client.headers["Authorization"]},
    )


def outcome(client: ApiClient, url: str) -> dict[str, object]:
    answer = client.get(url[url.index("/api/") :])
    assert answer.status == HTTPStatus.OK
    return dict(answer.data)


def original_sha256(client: ApiClient, system: RunningSystem, photo: object) -> str:
    [(name,)] = system.query("SELECT original FROM gallery_photo WHERE id = %s", photo)
    return hashlib.sha256((system.layout.media / name).read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("checked", "piece"), [(False, MEGABYTE + 1), (True, 700_000), (False, 10 * MEGABYTE)]
)
def test_a_client_of_the_protocol(system: RunningSystem, checked: bool, piece: int) -> None:
    name = f"tus-{piece}"
    client = ApiClient.of_new_person(system, name)
    content = noise(piece)
    uploader = tus_client(client).uploader(
        file_stream=io.BytesIO(content),
        chunk_size=piece,
        metadata={"filename": "été.bmp"},
        upload_checksum=checked,
    )
    uploader.upload(stop_at=min(piece, len(content)))
    # Another one takes it up where the first left it.
    rest = tus_client(client).uploader(
        file_stream=io.BytesIO(content), chunk_size=piece, url=uploader.url
    )
    assert rest.offset == min(piece, len(content))
    rest.upload()

    became = outcome(client, str(uploader.url))
    assert (became["state"], became["filename"]) == ("added", "été.bmp")
    assert original_sha256(client, system, became["photo"]) == hashlib.sha256(content).hexdigest()
    system.wait_until(
        lambda: [each["searchable"] for each in client.photos()] == [True], 120, "it is searchable"
    )
    assert list(system.layout.uploads.iterdir()) == []


def test_a_client_is_told_that_it_is_no_picture(system: RunningSystem) -> None:
    client = ApiClient.of_new_person(system, "tus-refused")
    uploader = tus_client(client).uploader(file_stream=io.BytesIO(bytes(300_000)))
    with pytest.raises(TusCommunicationError) as refused:
        uploader.upload()
    assert refused.value.status_code == HTTPStatus.BAD_REQUEST
    assert b"This is not a picture" in refused.value.response_content
    assert outcome(client, str(uploader.url))["state"] == "rejected"
    with pytest.raises(TusCommunicationError):
        uploader.get_offset()


@pytest.mark.parametrize("fault", ["killed", "hung up"])
def test_what_came_before_a_break_is_kept(system: RunningSystem, fault: str) -> None:
    """The web server is killed, or the client gone, in the middle of a piece."""
    client = ApiClient.of_new_person(system, f"tus-{fault.replace(' ', '-')}")
    content = noise(len(fault))
    uploader = tus_client(client).uploader(file_stream=io.BytesIO(content))
    uploader.set_url(uploader.create_url())
    path = str(uploader.url)[str(uploader.url).index("/api/") :]
    [(key,)] = system.query("SELECT id FROM gallery_partialupload ORDER BY created_at DESC LIMIT 1")

    def received() -> int:
        [(offset,)] = system.query('SELECT "offset" FROM gallery_partialupload WHERE id = %s', key)
        return int(offset)

    with socket.create_connection(("127.0.0.1", system.port)) as line:
        head = (
            f"PATCH {path} HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\n"
            f"Authorization: {client.headers['Authorization']}\r\n"
            "Content-Type: application/offset+octet-stream\r\nUpload-Offset: 0\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        line.sendall(head.encode() + content[: 2 * BLOCK + 300_000])
        system.wait_until(lambda: received() >= 2 * BLOCK, 30, "two blocks are there")
        if fault == "killed":
            before = system.pid_of("web")
            system.kill("web")

    def answers() -> bool:
        with suppress(OSError):
            restarted = fault != "killed" or system.pid_of("web") != before
            return restarted and client.get("/readyz").status == HTTPStatus.OK
        return False

    system.wait_until(answers, 120, "the web server is back")
    if fault == "hung up":
        # What was on its way counts as well.
        system.wait_until(lambda: received() == 2 * BLOCK + 300_000, 30, "the rest is there")
    assert uploader.get_offset() == received() >= 2 * BLOCK
    rest = tus_client(client).uploader(file_stream=io.BytesIO(content), url=uploader.url)
    rest.upload()
    became = outcome(client, path)
    assert became["state"] == "added"
    assert original_sha256(client, system, became["photo"]) == hashlib.sha256(content).hexdigest()
