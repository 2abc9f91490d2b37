"""Which way a request goes: what is received of it, by whom it is answered, and in which thread."""

from __future__ import annotations

import errno
import io
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, replace
from functools import partial
from typing import IO, Any

from django.conf import settings
from django.urls import reverse

from gallery.decoding.pool import MOST_DECODERS, on_behalf_of
from t2isearch.front.bodies import BodyLost, BodyTooSlow, Incoming, Receive, kept_body
from t2isearch.front.bridge import (
    Answer,
    Application,
    Send,
    answer_of,
    send_answer,
    send_plainly,
)
from t2isearch.front.lanes import Lane, LaneFull, Turns
from t2isearch.front.requests import Head, read_head
from t2isearch.front.verdicts import QUESTION, Refusal, WhoIsIt

# More is only received from people who are signed in.
UNASKED_BYTES = 64 * 1024
# What a form wraps around its file.
FORM_BYTES = 1024 * 1024
# For how long the rest of a body is read that was refused: a client reads no answer before.
LINGER_S = 10.0

PAGE_THREADS = 12
# Of what comes from one browser or program, however much it asks for at once.
MOST_PAGES_EACH = 9
UPLOAD_THREADS = MOST_DECODERS + 2
STREAM_THREADS = 4
# Bodies that are received or worked on at once, each on the disk; browsers send three.
MOST_BODIES, MOST_BODIES_EACH = 128, 6
MOST_UPLOADS_EACH = 3


class Refused(Exception):
    """The request is not taken in; the answer says why."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


@dataclass(frozen=True, slots=True)
class Place:
    """What an address takes: at most so many bytes, whether a file, and whether piece by piece.

    Of a file that is too large the first bytes are kept, by which its view sees that it is.
    """

    most_bytes: int
    takes_file: bool = False
    in_pieces: bool = False


class Places:
    """The addresses that take files. To all others forms are sent."""

    def __init__(self) -> None:
        self._files = {reverse("api:photo-list"), reverse("search:picture")}
        self._pieces = reverse("api:upload-list")
        self._form = Place(settings.DATA_UPLOAD_MAX_MEMORY_SIZE)
        self._file = Place(settings.MAX_UPLOAD_BYTES + FORM_BYTES, takes_file=True)
        self._piece = Place(settings.MAX_UPLOAD_BYTES, takes_file=True)
        self._part = Place(settings.MAX_UPLOAD_BYTES, takes_file=True, in_pieces=True)

    def of(self, head: Head) -> Place:
        if head.path in self._files and head.method == "POST":
            return self._file
        if not head.path.startswith(self._pieces) or head.method not in {"PATCH", "POST"}:
            return self._form
        # A piece with a checksum counts as a whole, and one whose length is not said is refused.
        if head.header("HTTP_UPLOAD_CHECKSUM") or head.length is None:
            return self._piece
        offset = head.header("HTTP_UPLOAD_OFFSET")
        return self._part if offset.isascii() and offset.isdigit() else self._piece


class Front:
    """The ASGI application: Django, behind all that keeps clients from holding its threads."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._places = Places()
        self._pages = Lane("page", PAGE_THREADS)
        self._uploads = Lane("upload", UPLOAD_THREADS)
        self._streams = Lane("stream", STREAM_THREADS)
        self._asking = Lane("asking", 2)
        # Whoever watches this process is answered, whatever the others wait for.
        self._health = {
            "/healthz": Lane("health", 1, most_waiting=100),
            "/readyz": Lane("readiness", 1, most_waiting=100),
        }
        self._bodies = Turns(MOST_BODIES, most_each=MOST_BODIES_EACH)
        self._asked = Turns(PAGE_THREADS, most_each=MOST_PAGES_EACH)
        self._addresses = Turns(PAGE_THREADS, most_each=PAGE_THREADS - 1)
        self._working = Turns(UPLOAD_THREADS, most_each=MOST_UPLOADS_EACH)

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        head = read_head(scope)
        incoming = Incoming(receive, ended=head.length == 0)
        linger_s = LINGER_S
        try:
            answer = await self._answer_to(head, incoming)
        except Refused as refused:
            answer = refused.answer
        except BodyTooSlow:
            answer, linger_s = await self._refusal(head, Refusal.TOO_SLOW), 0.0
        except BodyLost:
            return
        except LaneFull:
            await send_plainly(503, "Too many ask at once.", send)
            return
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise
            answer = await self._refusal(head, Refusal.NO_ROOM)
        if not incoming.is_over():
            answer = replace(answer, headers=[*answer.headers, (b"connection", b"close")])
            send = _lingering(send, head, incoming, linger_s)
        await send_answer(answer, head, send, lane=self._streams)

    async def _answer_to(self, head: Head, incoming: Incoming) -> Answer:
        """Django's answer to a request, whose body is received first.

        Raises:
            Refused, BodyTooSlow, BodyLost
            LaneFull: too many watch this process.
            OSError: there is no room on the disk.
        """
        if incoming.is_over():
            if (health := self._health.get(head.path)) is not None:
                return await self._run(health, head)
            return await self._page(head)
        place = self._places.of(head)
        length = head.length or 0
        if length > place.most_bytes and not place.takes_file:
            raise Refused(await self._refusal(head, Refusal.TOO_LARGE))
        with kept_body() as body:
            if not place.takes_file and length <= UNASKED_BYTES:
                await _receive(incoming, body, most=UNASKED_BYTES)
                if incoming.is_over():
                    return await self._page(head, body)
            person = await self._who(head, place)
            async with self._bodies.of(person):
                if place.in_pieces:
                    return await self._in_pieces(head, incoming, person)
                await _receive(incoming, body, most=place.most_bytes)
                if not place.takes_file:
                    if body.tell() > place.most_bytes:
                        raise Refused(await self._refusal(head, Refusal.TOO_LARGE))
                    return await self._page(head, body)
                while not incoming.is_over():
                    await incoming.next()
                async with self._working.of(person):
                    if head.is_gone():
                        raise BodyLost
                    return await self._run(self._uploads, head, body, person=person)

    async def _page(self, head: Head, body: IO[bytes] | None = None) -> Answer:
        names = ("REMOTE_ADDR", "HTTP_X_FORWARDED_FOR", "HTTP_AUTHORIZATION", "HTTP_COOKIE")
        # What a client says about itself is not checked yet: whatever it is, one address leaves a
        # thread to the others.
        async with (
            self._addresses.of(head.header("REMOTE_ADDR")),
            self._asked.of(tuple(head.header(name) for name in names)),
        ):
            if head.is_gone():
                raise BodyLost
            return await self._run(self._pages, head, body)

    async def _in_pieces(self, head: Head, incoming: Incoming, person: int) -> Answer:
        """Hand a part of a resumable upload on while it comes in, as if it were several.

        What came before a break is stored by that.
        """
        at, left = int(head.header("HTTP_UPLOAD_OFFSET")), head.length or 0
        while True:
            piece, size = await incoming.piece()
            with piece:
                async with self._working.of(person):
                    # How long the whole part is, is for the view to judge.
                    said = {"HTTP_UPLOAD_OFFSET": str(at), "CONTENT_LENGTH": str(left)}
                    answer = await self._run(
                        self._uploads, head, piece, person=person, environ=said
                    )
            at, left = at + size, left - size
            taken = answer.status < 300 and answer.header(b"upload-offset") == str(at).encode()
            if incoming.is_over() or not taken:
                return answer

    async def _who(self, head: Head, place: Place) -> int:
        """Raises Refused when nobody is signed in."""
        question = WhoIsIt(sign_in=place.takes_file)
        answer = await self._run(self._asking, head, environ={QUESTION: question})
        if question.person is None:
            raise Refused(answer)
        return question.person

    async def _refusal(self, head: Head, refusal: Refusal) -> Answer:
        return await self._run(self._asking, head, environ={QUESTION: refusal})

    async def _run(
        self, lane: Lane, head: Head, body: IO[bytes] | None = None,
        *, person: int | None = None, environ: Mapping[str, Any] | None = None,
    ) -> Answer:  # fmt: skip
        """Django's answer, made in a thread of `lane`."""
        if body is None:
            said = {"wsgi.input": io.BytesIO(), "CONTENT_LENGTH": "0"}
        else:
            length = body.seek(0, io.SEEK_END) if head.length is None else head.length
            body.seek(0)
            said = {"wsgi.input": body, "CONTENT_LENGTH": str(length)}
        return await lane.submit(
            partial(self._answer, {**head.environ, **said, **(environ or {})}, person)
        )

    def _answer(self, environ: dict[str, Any], person: int | None) -> Answer:
        with on_behalf_of(person):
            return answer_of(self._application, environ)


async def _receive(incoming: Incoming, body: IO[bytes], *, most: int) -> None:
    """Keep what comes in, until it ends or is more than `most` bytes."""
    while not incoming.is_over() and body.tell() <= most:
        body.write(await incoming.next())


def _lingering(send: Send, head: Head, incoming: Incoming, for_s: float) -> Send:
    """Sends an answer to a request that has not ended, and reads on before the connection does.

    Where the client waits for leave to send (`Expect: 100-continue`), nothing is to come.
    """
    waits = "HTTP_EXPECT" in head.environ and not incoming.received

    async def send_and_linger(message: MutableMapping[str, Any]) -> None:
        if message["type"] != "http.response.body" or message.get("more_body"):
            await send(message)
            return
        await send({**message, "more_body": True})
        if not waits:
            await incoming.discard(for_s=for_s)
        await send({"type": "http.response.body", "body": b""})

    return send_and_linger
