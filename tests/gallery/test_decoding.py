"""Decoders that hang, grow, crash and lie."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil
import pytest
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone
from PIL import Image
from pytest_django import Settings

from accounts.models import User
from gallery.decoding import answers, process, protocol
from gallery.decoding.pool import MOST_DECODERS, DecoderPool, DecodersBusy, pool
from gallery.decoding.problems import BadPicture, Problem
from gallery.decoding.process import DecoderProcess, Limits
from gallery.decoding.service import probe, readable_descriptor, render
from gallery.models import Photo
from gallery.processing import (
    TOO_MUCH_MEMORY,
    TOO_SLOW,
    UNREADABLE,
    process_due_photos,
    process_photo,
)
from gallery.services import add_photo
from t2isearch.embedded.state import BASE_DIR
from tests.conftest import draw_picture
from tests.gallery.pictures import saved

URL = "/api/v1/photos/"
MEGABYTE = 1024 * 1024
SECRET = "a-secret-of-the-parent"
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture(autouse=True)
def _own_decoders() -> Iterator[None]:
    pool().end()
    yield
    pool().end()


@pytest.fixture
def client(client: Client, ann: User) -> Client:
    client.force_login(ann)
    return client


@cache
def bomb() -> bytes:
    """Small as a file; 100 megapixels, which is 400 MB once it is decoded."""
    content = saved(Image.new("RGBA", (10_000, 10_000), "teal"), "PNG", compress_level=1)
    assert len(content) < 10 * MEGABYTE
    return content


def upload(client: Client, content: bytes) -> tuple[int, dict[str, Any]]:
    response = client.post(URL, {"file": SimpleUploadedFile("a.jpg", content)})
    return response.status_code, response.json()


def add(owner: User, content: bytes) -> Photo:
    file = ContentFile(content, name="a.jpg")
    return add_photo(owner=owner, file=file, filename="a.jpg").photo


def file_of(number: int = 1) -> io.BytesIO:
    return io.BytesIO(draw_picture(number))


def idle_decoder() -> DecoderProcess:
    """The decoder that the next picture is given to."""
    if not pool()._idle:
        probe(file_of())
    return pool()._idle[-1]


def is_gone(pid: int) -> bool:
    """Not even a zombie."""
    return not psutil.pid_exists(pid)


def states() -> list[tuple[str, str]]:
    return list(Photo.objects.order_by("pk").values_list("state", "error"))


def test_a_picture_that_takes_too_long_is_refused(client: Client, settings: Settings) -> None:
    settings.DECODE_TIMEOUT_S = 0.02
    status, body = upload(client, bomb())
    assert (status, body["file"]) == (400, ["The picture takes too long to decode."])
    assert not Photo.objects.exists()
    settings.DECODE_TIMEOUT_S = 30.0
    assert upload(client, draw_picture(1))[0] == 201


def test_a_picture_that_needs_too_much_memory_is_refused(
    client: Client, settings: Settings
) -> None:
    settings.DECODE_MEMORY_BYTES = 300 * MEGABYTE
    status, body = upload(client, bomb())
    assert (status, body["file"]) == (400, ["The picture needs too much memory to decode."])
    assert not Photo.objects.exists()
    assert upload(client, draw_picture(1))[0] == 201


@pytest.mark.parametrize(
    ("picture_format", "problem"),
    # That of WebP, as those of AVIF and HEIF, only says that it did not work.
    [("TIFF", Problem.TOO_MUCH_MEMORY), ("WEBP", Problem.DAMAGED)],
)
def test_a_library_that_gets_no_memory_refuses(
    settings: Settings, picture_format: str, problem: Problem
) -> None:
    content = saved(Image.new("RGB", (6000, 6000), "teal"), picture_format)
    settings.DECODE_MEMORY_BYTES = 110 * MEGABYTE
    with pytest.raises(BadPicture) as raised:
        render(io.BytesIO(content))
    assert raised.value.problem is problem
    assert probe(file_of()).width == 320


def test_the_search_box_refuses_with_the_same_sentence(client: Client, settings: Settings) -> None:
    settings.DECODE_MEMORY_BYTES = 300 * MEGABYTE
    response = client.post(
        "/search/picture/", {"picture": SimpleUploadedFile("a.png", bomb())}, follow=True
    )
    (message,) = response.context["messages"]
    assert message.message == "The picture needs too much memory to decode."


@pytest.fixture
def impatient(settings: Settings) -> None:
    """Decoders that do not answer are given up soon, by the clock."""
    settings.DECODE_TIMEOUT_S = 0.5
    settings.DECODE_PATIENCE_S = 3.0


@pytest.mark.usefixtures("impatient")
def test_a_decoder_that_is_frozen_is_replaced(client: Client, settings: Settings) -> None:
    """And its picture is not refused: it has used no time."""
    frozen = idle_decoder()
    os.kill(frozen.pid, signal.SIGSTOP)
    response = client.post(URL, {"file": SimpleUploadedFile("a.jpg", draw_picture(2))})
    assert (response.status_code, response["Retry-After"]) == (503, "60")
    assert is_gone(frozen.pid)
    settings.DECODE_TIMEOUT_S = 30.0
    assert upload(client, draw_picture(3))[0] == 201
    assert idle_decoder().pid != frozen.pid


def test_a_decoder_that_wakes_up_goes_on_with_its_picture(settings: Settings) -> None:
    """Frozen for longer than its CPU time, as its whole machine may have been."""
    settings.DECODE_TIMEOUT_S = 2.0
    decoder = idle_decoder()
    os.kill(decoder.pid, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as threads:
        facts = threads.submit(probe, file_of(2))
        time.sleep(3)
        os.kill(decoder.pid, signal.SIGCONT)
        assert facts.result().width == 320
    assert idle_decoder().pid == decoder.pid


def while_it_decodes(end: signal.Signals) -> Any:
    """What a picture gives whose decoder gets this signal; the decoder is gone then."""
    decoder = idle_decoder()
    os.kill(decoder.pid, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as threads:
        facts = threads.submit(probe, file_of(2))
        while pool()._idle:
            time.sleep(0.01)
        os.kill(decoder.pid, end)
        os.kill(decoder.pid, signal.SIGCONT)
        try:
            return facts.result()
        except Exception as error:
            return error
        finally:
            assert is_gone(decoder.pid)


@pytest.mark.parametrize("crash", [signal.SIGSEGV, signal.SIGABRT])
def test_a_decoder_that_crashes_refuses_its_picture(crash: signal.Signals) -> None:
    error = while_it_decodes(crash)
    assert isinstance(error, BadPicture)
    assert error.problem is Problem.CRASHED
    assert probe(file_of()).width == 320


def test_a_decoder_that_is_killed_from_outside_costs_no_picture() -> None:
    assert while_it_decodes(signal.SIGKILL).width == 320


def test_an_idle_decoder_that_died_is_replaced() -> None:
    decoder = idle_decoder()
    os.kill(decoder.pid, signal.SIGSEGV)
    while psutil.Process(decoder.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert probe(file_of()).width == 320
    assert is_gone(decoder.pid)


def test_the_worker_fails_what_grows_and_goes_on(ann: User, settings: Settings) -> None:
    for content in (bomb(), draw_picture(1)):
        add(ann, content)
    settings.DECODE_MEMORY_BYTES = 300 * MEGABYTE
    process_due_photos(for_seconds=60)
    assert states() == [("failed", TOO_MUCH_MEMORY), ("ready", "")]


def test_the_worker_fails_what_takes_too_long_and_goes_on(ann: User, settings: Settings) -> None:
    photos = [add(ann, content) for content in (bomb(), draw_picture(1))]
    settings.DECODE_TIMEOUT_S = 0.02
    process_photo(photos[0])
    settings.DECODE_TIMEOUT_S = 30.0
    process_due_photos(for_seconds=60)
    assert states() == [("failed", TOO_SLOW), ("ready", "")]


@pytest.mark.usefixtures("impatient")
def test_a_frozen_decoder_counts_for_nothing(ann: User, settings: Settings) -> None:
    settings.DECODE_TIMEOUT_S = 30.0
    photo = add(ann, draw_picture(1))
    settings.DECODE_TIMEOUT_S = 0.5
    pool().end()  # what is left has the other limits
    for _ in range(2):
        os.kill(idle_decoder().pid, signal.SIGSTOP)
        Photo.objects.update(due_at=timezone.now())
        process_due_photos(for_seconds=60)
        photo.refresh_from_db()
        assert (photo.state, photo.attempts) == ("processing", 0)
    settings.DECODE_TIMEOUT_S = 30.0
    Photo.objects.update(due_at=timezone.now())
    process_due_photos(for_seconds=60)
    assert states() == [("ready", "")]
    assert not [
        each for each in psutil.Process().children() if each.status() == psutil.STATUS_ZOMBIE
    ]


def test_the_worker_fails_what_crashes_its_decoder(ann: User) -> None:
    add(ann, draw_picture(1))
    crashed = BadPicture(Problem.CRASHED, "exit code -11")
    with patch("gallery.processing.render", side_effect=crashed):
        process_due_photos(for_seconds=60)
    assert states() == [("failed", UNREADABLE)]


def test_the_worker_tries_again_what_found_no_decoder(ann: User, settings: Settings) -> None:
    photo = add(ann, draw_picture(1))
    settings.DECODE_TIMEOUT_S = 0.01
    turns = [pool()._turns.acquire(timeout=10) for _ in range(MOST_DECODERS)]
    try:
        process_due_photos(for_seconds=60)
    finally:
        for _ in turns:
            pool()._turns.release()
    photo.refresh_from_db()
    assert (photo.state, photo.attempts) == ("processing", 0)


def test_an_upload_that_finds_no_decoder_may_come_again(client: Client, settings: Settings) -> None:
    settings.DECODE_TIMEOUT_S = 0.01
    turns = [pool()._turns.acquire(timeout=10) for _ in range(MOST_DECODERS)]
    try:
        response = client.post(URL, {"file": SimpleUploadedFile("a.jpg", draw_picture(1))})
    finally:
        for _ in turns:
            pool()._turns.release()
    assert (response.status_code, response["Retry-After"]) == (503, "60")
    assert "try again in a minute" in response.json()["detail"]
    assert not Photo.objects.exists()


def test_threads_take_turns_and_each_gets_its_own_answer() -> None:
    sizes = [(100 + number, 300 - number) for number in range(24)]
    files = [io.BytesIO(draw_picture(1, size=size)) for size in sizes]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(probe, files))
        rendered = list(threads.map(render, files))
    assert [(facts.width, facts.height) for facts in found] == sizes
    assert [each.thumbnail_size for each in rendered] == sizes
    assert 1 <= len(pool()._idle) <= MOST_DECODERS


def test_a_turn_is_waited_for_no_longer_than_said() -> None:
    limits, small = Limits(30.0, 2048 * MEGABYTE, 120.0), DecoderPool(1)
    try:
        with (
            small.decoder(limits, patience_s=1),
            pytest.raises(DecodersBusy),
            small.decoder(limits, patience_s=0.01),
        ):
            pass
        with small.decoder(limits, patience_s=0.01) as decoder:
            assert decoder.is_usable()
    finally:
        small.end()


def test_a_decoder_ends_after_its_share_of_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "MOST_PICTURES", 2)
    first = idle_decoder().pid
    probe(file_of())
    assert is_gone(first)
    assert not pool()._idle


def test_a_decoder_whose_memory_stays_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "MOST_RESIDENT_BYTES", 1)
    probe(file_of())
    assert not pool()._idle


@LINUX
def test_a_decoder_sees_no_secrets_and_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", SECRET)
    decoder = idle_decoder()
    folder = Path(f"/proc/{decoder.pid}")
    variables = (folder / "environ").read_text().split("\x00")
    assert {each.partition("=")[0] for each in variables if each} == set(process.ENVIRONMENT)
    # The standard streams and its socket.
    assert len(list((folder / "fd").iterdir())) == 4
    bounds = psutil.Process(decoder.pid).rlimit
    memory = decoder.limits.memory_bytes
    assert bounds(psutil.RLIMIT_AS) == (memory, memory)
    assert bounds(psutil.RLIMIT_CORE) == bounds(psutil.RLIMIT_FSIZE) == (0, 0)
    assert bounds(psutil.RLIMIT_NOFILE) == (16, 16)
    assert (folder / "oom_score_adj").read_text().strip() == "1000"
    assert (folder / "cwd").readlink() == Path("/")


def test_a_decoder_loads_nothing_of_the_site() -> None:
    program = (
        "import sys, gallery.decoding.child; print('django' in sys.modules, 'numpy' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], cwd=BASE_DIR, capture_output=True, text=True, check=True
    )
    assert answer.stdout.split() == ["False", "False"]


def test_a_file_on_disk_is_handed_over_for_reading_only(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(draw_picture(1))
    with path.open("r+b") as file, readable_descriptor(file) as descriptor:
        assert os.read(descriptor, 2) == b"\xff\xd8"
        assert os.path.samestat(os.fstat(descriptor), path.stat()) is (sys.platform == "linux")
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(descriptor, b"x")
    assert path.read_bytes() == draw_picture(1)


def test_an_upload_that_is_not_held_in_memory(client: Client, settings: Settings) -> None:
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 100
    assert upload(client, draw_picture(1))[0] == 201


def test_the_clock_of_a_camera_shows_the_sites_time(settings: Settings) -> None:
    settings.TIME_ZONE = "Asia/Shanghai"
    exif = Image.Exif()
    exif[0x0132] = "2021:07:04 12:30:45"
    taken_at = render(io.BytesIO(saved(Image.new("RGB", (9, 9)), exif=exif.tobytes()))).metadata
    assert taken_at.taken_at is not None
    assert taken_at.taken_at.isoformat() == "2021-07-04T12:30:45+08:00"


# Parents that fork, end, and are killed.

PARENT = """
import io, os, sys, time
from django.conf import settings
settings.configure(
    USE_TZ=True, TIME_ZONE="UTC", MAX_PIXELS=10**8, DECODE_TIMEOUT_S=30.0, DECODE_PATIENCE_S=60.0,
    DECODE_MEMORY_BYTES=2**31,
)
from PIL import Image
from gallery.decoding.pool import pool
from gallery.decoding.service import probe
file = io.BytesIO()
Image.new("RGB", (40, 30)).save(file, "JPEG")

def decoder():
    assert probe(file).width == 40
    return pool()._idle[-1].pid
"""


def parent(program: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PARENT + program], cwd=BASE_DIR, stdout=subprocess.PIPE, text=True
    )


def test_a_fork_has_decoders_of_its_own() -> None:
    program = """
before = decoder()
if (child := os.fork()) == 0:
    print(before, decoder(), flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print(before, decoder(), flush=True)
"""
    with parent(program) as running:
        lines = [line.split() for line in (running.stdout or [])]
    assert running.returncode == 0
    assert lines[0][0] != lines[0][1]
    assert lines[1][0] == lines[1][1] == lines[0][0]
    wait_until_gone(*{int(pid) for line in lines for pid in line})


def test_decoders_end_with_their_parent() -> None:
    with parent("print(decoder(), flush=True)") as running:
        assert running.stdout is not None
        pid = int(running.stdout.read())
    wait_until_gone(pid)


def test_decoders_end_with_a_parent_that_is_killed() -> None:
    with parent("print(decoder(), flush=True); time.sleep(600)") as running:
        assert running.stdout is not None
        pid = int(running.stdout.readline())
        running.kill()
    wait_until_gone(pid)


def wait_until_gone(*pids: int) -> None:
    """Ended; who inherited them may not have taken notice."""
    deadline = time.monotonic() + 60
    while any(
        psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        for pid in pids
    ):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_decoder_that_nobody_waits_for_ends_by_itself() -> None:
    """As after its parent was killed: the timer ends it in the middle of a picture."""
    decoder = DecoderProcess(Limits(60.0, 2048 * MEGABYTE, 240.0))
    try:
        with readable_descriptor(io.BytesIO(bomb())) as descriptor:
            request: protocol.Header = {
                    "wanted": "facts", "max_pixels": 10**9, "timeout_s": 60, "patience_s": -1.98,
                }  # fmt: skip
            protocol.send(decoder._connection, request)
            protocol.send_file(decoder._connection, descriptor)
            with pytest.raises(TimeoutError):
                decoder._receive(time.monotonic() + 60)
        assert decoder._process.returncode == -signal.SIGALRM
    finally:
        decoder.end()


# Answers of a decoder that a picture has taken over.


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def framed(content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + content


@pytest.mark.parametrize(
    "sent",
    [
        framed(b"no json"),
        framed(b"[1]"),
        framed(b"{}"),
        framed(b'{"sizes": [-1]}'),
        framed(b'{"sizes": ["1"]}'),
        framed(b'{"sizes": [true]}'),
        framed(b'{"sizes": 3}'),
        framed(b'{"sizes": [], "x": NaN}'),
        framed(b'{"sizes": [99999999999]}'),
        framed(b'{"sizes": [0, 0, 0, 0, 0]}'),
        framed(b"[" * 60_000),
        framed(b"\xff\xfe"),
        b"\xff\xff\xff\xff",
    ],
)
def test_what_is_no_message_is_garbled(
    ends: tuple[socket.socket, socket.socket], sent: bytes
) -> None:
    ours, theirs = ends
    theirs.sendall(sent)
    with pytest.raises(protocol.Garbled):
        protocol.receive(ours, deadline=time.monotonic() + 10)


def test_half_a_message(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    theirs.sendall(framed(b'{"sizes": [10]}') + b"four")
    with pytest.raises(TimeoutError):
        protocol.receive(ours, deadline=time.monotonic() + 0.05)
    theirs.close()
    with pytest.raises(protocol.Gone):
        protocol.receive(ours)


def test_a_message_arrives_as_it_was_sent(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    header, parts = {"é": [1, None, "\x00"]}, [b"", bytes(100_000)]
    with ThreadPoolExecutor(1) as threads:
        sending = threads.submit(protocol.send, theirs, header, parts)
        assert protocol.receive(ours, deadline=time.monotonic() + 10) == (header, parts)
        sending.result()


@pytest.mark.parametrize(
    "facts",
    [
        None,
        {},
        {"media_type": "text/html", "width": 1, "height": 1},
        {"media_type": "image/png", "width": 0, "height": 1},
        {"media_type": "image/png", "width": 1, "height": True},
        {"media_type": "image/png", "width": 1, "height": 2**31},
        {"media_type": ["image/png"], "width": 1, "height": 1},
        {"media_type": "image/png", "width": 1, "height": 1, "more": 1},
    ],
)
def test_facts_that_cannot_be_are_garbled(facts: Any) -> None:
    with pytest.raises(protocol.Garbled):
        answers.facts_from({"facts": facts})


def put(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(header: dict[str, Any]) -> None:
        *folders, name = path.split(".")
        for folder in folders:
            header = header[folder]
        header[name] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        put("thumbnail_size", [0, 5]),
        put("thumbnail_size", [1.5, 5]),
        put("thumbnail_size", 5),
        put("thumbnail_size", [5, 1601]),
        put("placeholder", "javascript:alert(1)"),
        put("placeholder", 'data:image/webp;base64,AAAA" onload="x'),
        put("placeholder", None),
        put("metadata", []),
        put("metadata.taken_at", "2021-07-04T12:30:45"),
        put("metadata.taken_at", "0001-01-01T00:00:00+14:00"),
        put("metadata.taken_at", 5),
        put("metadata.camera", "x" * 121),
        put("metadata.camera", "a\x00b"),
        put("metadata.lens", None),
        put("metadata.latitude", "52"),
        put("metadata.iso", 2.5),
        put("metadata.iso", 2**31),
        put("metadata.f_number", True),
        put("metadata.f_number", float("inf")),
        put("metadata.owner", 1),
        lambda header: header.pop("metadata"),
    ],
)
def test_renditions_that_cannot_be_are_garbled(change: Callable[[dict[str, Any]], Any]) -> None:
    header, parts = answers.renditions_as_message(render(file_of()))
    header = json.loads(json.dumps(header))
    assert answers.renditions_from(header, parts).preview == parts[1]
    change(header)
    with pytest.raises(protocol.Garbled):
        answers.renditions_from(header, parts)


@pytest.mark.parametrize("parts", [[], [b"\xff\xd8\xff"], [b"<html>", b"\xff\xd8\xff"]])
def test_renditions_that_are_none_are_garbled(parts: list[bytes]) -> None:
    header, _parts = answers.renditions_as_message(render(file_of()))
    with pytest.raises(protocol.Garbled):
        answers.renditions_from(header, parts)


def test_problems_that_there_are_not_are_garbled() -> None:
    for problem in ("bored", ["damaged"], None):
        with pytest.raises(protocol.Garbled):
            answers.problem_from({"problem": problem})


def test_a_decoder_that_lies_is_ended_and_its_picture_refused() -> None:
    decoder = idle_decoder()
    lie = patch.object(answers, "facts_from", side_effect=protocol.Garbled("a lie"))
    with lie, pytest.raises(BadPicture, match="crashed"):
        probe(file_of())
    assert is_gone(decoder.pid)


def test_a_fault_of_ours_is_not_the_pictures() -> None:
    decoder = DecoderProcess(Limits(60.0, 2048 * MEGABYTE, 240.0))
    try:
        with readable_descriptor(file_of()) as descriptor:
            header, parts = decoder.ask({"wanted": "poetry"}, descriptor)
            assert (header, parts) == ({"fault": "KeyError('poetry')"}, [])
            header, parts = decoder.ask({"wanted": "facts", "max_pixels": 10**6}, descriptor)
            assert answers.facts_from(header).media_type == "image/jpeg"
    finally:
        decoder.end()
