"""The parts of the web server's front, each with a client that is played to it."""

from __future__ import annotations

import asyncio
import errno
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from uvicorn import Config

from gallery.decoding.pool import DecoderPool, DecodersBusy, on_behalf_of
from t2isearch.embedded.service import free_port
from t2isearch.front import bodies, connections, lanes
from t2isearch.front.application import Front
from t2isearch.front.bridge import Answer
from t2isearch.front.lanes import Lane, Turns
from t2isearch.front.scratch import use_own_directory
from t2isearch.front.server import FrontServer
from tests.attacks import LITTLE, head, held, until

FORM = [(b"content-type", b"application/x-www-form-urlencoded")]


def scope(method: str = "GET", path: str = "/", headers: Iterable[tuple[bytes, bytes]] = ()) -> Any:
    return {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"localhost"), *headers],
    }


def ask(
    application: Any, asked: Any, body: Iterable[bytes] = (), *, ends: bool = True
) -> tuple[int | None, bytes]:
    """The answer, where the body comes in these parts and then ends, or no more comes."""

    async def talk() -> tuple[int | None, bytes]:
        parts = [{"type": "http.request", "body": part, "more_body": True} for part in body]
        if parts and ends:
            parts[-1]["more_body"] = False
        status, read = None, b""

        async def receive() -> Any:
            if not parts:
                await asyncio.Event().wait()
            return parts.pop(0)

        async def send(message: Any) -> None:
            nonlocal status, read
            status = message.get("status", status)
            read += message.get("body", b"")

        await Front(application)(asked, receive, send)
        return status, read

    return asyncio.run(talk())


class Seen:
    """A WSGI application that notes what it is asked, and answers with the body it got."""

    def __init__(self, parts: Callable[[], Iterable[bytes]] | None = None) -> None:
        self.environs: list[dict[str, Any]] = []
        self.parts = parts

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.environs.append(environ)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return self.parts() if self.parts else [environ["wsgi.input"].read()]


def test_a_body_reaches_the_application_whole() -> None:
    seen = Seen()
    body = [b"a" * 40_000, b"b" * 20_000]
    asked = scope("POST", "/x/", [*FORM, (b"content-length", b"60000")])
    assert ask(seen, asked, body) == (200, b"".join(body))
    assert seen.environs[0]["CONTENT_LENGTH"] == "60000"
    # Without a length it is counted.
    chunked = scope("POST", "/x/", [*FORM, (b"transfer-encoding", b"chunked")])
    assert ask(seen, chunked, body) == (200, b"".join(body))
    assert seen.environs[1]["CONTENT_LENGTH"] == "60000"


def test_who_sends_nothing_is_told_so(client: Any) -> None:
    from t2isearch.wsgi import application

    asked = scope("POST", "/accounts/login/", [*FORM, (b"content-length", b"5")])
    with patch.object(bodies, "IDLE_S", 0.05), patch.object(bodies, "GRACE_S", 0.05):
        status, page = ask(application, asked, [b"a"], ends=False)
    assert status == 408
    assert b"did not arrive in time" in page


@pytest.mark.parametrize("path", ["/accounts/login/", "/api/v1/auth/token/"])
def test_a_full_disk_is_told_with_when_to_try_again(client: Any, path: str) -> None:
    from t2isearch.wsgi import application

    asked = scope("POST", path, [*FORM, (b"content-length", b"5")])
    answers: list[Answer] = []

    async def note(answer: Answer, *_args: Any, **_options: Any) -> None:
        answers.append(answer)

    full = OSError(errno.ENOSPC, "No space left on device")
    with (
        patch("t2isearch.front.application._receive", side_effect=full),
        patch("t2isearch.front.application.send_answer", note),
    ):
        ask(application, asked, [b"hello"])
    (answer,) = answers
    assert answer.status == 507
    assert answer.header(b"retry-after") == b"60"
    assert b"The storage of this site is full" in answer.beginning


def test_an_answer_that_nobody_wants_is_closed() -> None:
    closed = threading.Event()

    def parts() -> Iterator[bytes]:
        try:
            while True:
                yield bytes(100_000)
        finally:
            closed.set()

    async def talk() -> None:
        gone = [False]
        asked = scope() | {"state": {"is_gone": lambda: gone[0]}}
        sent = 0

        async def send(message: Any) -> None:
            nonlocal sent
            sent += len(message.get("body", b""))
            gone[0] = sent > 1_000_000

        async def receive() -> Any:
            raise AssertionError("there is no body")

        await Front(Seen(parts))(asked, receive, send)
        await asyncio.to_thread(closed.wait, 10)

    asyncio.run(talk())
    assert closed.is_set()


def test_a_person_takes_no_more_than_their_turns() -> None:
    async def talk() -> list[str]:
        turns, order = Turns(2, most_each=1), []

        async def take(person: str) -> None:
            async with turns.of(person):
                order.append(person)
                await asyncio.sleep(0.05)

        await asyncio.gather(*(take(person) for person in "aaab"))
        assert not turns._each
        return order

    assert asyncio.run(talk()) == ["a", "b", "a", "a"]


def test_a_lane_says_when_too_many_wait() -> None:
    async def talk() -> None:
        lane, ended = Lane("one", 1, most_waiting=1), threading.Event()
        running = [lane.submit(ended.wait) for _ in range(2)]
        with pytest.raises(lanes.LaneFull):
            lane.submit(ended.wait)
        ended.set()
        await asyncio.gather(*running)
        with pytest.raises(ZeroDivisionError):
            await lane.submit(lambda: 1 / 0)

    asyncio.run(talk())


def test_a_decoder_is_left_to_others() -> None:
    pool = DecoderPool(2)
    with on_behalf_of("a"), pool._turn_of("a", time.monotonic()):
        with pytest.raises(DecodersBusy), pool._turn_of("a", time.monotonic() + 0.05):
            pass
        with pool._turn_of("b", time.monotonic()), pool._turn_of(None, time.monotonic()):
            pass
    assert not pool._uses


def test_what_a_killed_process_kept_is_removed(tmp_path: Path) -> None:
    before = tempfile.tempdir
    try:
        lives = use_own_directory(tmp_path)
        (tmp_path / "web-killed").mkdir()
        (tmp_path / "web-killed" / "half.upload").touch()
        again = use_own_directory(tmp_path)
    finally:
        tempfile.tempdir = before
    assert sorted(tmp_path.iterdir()) == sorted([lives, again])


def test_two_that_start_at_once_leave_each_other_their_directories(tmp_path: Path) -> None:
    before, make = tempfile.tempdir, tempfile.mkdtemp
    others: list[threading.Thread] = []

    def make_slowly(**options: Any) -> Any:
        made = make(**options)
        if not others:
            others.append(threading.Thread(target=use_own_directory, args=(tmp_path,)))
            others[0].start()
            others[0].join(timeout=0.3)
        return made

    try:
        with patch.object(tempfile, "mkdtemp", make_slowly):
            directory = use_own_directory(tmp_path)
            others[0].join()
    finally:
        tempfile.tempdir = before
    assert directory.is_dir()


@pytest.fixture
def endless(unused_tcp_port: int) -> Iterator[int]:
    """The port of a server whose answers have no end, in this process."""

    def parts() -> Iterator[bytes]:
        while True:
            yield bytes(100_000)

    config = Config(
        Front(Seen(parts)), port=unused_tcp_port, http=connections.Connection, ws="none",
        lifespan="off", log_config=None,
    )  # fmt: skip
    server = FrontServer(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started, within_s=30, what="it has started")
    yield unused_tcp_port
    server.should_exit = True
    thread.join()


@pytest.fixture
def unused_tcp_port() -> int:
    return free_port()


def read_all(line: socket.socket) -> None:
    while line.recv(1_000_000):
        pass


def test_who_does_not_read_is_cut_off(endless: int) -> None:
    with (
        patch.object(connections, "STALLED_S", 0.5),
        held(endless, head("GET", "/"), count=3, receive_bytes=LITTLE) as lines,
    ):
        time.sleep(4)
        for line in lines:
            with pytest.raises(ConnectionResetError):
                read_all(line)


def test_half_a_head_is_cut_off(endless: int) -> None:
    with patch.object(connections, "HEAD_S", 0.5), held(endless, b"GET / H", count=3) as lines:
        time.sleep(2)
        for line in lines:
            with pytest.raises(ConnectionResetError):
                line.recv(1)


def test_who_waits_longest_makes_room(endless: int) -> None:
    with (
        patch.object(connections.Connection, "most_connections", 5),
        held(endless, b"GET / H", count=5),
        held(endless, head("GET", "/"), count=5) as latest,
    ):
        assert all(line.recv(12) == b"HTTP/1.1 200" for line in latest)
