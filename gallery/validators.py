"""Whether a file is a picture that can be taken in. Nothing here trusts its name or media type."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import IO

from django.conf import settings
from django.core.exceptions import ValidationError
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext as _
from PIL import Image, UnidentifiedImageError

from gallery.formats import MEDIA_TYPES, OPENABLE
from gallery.metadata import orientation

# Decoding at an eighth still reads every byte of a JPEG, so that a truncated one is noticed.
PROBE_SIZE = (64, 64)


class RejectedUpload(ValidationError):
    """A file that is not taken in. Its message is one plain sentence for the person."""


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """What a decoded picture is: its media type and its size as it is looked at, in pixels."""

    media_type: str
    width: int
    height: int


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
    """Decode `file` and say what it is.

    The number of pixels is checked on the header, before anything of that size is decoded.

    Raises:
        RejectedUpload: it is no picture of a known format, has too many pixels, or is damaged.
    """
    file.seek(0)
    with warnings.catch_warnings():
        # Pillow's own limit warns; ours, below, refuses.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            image = Image.open(file, formats=OPENABLE)
        except Image.DecompressionBombError as error:
            raise _too_many_pixels() from error
        except UnidentifiedImageError as error:
            raise RejectedUpload(
                _("This is not a picture, or one in a format that can't be read."),
                code="no_picture",
            ) from error
        except Exception as error:
            raise _damaged() from error
        with image:
            if image.width * image.height > settings.MAX_PIXELS:
                raise _too_many_pixels()
            if image.width * image.height == 0:
                raise _damaged()
            picture_format = image.format or ""
            try:
                width, height = image.size
                image.draft(image.mode, PROBE_SIZE)
                image.load()
                if orientation(image) >= 5:  # lies on its side
                    width, height = height, width
            except Image.DecompressionBombError as error:
                raise _too_many_pixels() from error
            except Exception as error:
                # Decoders raise whatever they like on damaged bytes.
                raise _damaged() from error
    return PictureFacts(media_type=MEDIA_TYPES[picture_format], width=width, height=height)


def _too_many_pixels() -> RejectedUpload:
    return RejectedUpload(
        _("The picture has more than %(limit)d megapixels, the most that can be taken in.")
        % {"limit": settings.MAX_PIXELS // 1_000_000},
        code="too_many_pixels",
    )


def _damaged() -> RejectedUpload:
    return RejectedUpload(_("The picture is damaged or incomplete."), code="damaged")
