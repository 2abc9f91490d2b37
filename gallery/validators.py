"""Whether a file is a picture that can be taken in, and what is said when it is not."""

from __future__ import annotations

from typing import IO

from django.conf import settings
from django.core.exceptions import ValidationError
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext as _

from gallery.decoding.problems import BadPicture, Problem
from gallery.decoding.service import DecoderUnavailable, probe
from gallery.probing import PictureFacts


class RejectedUpload(ValidationError):
    """A file that is not taken in. Its message is one plain sentence for the person."""


class NotDecodedNow(Exception):
    """A file that is neither taken in nor refused: there is no decoder for it right now."""


def too_large() -> RejectedUpload:
    return RejectedUpload(
        _("The file is larger than %(limit)s, the most that can be uploaded.")
        % {"limit": filesizeformat(settings.MAX_UPLOAD_BYTES)},
        code="too_large",
    )


def check_size(size_bytes: int) -> None:
    """Raises RejectedUpload when the file is empty or larger than `MAX_UPLOAD_BYTES`."""
    if size_bytes == 0:
        raise RejectedUpload(_("The file is empty."), code="empty")
    if size_bytes > settings.MAX_UPLOAD_BYTES:
        raise too_large()


def check_picture(file: IO[bytes]) -> PictureFacts:
    """Have `file` decoded and say what it is.

    Raises:
        RejectedUpload: it is no picture of a known format, has too many pixels, is damaged, or
            takes too much to decode.
        NotDecodedNow
    """
    try:
        return probe(file)
    except BadPicture as bad:
        raise rejection(bad) from bad
    except DecoderUnavailable as unavailable:
        raise NotDecodedNow(str(unavailable)) from unavailable


def rejection(bad: BadPicture) -> RejectedUpload:
    """What is said about `bad` to who sent it."""
    match bad.problem:
        case Problem.NO_PICTURE:
            message = _("This is not a picture, or one in a format that can't be read.")
        case Problem.TOO_MANY_PIXELS:
            message = _(
                "The picture has more than %(limit)d megapixels, the most that can be taken in."
            )
            message %= {"limit": settings.MAX_PIXELS // 1_000_000}
        case Problem.DAMAGED:
            message = _("The picture is damaged or incomplete.")
        case Problem.TOO_SLOW:
            message = _("The picture takes too long to decode.")
        case Problem.TOO_MUCH_MEMORY:
            message = _("The picture needs too much memory to decode.")
        case Problem.CRASHED:
            message = _("The picture can't be decoded.")
    return RejectedUpload(message, code=bad.problem.value)
