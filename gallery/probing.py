"""What a file is, found out by decoding it. Nothing here trusts its name or media type."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import IO

from PIL import Image, UnidentifiedImageError

from gallery.decoding.problems import BadPicture, Problem
from gallery.formats import MEDIA_TYPES, OPENABLE
from gallery.metadata import orientation
from gallery.scans import count_scans

# Decoding at an eighth still reads every byte of a JPEG, so that a truncated one is noticed.
PROBE_SIZE = (64, 64)
# Of a progressive JPEG: ten times those that encoders make.
MOST_SCANS = 100


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """What a decoded picture is: its media type and its size as it is looked at, in pixels."""

    media_type: str
    width: int
    height: int


def probe_picture(file: IO[bytes], *, max_pixels: int) -> PictureFacts:
    """Decode `file` and say what it is.

    The number of pixels is checked on the header, before anything of that size is decoded.

    Raises:
        BadPicture: it is no picture of a known format, has too many pixels, or is damaged.
        MemoryError: there was no room for it.
    """
    file.seek(0)
    with warnings.catch_warnings():
        # Pillow's own limit warns; ours, below, refuses.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            image = Image.open(file, formats=OPENABLE)
        except Image.DecompressionBombError as error:
            raise BadPicture(Problem.TOO_MANY_PIXELS) from error
        except UnidentifiedImageError as error:
            raise BadPicture(Problem.NO_PICTURE) from error
        except MemoryError:
            raise
        except Exception as error:
            raise BadPicture(Problem.DAMAGED, str(error)) from error
        with image:
            if image.width * image.height > max_pixels:
                raise BadPicture(Problem.TOO_MANY_PIXELS)
            if image.width * image.height == 0:
                raise BadPicture(Problem.DAMAGED, "no pixels")
            picture_format = image.format or ""
            if picture_format in {"JPEG", "MPO"} and _scans(file) > MOST_SCANS:
                raise BadPicture(Problem.TOO_SLOW, f"more than {MOST_SCANS} scans")
            try:
                width, height = image.size
                image.draft(image.mode, PROBE_SIZE)
                image.load()
                if orientation(image) >= 5:  # lies on its side
                    width, height = height, width
            except Image.DecompressionBombError as error:
                raise BadPicture(Problem.TOO_MANY_PIXELS) from error
            except MemoryError:
                raise
            except Exception as error:
                # Decoders raise whatever they like on damaged bytes.
                raise BadPicture(Problem.DAMAGED, str(error)) from error
    return PictureFacts(media_type=MEDIA_TYPES[picture_format], width=width, height=height)


def _scans(file: IO[bytes]) -> int:
    at = file.tell()
    file.seek(0)
    scans = count_scans(file.read())
    file.seek(at)
    return scans
