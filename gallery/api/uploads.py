"""Resumable uploads: version 1.0.0 of the tus protocol (https://tus.io/protocols/resumable-upload).

The core with the extensions creation, expiration, termination and checksum. What is not of the
protocol: `GET` says what became of an upload, and the last piece of a file that is no picture is
answered with 400, as an upload in one piece is. One that can't be finished right now is answered
with 503 or 507, by `HEAD` as well, and finished by the next request about it or by a worker.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest, UnreadablePostError
from django.http.response import HttpResponseBase
from django.utils.http import http_date
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import exceptions, serializers, status
from rest_framework.generics import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.models import Scope
from gallery.api.serializers import PartialUploadSerializer
from gallery.models import PartialUpload
from gallery.partial_uploads import (
    CHECKSUM_ALGORITHMS,
    MOST_UNFINISHED,
    Checksum,
    ChecksumMismatch,
    OffsetConflict,
    TooManyUnfinished,
    UploadBusy,
    append,
    cancel_upload,
    finish,
    offset_of,
    start_upload,
)
from gallery.validators import RejectedUpload, too_large
from t2isearch.api_errors import SIGNED_IN, errors
from t2isearch.requests import LARGEST_KEY, signed_in

VERSION = "1.0.0"
EXTENSIONS = "creation,expiration,termination,checksum"
MEDIA_TYPE = "application/offset+octet-stream"
LONGEST_METADATA = 4096
# For clients behind something that lets only GET and POST through.
OVERRIDABLE = {"HEAD", "PATCH", "DELETE"}
OF_PROTOCOL = OVERRIDABLE | {"POST"}


class Problem(exceptions.APIException):
    """An error with a status of its own."""

    def __init__(self, status_code: int, code: str, sentence: str) -> None:
        self.status_code = status_code
        super().__init__(sentence, code)


def header(name: str, kind: Any, description: str = "", **options: Any) -> OpenApiParameter:
    return OpenApiParameter(name, kind, OpenApiParameter.HEADER, description=description, **options)


OFFSET = {"type": "integer", "minimum": 0, "maximum": LARGEST_KEY}
RESUMABLE = header("Tus-Resumable", str, "The version of the protocol.", enum=[VERSION])
RESUMABLE.required = True
# Sent back with every answer to a call of the protocol.
ANSWERED = [
    header("Tus-Resumable", str, response=[201, 204]),
    header("Upload-Expires", str, "Until when it is kept (an HTTP date).", response=[201]),
    header("Location", str, "Where the bytes are to be sent.", response=[201]),
]


class TusView(APIView):
    """What all calls of the protocol have in common."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        method = str(request.method)
        of_protocol = method in OF_PROTOCOL and hasattr(self, method.lower())  # else 405
        if of_protocol and request.headers.get("Tus-Resumable") != VERSION:
            raise Problem(
                status.HTTP_412_PRECONDITION_FAILED,
                "unknown_version",
                _("The header Tus-Resumable has to be %(version)s.") % {"version": VERSION},
            )

    def finalize_response(
        self, request: Request, response: Response, *args: Any, **kwargs: Any
    ) -> Response:
        response = super().finalize_response(request, response, *args, **kwargs)
        response["Cache-Control"] = "no-store"
        if request.method != "OPTIONS":
            response["Tus-Resumable"] = VERSION
        if response.status_code == status.HTTP_412_PRECONDITION_FAILED:
            response["Tus-Version"] = VERSION
        return response

    def options(  # type: ignore[override]  # as every view of rest framework has it
        self, request: Request, *args: Any, **kwargs: Any
    ) -> Response:
        """What this server can do."""
        return Response(
            status=status.HTTP_204_NO_CONTENT,
            headers={
                "Tus-Version": VERSION,
                "Tus-Extension": EXTENSIONS,
                "Tus-Max-Size": str(settings.MAX_UPLOAD_BYTES),
                "Tus-Checksum-Algorithm": ",".join(CHECKSUM_ALGORITHMS),
            },
        )


class UploadsView(TusView):
    """Where resumable uploads begin."""

    required_scopes = {"post": Scope.PHOTOS_WRITE}

    @property
    def throttle_scope(self) -> str | None:
        # Its pieces count with the other calls.
        return "upload" if self.request.method == "POST" else None

    @extend_schema(
        summary="Begin a resumable upload",
        description=(
            "Version 1.0.0 of the [tus protocol](https://tus.io/protocols/resumable-upload) with "
            "the extensions `creation`, `expiration`, `termination` and `checksum`. `OPTIONS` says "
            "what is supported."
        ),
        request=None,
        parameters=[
            RESUMABLE,
            header(
                "Upload-Length",
                {"type": "integer", "minimum": 1, "maximum": LARGEST_KEY},
                "The size of the file in bytes.",
                required=True,
            ),
            header(
                "Upload-Metadata",
                {"type": "string", "maxLength": LONGEST_METADATA},
                "Keys, each with a value in Base64, as in `filename bGFrZS5qcGc=`.",
            ),
            *ANSWERED,
        ],
        responses={201: PartialUploadSerializer, **SIGNED_IN, **errors(400, 409, 412, 413)},
    )
    def post(self, request: Request) -> Response:
        """Begin a resumable upload."""
        length = number_in(request, "Upload-Length")
        metadata = request.headers.get("Upload-Metadata", "")
        filename = filename_in(metadata)
        if length > settings.MAX_UPLOAD_BYTES:
            raise Problem(
                status.HTTP_413_REQUEST_ENTITY_TOO_LARGE, "too_large", too_large().messages[0]
            )
        try:
            upload = start_upload(
                owner=signed_in(request), length=length, filename=filename, metadata=metadata
            )
        except RejectedUpload as rejected:
            raise serializers.ValidationError(
                {"file": rejected.messages}, code=rejected.code
            ) from rejected
        except TooManyUnfinished as error:
            raise Problem(
                status.HTTP_409_CONFLICT,
                "too_many_unfinished",
                _("You have %(count)d unfinished uploads. Finish or cancel some of them first.")
                % {"count": MOST_UNFINISHED},
            ) from error
        return Response(
            PartialUploadSerializer(upload).data,
            status=status.HTTP_201_CREATED,
            # Without the host: a proxy may have another name than we know.
            headers={
                "Location": f"{request.path}{upload.pk}/",
                "Upload-Expires": http_date(upload.expires_at.timestamp()),
            },
        )


class UploadView(TusView):
    """One of the signed-in person's resumable uploads. Another person's does not exist here."""

    required_scopes = dict.fromkeys(("get", "head", "patch", "delete"), Scope.PHOTOS_WRITE)

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        method = request.headers.get("X-HTTP-Method-Override", "").upper()
        if request.method == "POST" and method in OVERRIDABLE:
            request.method = method
        return super().dispatch(request, *args, **kwargs)

    def upload(self, request: Request, pk: UUID) -> PartialUpload:
        return get_object_or_404(PartialUpload.objects.owned_by(request.user), pk=pk)

    @extend_schema(
        summary="How far a resumable upload is, and what became of it",
        description="`HEAD` says in its headers where to go on, as the protocol wants it.",
        responses={200: PartialUploadSerializer, **SIGNED_IN, **errors(404)},
    )
    def get(self, request: Request, pk: UUID) -> Response:
        """How far it is, and what became of it."""
        return Response(PartialUploadSerializer(self.upload(request, pk)).data)

    def head(self, request: Request, pk: UUID) -> Response:
        """Where to go on. What is complete is finished first: a client takes it for a photo."""
        upload = self.upload(request, pk)
        if upload.state == PartialUpload.State.FINISHING:
            with answered_errors():
                upload = finish(upload)
        refuse_decided(upload)
        headers = offset_headers(upload) | {"Upload-Length": str(upload.length)}
        if upload.metadata:
            headers["Upload-Metadata"] = upload.metadata
        return Response(status=status.HTTP_200_OK, headers=headers)

    @extend_schema(
        summary="Send a piece of a resumable upload",
        description=(
            "The last one makes it a photo, or is answered with 400 where it is none. `GET` then "
            "says which photo."
        ),
        request={MEDIA_TYPE: OpenApiTypes.BINARY},
        parameters=[
            RESUMABLE,
            header("Upload-Offset", OFFSET, "Where in the file it belongs.", required=True),
            header(
                "Upload-Checksum",
                str,
                f"One of {', '.join(CHECKSUM_ALGORITHMS)}, a space, and the digest in Base64.",
            ),
            header("Upload-Offset", OFFSET, "How far it is now.", response=[204]),
            *ANSWERED,
        ],
        responses={
            204: OpenApiResponse(description="It was taken in."),
            **SIGNED_IN,
            **errors(400, 404, 409, 410, 411, 412, 413, 415, 423, 460, 503, 507),
        },
    )
    def patch(self, request: Request, pk: UUID) -> Response:
        """Take in a piece."""
        upload = self.upload(request, pk)
        if request.content_type.partition(";")[0].strip().lower() != MEDIA_TYPE:
            raise exceptions.UnsupportedMediaType(request.content_type)
        at = number_in(request, "Upload-Offset")
        checksum = checksum_in(request)
        refuse_decided(upload)
        if "Transfer-Encoding" in request.headers:
            raise Problem(
                status.HTTP_411_LENGTH_REQUIRED,
                "length_required",
                _("The length of each piece has to be said, by Content-Length."),
            )
        if at + int(request.META.get("CONTENT_LENGTH") or 0) > upload.length:
            raise Problem(
                status.HTTP_413_REQUEST_ENTITY_TOO_LARGE,
                "beyond_length",
                _("The file was said to be shorter."),
            )
        with answered_errors():
            upload = append(upload, at=at, body=request._request, checksum=checksum)
        if upload.state == PartialUpload.State.REJECTED:
            raise serializers.ValidationError({"file": [upload.error]}, code="rejected")
        return Response(status=status.HTTP_204_NO_CONTENT, headers=offset_headers(upload))

    @extend_schema(
        summary="Cancel a resumable upload",
        description="What came in is removed. A photo that it became stays.",
        parameters=[RESUMABLE, *ANSWERED],
        responses={204: None, **SIGNED_IN, **errors(404, 412)},
    )
    def delete(self, request: Request, pk: UUID) -> Response:
        """Cancel it."""
        cancel_upload(self.upload(request, pk))
        return Response(status=status.HTTP_204_NO_CONTENT)


@contextmanager
def answered_errors() -> Iterator[None]:
    """Why a piece is not taken in, or an upload not finished, as the API says it."""
    try:
        yield
    except OffsetConflict as error:
        raise Problem(
            status.HTTP_409_CONFLICT,
            "wrong_offset",
            _("The upload goes on at another offset: ask for it."),
        ) from error
    except UploadBusy as error:
        raise Problem(
            status.HTTP_423_LOCKED,
            "busy",
            _("Another request is writing to this upload at the moment. Try again."),
        ) from error
    except ChecksumMismatch as error:
        raise Problem(
            460, "checksum_mismatch", _("The bytes that came in are not those that were sent.")
        ) from error
    except UnreadablePostError as error:
        raise exceptions.ParseError from error
    except PartialUpload.DoesNotExist as error:
        raise exceptions.NotFound from error


def offset_headers(upload: PartialUpload) -> dict[str, str]:
    return {
        "Upload-Offset": str(offset_of(upload)),
        "Upload-Expires": http_date(upload.expires_at.timestamp()),
    }


def refuse_decided(upload: PartialUpload) -> None:
    """Raises Problem where the file was refused, so that no client takes it for a photo."""
    if upload.state == PartialUpload.State.REJECTED:
        raise Problem(status.HTTP_410_GONE, "rejected", upload.error)


def number_in(request: Request, name: str) -> int:
    """The number in the header `name`.

    Raises:
        ValidationError: there is none.
    """
    text = request.headers.get(name, "")
    # The length is checked first: Python refuses to parse, and people to send, huge numbers.
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= LARGEST_KEY):
        raise serializers.ValidationError({name: [_("A whole number is wanted.")]})
    return int(text)


def filename_in(metadata: str) -> str:
    """The file's name in `Upload-Metadata`; empty when there is none.

    Raises:
        ValidationError: it is not what the protocol says.
    """
    wrong = serializers.ValidationError(
        {"Upload-Metadata": [_("Keys are wanted, each with a value in Base64.")]}
    )
    if len(metadata) > LONGEST_METADATA:
        raise wrong
    found: dict[str, bytes] = {}
    for pair in metadata.split(",") if metadata else []:
        key, _space, value = pair.strip().partition(" ")
        decoded = decode(value)
        if not key or not key.isascii() or not key.isprintable() or key in found or decoded is None:
            raise wrong
        found[key] = decoded
    return found.get("filename", b"").decode(errors="replace")


def checksum_in(request: Request) -> Checksum | None:
    """What the piece should hash to, by `Upload-Checksum`; None when it does not say.

    Raises:
        ValidationError: it is of another kind, or can't be read.
    """
    text = request.headers.get("Upload-Checksum")
    if text is None:
        return None
    algorithm, _space, value = text.partition(" ")
    digest = decode(value)
    if (
        algorithm not in CHECKSUM_ALGORITHMS
        or digest is None
        or len(digest) != hashlib.new(algorithm, usedforsecurity=False).digest_size
    ):
        sentence = _("One of %(names)s is wanted, a space, and the digest in Base64.")
        names = ", ".join(CHECKSUM_ALGORITHMS)
        raise serializers.ValidationError({"Upload-Checksum": [sentence % {"names": names}]})
    return Checksum(algorithm, digest)


def decode(text: str) -> bytes | None:
    """What `text` says in Base64; None when it is none."""
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return None
