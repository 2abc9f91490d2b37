"""Files of photos, for their owner only."""

from __future__ import annotations

from django.http import FileResponse, Http404, HttpRequest, HttpResponseBase
from django.utils.cache import get_conditional_response
from django.utils.http import quote_etag

from gallery.models import Photo

VARIANTS = ("thumbnail", "preview", "original")
# Renditions are stored under a new name with each rendering, so a day in the browser's own cache is
# safe; originals are asked for again each time, which costs a 304.
CACHE_CONTROL = {
    "thumbnail": "private, max-age=86400",
    "preview": "private, max-age=86400",
    "original": "private, no-cache",
}


def serve_file(
    request: HttpRequest, *, photo: Photo, variant: str, download: bool = False
) -> HttpResponseBase:
    """The bytes of a photo's file. The caller has checked that the photo is the person's own.

    Raises:
        Http404: the photo has no such rendition (yet), or its file is gone from storage.
    """
    field = getattr(photo, variant)
    if not field:
        raise Http404
    etag = quote_etag(f"{photo.sha256}-{field.name.rsplit('/', 1)[-1]}")
    response: HttpResponseBase | None = get_conditional_response(request, etag)
    if response is None or response.status_code != 304:
        try:
            file = field.open("rb")
        except FileNotFoundError as error:
            raise Http404 from error
        response = FileResponse(
            file,
            as_attachment=download,
            filename=photo.filename,
            content_type=photo.media_type if variant == "original" else "image/jpeg",
        )
    response["ETag"] = etag
    response["Cache-Control"] = CACHE_CONTROL[variant]
    response["Vary"] = "Cookie, Authorization"
    response["X-Content-Type-Options"] = "nosniff"
    # Should a picture ever be taken for a page, nothing in it may run.
    response["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return response
