from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest

from gallery.formats import ACCEPT


def upload_limits(request: HttpRequest) -> dict[str, Any]:
    """What the upload script needs to know on every page."""
    return {"upload_max_bytes": settings.MAX_UPLOAD_BYTES, "upload_accept": ACCEPT}
