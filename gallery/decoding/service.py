"""Decode a picture without letting it near this process."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO, TypeVar

from django.conf import settings

from gallery.decoding import answers, protocol
from gallery.decoding.pool import DecodersBusy, pool
from gallery.decoding.problems import BadPicture, Problem
from gallery.decoding.process import DecoderEnded, DecoderNotStarted, Limits, OutOfTime
from gallery.probing import PictureFacts
from gallery.renditions import Renditions

logger = logging.getLogger(__name__)

# For how many pictures that hang one waits.
PATIENCE = 2

Answer = TypeVar("Answer")
Read = Callable[[protocol.Header, Sequence[bytes]], Answer]


class DecoderUnavailable(Exception):
    """The picture was not decoded, and that is not its fault as far as can be told."""


class DecodersKilled(DecoderUnavailable):
    """Two in a row were ended from outside over one picture, as the kernel does for memory."""


def probe(file: IO[bytes]) -> PictureFacts:
    """Decode `file` and say what it is.

    Raises:
        BadPicture: it is no picture of a known format, is damaged, or takes too much.
        DecoderUnavailable
    """
    request = {"wanted": "facts", "max_pixels": settings.MAX_PIXELS}
    return _decode(file, request, lambda header, _parts: answers.facts_from(header))


def render(file: IO[bytes]) -> Renditions:
    """What a photo is shown by, made of `file`.

    Raises:
        BadPicture: it can't be decoded, or takes too much.
        DecoderUnavailable
    """
    request = {"wanted": "renditions", "time_zone": settings.TIME_ZONE}
    return _decode(file, request, answers.renditions_from)


def _decode(file: IO[bytes], request: protocol.Header, read: Read[Answer]) -> Answer:
    with readable_descriptor(file) as descriptor:
        try:
            return _ask(descriptor, request, read)
        except DecoderEnded as ended:
            # As a rule by the kernel, for memory that others used up.
            logger.warning("a decoder was ended from outside (%s), another one tries", ended)
        try:
            return _ask(descriptor, request, read)
        except DecoderEnded as ended:
            raise DecodersKilled(f"ended from outside: {ended}") from ended


def _ask(descriptor: int, request: protocol.Header, read: Read[Answer]) -> Answer:
    """Raises DecoderEnded when the decoder was ended from outside, else as `probe` does."""
    limits = Limits(
        settings.DECODE_TIMEOUT_S, settings.DECODE_MEMORY_BYTES, settings.DECODE_PATIENCE_S
    )
    try:
        with pool().decoder(limits, patience_s=PATIENCE * limits.timeout_s) as decoder:
            header, parts = decoder.ask(request, descriptor)
            bad, fault = answers.problem_from(header), header.get("fault")
            answer = read(header, parts) if bad is None and fault is None else None
    except OutOfTime:
        bad = BadPicture(Problem.TOO_SLOW, f"more than {limits.timeout_s:g} s of CPU time")
    except TimeoutError as error:
        # Frozen, or starved on a loaded machine: see `OutOfTime`.
        raise DecoderUnavailable(f"no answer in {limits.patience_s:g} s") from error
    except protocol.Garbled as garbled:
        bad = BadPicture(Problem.CRASHED, f"an answer that is none: {garbled}")
    except DecoderEnded as ended:
        if ended.from_outside:
            raise
        bad = BadPicture(Problem.CRASHED, str(ended))
    except (DecodersBusy, DecoderNotStarted, OSError) as error:
        raise DecoderUnavailable(str(error)) from error
    if bad is not None:
        if bad.problem in {Problem.TOO_SLOW, Problem.TOO_MUCH_MEMORY, Problem.CRASHED}:
            logger.warning("a picture was given up: %s", bad)
        raise bad
    if answer is None:
        raise DecoderUnavailable(f"a fault in the decoder: {str(fault)[:300]}")
    return answer


@contextmanager
def readable_descriptor(file: IO[bytes]) -> Iterator[int]:
    """A descriptor to read `file` by, through which it can't be written to.

    A file on disk is opened anew; anything else is copied into memory of its own.
    """
    with ExitStack() as stack:
        file.seek(0)
        descriptor = _opened_anew(file)
        if descriptor is None:
            copy = stack.enter_context(_memory_file())
            shutil.copyfileobj(file, copy, 1024 * 1024)
            copy.flush()
            descriptor = copy.fileno()
        else:
            stack.callback(os.close, descriptor)
        yield descriptor


def _opened_anew(file: IO[bytes]) -> int | None:
    try:
        file.flush()
        # Finds an unlinked file as well. macOS has no such paths.
        return os.open(f"/proc/self/fd/{file.fileno()}", os.O_RDONLY)
    except (OSError, ValueError, AttributeError):
        return None


def _memory_file() -> IO[bytes]:
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("picture"), "w+b")
    return tempfile.TemporaryFile()
