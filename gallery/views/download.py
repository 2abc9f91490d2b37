"""ZIPs."""

from __future__ import annotations

from collections.abc import Iterator

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponseBase, StreamingHttpResponse
from django.utils import timezone
from django.utils.http import content_disposition_header
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from gallery.archive import UniqueNames, account_archive, photo_archive
from gallery.querysets import PhotoQuerySet
from t2isearch.requests import signed_in


def archive_response(photos: PhotoQuerySet, name: str) -> HttpResponseBase:
    """The originals of `photos` as a ZIP that is called `name`.

    Raises:
        Http404: there are none.
    """
    if not photos.exists():
        raise Http404
    return _zip(photo_archive(photos), name)


@require_safe
@never_cache
@login_required
def account(request: HttpRequest) -> HttpResponseBase:
    """Everything of a person: the originals and what is known of them."""
    person = signed_in(request)
    day = timezone.localdate().isoformat()
    return _zip(account_archive(person), f"t2isearch {person.get_username()} {day}")


def _zip(content: Iterator[bytes], name: str) -> HttpResponseBase:
    filename = UniqueNames().take(f"{name.replace('.', '_')}.zip")
    return StreamingHttpResponse(
        _begun(content),
        content_type="application/zip",
        headers={
            "Content-Disposition": content_disposition_header(True, filename) or "attachment",
            "Cache-Control": "private, no-store",
            # A proxy that collects the whole answer first would undo the streaming.
            "X-Accel-Buffering": "no",
        },
    )


def _begun(content: Iterator[bytes]) -> Iterator[bytes]:
    """`content`, whose first part is made now: a storage that is away by then is told in words."""
    first = next(content, b"")

    def whole() -> Iterator[bytes]:
        yield first
        yield from content

    return whole()
