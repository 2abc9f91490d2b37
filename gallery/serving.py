"""Files of photos, for their owner only.

Django checks whose a photo is. Who then sends the bytes is `SERVE_FILES_WITH`: Django itself, nginx
in front of it, or the bucket by a link (docs/decisions/0025-who-sends-the-files.md).
"""

from __future__ import annotations

from typing import Protocol, cast
from urllib.parse import quote, urlsplit

from django.conf import settings
from django.core.files.storage import default_storage
from django.http import (
    FileResponse,
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseRedirect,
)
from django.utils.cache import get_conditional_response
from django.utils.http import content_disposition_header, quote_etag

from gallery.formats import BROWSER_MEDIA_TYPES
from gallery.models import Photo

VARIANTS = ("thumbnail", "preview", "original")
# Renditions are stored under a new name with each rendering, so a day in the browser's own cache is
# safe; originals are asked for again each time, which costs a 304.
CACHE_CONTROL = {
    "thumbnail": "private, max-age=86400",
    "preview": "private, max-age=86400",
    "original": "private, no-cache",
}
# How long a link into the bucket can be followed, and how long a browser may keep to it.
LINK_SECONDS = 300
LINK_CACHE_SECONDS = 240
# Locations of nginx that only an answer of ours leads to (deploy/nginx/locations.template).
NGINX_FILES = "/private-media/"
NGINX_BUCKET = "/private-bucket"


class LinkingStorage(Protocol):
    """`gallery.bucket.PhotoBucket`, which takes a second to load where there is no bucket."""

    def link(
        self, name: str, *, seconds: int, method: str, public: bool, headers: dict[str, str]
    ) -> str: ...


def serve_file(
    request: HttpRequest, *, photo: Photo, variant: str, download: bool = False
) -> HttpResponseBase:
    """The bytes of a photo's file. The caller has checked that the photo is the person's own.

    Raises:
        Http404: the photo has no such rendition (yet), or its file is gone from storage (a bucket
            that the browser or nginx asks says so itself).
    """
    name = getattr(photo, variant).name
    if not name:
        raise Http404
    media_type = photo.media_type if variant == "original" else "image/jpeg"
    headers = {
        "Content-Type": media_type,
        "Content-Disposition": _disposition(photo.filename, download=download),
        "Cache-Control": CACHE_CONTROL[variant],
    }
    if settings.SERVE_FILES_WITH == "redirect":
        response: HttpResponseBase = _redirect(request, name, headers)
    else:
        response = _answer(request, name, headers, etag=_etag(photo, name))
    response["Vary"] = "Cookie, Authorization"
    response["X-Content-Type-Options"] = "nosniff"
    # Should a picture ever be taken for a page, nothing in it may run.
    response["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return response


def _disposition(filename: str, *, download: bool) -> str:
    header = content_disposition_header(download, filename)
    return header or ("attachment" if download else "inline")


def _etag(photo: Photo, name: str) -> str:
    return quote_etag(f"{photo.sha256}-{name.rsplit('/', 1)[-1]}")


def _answer(
    request: HttpRequest, name: str, headers: dict[str, str], *, etag: str
) -> HttpResponseBase:
    """The file from our own address, or a 304."""
    response: HttpResponseBase | None = get_conditional_response(request, etag)
    if response is None or response.status_code != 304:
        if settings.SERVE_FILES_WITH == "nginx":
            response = _through_nginx(name, headers)
        else:
            response = _streamed(name)
        response["Content-Type"] = headers["Content-Type"]
        response["Content-Disposition"] = headers["Content-Disposition"]
    response["ETag"] = etag
    response["Cache-Control"] = headers["Cache-Control"]
    return response


def _streamed(name: str) -> HttpResponseBase:
    try:
        return FileResponse(default_storage.open(name, "rb"))
    except FileNotFoundError as error:
        raise Http404 from error


def _through_nginx(name: str, headers: dict[str, str]) -> HttpResponse:
    """An empty answer that tells nginx where the bytes are. It sends them, or parts of them."""
    response = HttpResponse()
    if (bucket := _bucket()) is not None:
        link = bucket.link(name, seconds=LINK_SECONDS, method="GET", public=False, headers=headers)
        parts = urlsplit(link)
        response["X-Accel-Redirect"] = f"{NGINX_BUCKET}{parts.path}?{parts.query}"
    elif default_storage.exists(name):
        response["X-Accel-Redirect"] = f"{NGINX_FILES}{quote(name)}"
    else:
        raise Http404
    return response


def _redirect(request: HttpRequest, name: str, headers: dict[str, str]) -> HttpResponse:
    """To the bucket, by a link for a few minutes.

    The bucket can't send our policy for what is no page, so that what browsers don't show as a
    picture is a download there.
    """
    if headers["Content-Type"] not in BROWSER_MEDIA_TYPES:
        _, *filename = headers["Content-Disposition"].split(";", 1)
        headers = headers | {"Content-Disposition": ";".join(["attachment", *filename])}
    bucket = _bucket()
    if bucket is None:
        raise Http404
    response = HttpResponseRedirect(
        bucket.link(
            name,
            seconds=LINK_SECONDS,
            method="HEAD" if request.method == "HEAD" else "GET",
            public=True,
            headers=headers,
        )
    )
    response["Cache-Control"] = f"private, max-age={LINK_CACHE_SECONDS}"
    return response


def _bucket() -> LinkingStorage | None:
    return cast("LinkingStorage", default_storage) if hasattr(default_storage, "link") else None
