"""Clients that want to hold the web server, against the real one: nobody else notices."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from typing import Any

import pytest
from django.test import Client
from PIL import Image

from accounts.models import User
from accounts.tokens import create_password_token
from gallery.models import PartialUpload, Photo
from gallery.sharing import share
from tests.attacks import (
    LITTLE,
    MEGABYTE,
    answer_to,
    connect,
    form,
    head,
    held,
    jpeg_of_scans,
    read_answer,
    tiny_webp,
    until,
)
from tests.conftest import draw_picture
from tests.fetching import fetch
from tests.front import RunningFront, running_front
from tests.gallery.pictures import saved

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def front(
    django_db_setup: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningFront]:
    with running_front(
        tmp_path_factory.mktemp("front"), MAX_UPLOAD_MB="20", DECODE_TIMEOUT_SECONDS="4"
    ) as front:
        yield front


@dataclass(frozen=True)
class Person:
    """Somebody with an account, as the web server knows them."""

    user: User
    front: RunningFront

    @property
    def session(self) -> dict[str, str]:
        client = Client()
        client.force_login(self.user)
        return {"Cookie": f"sessionid={client.cookies['sessionid'].value}"}

    @cached_property
    def token(self) -> dict[str, str]:
        return {"Authorization": f"Token {create_password_token(owner=self.user).secret}"}

    def upload(self, content: bytes) -> tuple[int, bytes]:
        headers, body = form(0)
        body = body.replace(b"\r\n\r\n\r\n", b"\r\n\r\n" + content + b"\r\n", 1)
        headers |= {"Content-Length": str(len(body)), "Connection": "close"} | self.token
        return answer_to(self.front.port, head("POST", "/api/v1/photos/", headers) + body)


@pytest.fixture
def mallory(front: RunningFront, ann: User) -> Person:
    return Person(ann, front)


@pytest.fixture
def other(front: RunningFront, ben: User) -> Person:
    return Person(ben, front)


@pytest.fixture
def large_photo(mallory: Person) -> Photo:
    """One of 12 MB, more than a connection takes in by itself."""
    size = (2000, 2000)
    noise = Image.frombytes("RGB", size, random.Random(1).randbytes(size[0] * size[1] * 3))
    status, answer = mallory.upload(saved(noise, "BMP"))
    assert status == HTTPStatus.CREATED, answer
    return Photo.objects.get()


def others_go_on(other: Person) -> None:
    """That it takes long is no failure here: the machine may be busy."""
    session = other.session
    for path, headers in (("/healthz", {}), ("/favourites/", session), ("/healthz", {})):
        answer = fetch(f"{other.front.base_url}{path}", headers=headers)
        assert answer.status == HTTPStatus.OK


def nothing_is_left(front: RunningFront) -> None:
    until(lambda: front.clients() == 0, within_s=30, what="connections are closed")
    until(lambda: not front.open_files(), within_s=30, what="files are closed")
    until(lambda: not front.decoders_at_work(), within_s=60, what="decoders have ended")


Attack = Callable[[Person, int], AbstractContextManager[Any]]


def half_heads(mallory: Person, count: int) -> AbstractContextManager[Any]:
    return held(mallory.front.port, b"GET / HTTP/1.1\r\nHost: local", count=count)


def withheld_forms(mallory: Person, count: int) -> AbstractContextManager[Any]:
    sent = head("POST", "/accounts/login/", FORM | {"Content-Length": "5000"})
    return held(mallory.front.port, sent + b"login=", count=count)


def withheld_uploads(mallory: Person, count: int) -> AbstractContextManager[Any]:
    headers, body = form(5 * MEGABYTE)
    sent = head("POST", "/api/v1/photos/", headers | mallory.token) + body[:1000]
    return held(mallory.front.port, sent, count=count)


@contextmanager
def dripping_uploads(mallory: Person, count: int) -> Iterator[None]:
    ended = threading.Event()

    def drip(lines: list[Any]) -> None:
        while not ended.wait(0.1):
            for line in lines:
                with suppress(OSError):
                    line.send(b"x")

    with withheld_uploads(mallory, count) as lines:
        thread = threading.Thread(target=drip, args=(lines,))
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


@pytest.mark.parametrize("attack", [half_heads, withheld_forms, withheld_uploads, dripping_uploads])
def test_what_never_comes_keeps_nobody_waiting(
    attack: Attack, front: RunningFront, mallory: Person, other: Person
) -> None:
    others_go_on(other)
    with attack(mallory, 100):
        others_go_on(other)
        # Their own are not held up by those of somebody else.
        assert other.upload(draw_picture(1))[0] == HTTPStatus.CREATED
    nothing_is_left(front)


def test_a_thousand_connections(front: RunningFront, mallory: Person, other: Person) -> None:
    with half_heads(mallory, 600):
        others_go_on(other)


def test_what_nobody_reads_keeps_nobody_waiting(
    front: RunningFront, mallory: Person, other: Person, large_photo: Photo
) -> None:
    link = share(owner=mallory.user, photo_ids=[large_photo.pk])
    zipped = head("GET", f"/s/{link.token}/download/")
    original = head("GET", f"/photos/{large_photo.pk}/original/", mallory.session)
    others_go_on(other)
    for sent in (zipped, original):
        with held(front.port, sent, count=20, receive_bytes=LITTLE):
            others_go_on(other)
            # And who reads gets all of it.
            _status, answer = answer_to(
                front.port, sent.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
            )
            assert len(answer) > large_photo.size_bytes
        nothing_is_left(front)


@pytest.mark.parametrize(
    "picture",
    [
        lambda number: tiny_webp(12_000, 9_990 - number),
        lambda number: jpeg_of_scans(4000, 3000, 2000, colour=number),
    ],
    ids=["120 megapixels in 38 bytes", "2,000 scans"],
)
def test_pictures_that_cost_much_leave_decoders_and_threads_to_others(
    front: RunningFront, mallory: Person, other: Person, picture: Callable[[int], bytes]
) -> None:
    statuses: list[int] = []

    def send(content: bytes) -> None:
        statuses.append(mallory.upload(content)[0])

    threads = [threading.Thread(target=send, args=(picture(number),)) for number in range(8)]
    for thread in threads:
        thread.start()
    others_go_on(other)
    assert other.upload(draw_picture(2))[0] == HTTPStatus.CREATED
    others_go_on(other)
    for thread in threads:
        thread.join()
    # On a fast core the smaller one is decoded within its time, and is a photo like any other.
    refusals = {HTTPStatus.BAD_REQUEST, HTTPStatus.SERVICE_UNAVAILABLE}
    assert set(statuses) <= {HTTPStatus.CREATED, *refusals}
    nothing_is_left(front)


@pytest.mark.parametrize("cookie", [None, "sessionid=forged"])
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/accounts/login/", HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
        ("/s/unknown/", HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
        ("/nowhere/", HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
        ("/api/v1/auth/token/", HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
        ("/api/v1/photos/", HTTPStatus.UNAUTHORIZED),
        ("/search/picture/", HTTPStatus.FOUND),
    ],
)
def test_of_strangers_nothing_is_kept(
    front: RunningFront, path: str, status: HTTPStatus, cookie: str | None
) -> None:
    headers, body = form(10 * MEGABYTE)
    headers |= {"Cookie": cookie} if cookie else {}
    kept = [0]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            kept.append(front.temporary_bytes())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        answered = answer_to(front.port, head("POST", path, headers), then=body)
        # Whoever asks first need not send it.
        waits = headers | {"Expect": "100-continue"}
        asked = answer_to(front.port, head("POST", path, waits))
        # In chunks it is not said how much is to come.
        chunked = {name: value for name, value in headers.items() if name != "Content-Length"}
        chunked |= {"Transfer-Encoding": "chunked"}
        chunk = f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
        in_chunks = answer_to(front.port, head("POST", path, chunked), then=chunk)
    finally:
        done.set()
        thread.join()
    assert [answered[0], asked[0], in_chunks[0]] == [status] * 3
    assert max(kept) < MEGABYTE
    assert (front.temporary_bytes(), list(front.layout.uploads.glob("*"))) == (0, [])


def test_a_form_of_a_person_is_no_place_for_files(front: RunningFront, mallory: Person) -> None:
    headers, body = form(10 * MEGABYTE)
    session = mallory.session
    assert answer_to(front.port, head("POST", "/favourites/", headers | session), then=body)[0] == (
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    )
    # Below the limit it reaches the view, and needs no disk for good.
    headers, body = form(MEGABYTE)
    status, _answer = answer_to(front.port, head("POST", "/favourites/", headers | session) + body)
    assert status == HTTPStatus.FORBIDDEN  # the token against forged requests is missing
    assert front.temporary_bytes() == 0


def test_a_file_that_is_too_large_is_refused_in_words(mallory: Person) -> None:
    status, answer = mallory.upload(bytes(23 * MEGABYTE))
    assert status == HTTPStatus.BAD_REQUEST
    assert b"The file is larger than" in answer
    assert mallory.front.temporary_bytes() == 0


def test_what_came_before_a_break_is_kept(front: RunningFront, mallory: Person) -> None:
    """Also while the connection stays, and nothing more comes."""
    protocol = {"Tus-Resumable": "1.0.0"} | mallory.token
    status, _answer = answer_to(
        front.port, head("POST", "/api/v1/uploads/", protocol | {"Upload-Length": "9000000"})
    )
    assert status == HTTPStatus.CREATED
    upload = PartialUpload.objects.get()
    part = protocol | {
        "Content-Type": "application/offset+octet-stream",
        "Upload-Offset": "0",
        "Content-Length": "9000000",
    }

    def offset() -> int:
        return PartialUpload.objects.get().offset

    with connect(front.port) as line:
        line.sendall(head("PATCH", f"/api/v1/uploads/{upload.pk}/", part) + bytes(3_000_000))
        until(lambda: offset() == 3_000_000, within_s=30, what="the part is stored")
        line.sendall(bytes(1000))
    until(lambda: offset() == 3_001_000, within_s=30, what="the rest is stored")
    # A part that goes beyond the end is refused as a whole.
    part |= {"Upload-Offset": "3001000"}
    status, _answer = answer_to(
        front.port, head("PATCH", f"/api/v1/uploads/{upload.pk}/", part), then=bytes(9_000_000)
    )
    assert (status, offset()) == (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, 3_001_000)


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 300 + b"\r\n",
        b"GET / HTTP/1.1\r\nA: " + b"b" * 300_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: " + b"b" * 300_000,
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100,
        b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_heads_that_are_none_are_refused(front: RunningFront, sent: bytes) -> None:
    status, _answer = answer_to(front.port, b"", then=sent)
    assert status < 500
    assert fetch(f"{front.base_url}/healthz").status == HTTPStatus.OK


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "OPTIONS", "TRACE", "PROPFIND"])
def test_any_method_is_answered(front: RunningFront, method: str) -> None:
    for path in ("/", "/healthz", "/accounts/login/", "/api/v1/photos/", "/%ff%fe/", "//"):
        assert fetch(f"{front.base_url}{path}", method).status < 500


def test_a_connection_serves_one_request_after_the_other(
    front: RunningFront, mallory: Person, large_photo: Photo
) -> None:
    session = mallory.session
    original = f"/photos/{large_photo.pk}/original/"
    several = (
        head("HEAD", original, session)
        + head("GET", "/healthz")
        + head("POST", "/accounts/login/", FORM | {"Content-Length": "1"}) + b"a"
        + head("GET", "/nowhere/", {"Connection": "close"})
    )  # fmt: skip
    with connect(front.port) as line:
        line.sendall(several)
        _status, read = read_answer(line)
    found = [int(line[9:12]) for line in read.split(b"\r\n") if line.startswith(b"HTTP/1.1")]
    rest = read.split(b'{"status": "ok"}', 1)
    assert found[:1] == [200]
    assert b"HTTP/1.1 403" in rest[-1]
    assert b"HTTP/1.1 404" in rest[-1]
    etag = fetch(f"{front.base_url}{original}", headers=session).headers["ETag"]
    again = fetch(f"{front.base_url}{original}", headers=session | {"If-None-Match": etag})
    assert (again.status, again.body) == (HTTPStatus.NOT_MODIFIED, b"")


def test_a_header_can_not_pass_for_another(front: RunningFront) -> None:
    told = f"{front.base_url}/accounts/login/"
    assert fetch(told, headers={"Accept-Language": "zh-hans"}).headers["Content-Language"] != "en"
    # WSGI writes both names alike.
    assert fetch(told, headers={"Accept_Language": "zh-hans"}).headers["Content-Language"] == "en"


def test_it_stops_at_once_whatever_clients_do(
    django_db_setup: None, tmp_path_factory: pytest.TempPathFactory, ann: User
) -> None:
    left = tmp_path_factory.mktemp("stopped")
    abandoned = left / "tmp" / "web-abandoned"
    abandoned.mkdir(parents=True)
    with running_front(left) as front:
        assert not abandoned.exists()  # what a killed process left
        mallory = Person(ann, front)
        with half_heads(mallory, 20), withheld_forms(mallory, 20), withheld_uploads(mallory, 5):
            time.sleep(0.5)
            front.process.terminate()
            assert front.process.wait(60) == 0
        # Nobody was given the ten seconds that running requests get.
        assert "exceeded" not in (left / "web.log").read_text()
