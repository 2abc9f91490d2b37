"""The decoder: `python -m gallery.decoding.child SOCKET MEMORY_BYTES`, started by `process.py`.

It bounds itself before it looks at a picture, answers one request after the other, and ends when
its parent closes the socket. Two timers end it, whatever it is busy with: one of CPU time, which
says that the picture takes too much, and one of the clock, for a parent that was killed while a
picture hangs. It closes the socket as well, but nobody reads that.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO
from zoneinfo import ZoneInfo

from gallery.decoding import answers, protocol
from gallery.decoding.problems import BadPicture, Problem
from gallery.formats import register_formats
from gallery.probing import probe_picture
from gallery.renditions import UnreadablePicture, make_renditions

# The socket, the standard streams, the picture, what reads it once more, a little air.
MOST_FILES = 16
# After the parent's own limit.
TIMER_GRACE_S = 2.0


def main() -> None:
    connection = socket.socket(fileno=int(sys.argv[1]))
    connection.settimeout(None)
    # Ctrl-C reaches the whole foreground; the parent decides what becomes of the picture.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    register_formats()
    os.chdir("/")
    bound(memory_bytes=int(sys.argv[2]))
    protocol.send(connection, {"ready": True})
    with suppress(protocol.Gone):
        while True:
            serve_one(connection)


def bound(*, memory_bytes: int) -> None:
    """Limit what this process may take, for good. What a platform lacks is left out."""
    for name, limit in (
        ("RLIMIT_AS", memory_bytes),
        ("RLIMIT_CORE", 0),  # it would hold the picture
        ("RLIMIT_FSIZE", 0),
        ("RLIMIT_NOFILE", MOST_FILES),
    ):
        # macOS knows the first and refuses to set it.
        with suppress(AttributeError, ValueError, OSError):
            resource.setrlimit(getattr(resource, name), (limit, limit))
    # Where the whole machine runs out of memory, rather this process than the database.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def serve_one(connection: socket.socket) -> None:
    """Raises protocol.Gone when there will be no further request."""
    request, _parts = protocol.receive(connection)
    descriptor = protocol.receive_file(connection)
    # Their default action needs no Python, so it ends a decoder that hangs in C. A decoder that is
    # frozen, or gets no turn on a loaded machine, uses no CPU time.
    signal.setitimer(signal.ITIMER_PROF, request["timeout_s"])
    signal.setitimer(signal.ITIMER_REAL, request["patience_s"] + TIMER_GRACE_S)
    with open(descriptor, "rb") as file:  # noqa: PTH123 - it has no path
        header, parts = answer(request, file)
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    protocol.send(connection, header | {"resident_bytes": resident_bytes()}, parts)


def answer(request: protocol.Header, file: IO[bytes]) -> tuple[protocol.Header, list[bytes]]:
    """What is sent back about `file`: facts or renditions, a problem, or a fault of ours."""
    try:
        return DECODERS[request["wanted"]](request, file)
    except MemoryError as error:
        bad = BadPicture(Problem.TOO_MUCH_MEMORY, str(error))
    except UnreadablePicture as error:
        bad = BadPicture(Problem.DAMAGED, str(error))
    except BadPicture as error:
        bad = error
    except Exception as error:
        return {"fault": repr(error)[:300]}, []
    # Libraries that get no memory say so in words of their own; those of AVIF, HEIF and WebP do not
    # always, and then the picture counts as damaged.
    if bad.problem is Problem.DAMAGED and "memory" in bad.detail.lower():
        bad = BadPicture(Problem.TOO_MUCH_MEMORY, bad.detail)
    return answers.problem_as_message(bad), []


def _facts(request: protocol.Header, file: IO[bytes]) -> tuple[protocol.Header, list[bytes]]:
    return answers.facts_as_message(probe_picture(file, max_pixels=request["max_pixels"])), []


def _renditions(request: protocol.Header, file: IO[bytes]) -> tuple[protocol.Header, list[bytes]]:
    file.seek(0)
    made = make_renditions(file, time_zone=ZoneInfo(request["time_zone"]))
    return answers.renditions_as_message(made)


DECODERS: dict[str, Callable[[protocol.Header, IO[bytes]], tuple[protocol.Header, list[bytes]]]] = {
    "facts": _facts,
    "renditions": _renditions,
}


def resident_bytes() -> int:
    """The memory that this process holds now; 0 where it can't be told."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * resource.getpagesize()


if __name__ == "__main__":
    main()
