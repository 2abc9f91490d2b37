"""What the camera wrote into a picture: time, camera, exposure and place.

Tags and their meaning: CIPA DC-008, "Exchangeable image file format for digital still cameras:
Exif Version 3.0". Cameras and editors write a lot that the standard does not allow, so every value
is read on its own and what cannot be understood counts as absent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any, TypeVar

from PIL import ExifTags, Image

logger = logging.getLogger(__name__)

Value = TypeVar("Value")

# No photo is older than the first one. The other end leaves room for every time zone: a moment that
# falls out of Python's years in UTC could be stored and never be read again.
EARLIEST, LATEST = datetime(1826, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
MOST_TEXT = 120
# Each time with its offset from UTC: when it was taken, digitised, changed.
TIMES = (
    (ExifTags.Base.DateTimeOriginal, ExifTags.Base.OffsetTimeOriginal),
    (ExifTags.Base.DateTimeDigitized, ExifTags.Base.OffsetTimeDigitized),
    (ExifTags.Base.DateTime, ExifTags.Base.OffsetTime),
)


@dataclass(frozen=True, slots=True)
class Metadata:
    """Facts from EXIF. `taken_at` is aware; latitude and longitude are degrees, WGS 84; the
    exposure time is in seconds, the focal length in millimetres.
    """

    taken_at: datetime | None = None
    camera: str = ""
    lens: str = ""
    f_number: float | None = None
    exposure_time_s: float | None = None
    iso: int | None = None
    focal_length_mm: float | None = None
    latitude: float | None = None
    longitude: float | None = None


def read_metadata(image: Image.Image, *, time_zone: tzinfo) -> Metadata:
    """Read the EXIF of an opened picture. Broken EXIF is no error: it gives what can be read.

    `time_zone` is that of clocks which don't say theirs.
    """
    try:
        exif = image.getexif()
    except Exception:
        logger.info("unreadable EXIF is left out", exc_info=True)
        return Metadata()
    details = _read(lambda: exif.get_ifd(ExifTags.IFD.Exif)) or {}
    place = _read(lambda: exif.get_ifd(ExifTags.IFD.GPSInfo)) or {}
    latitude = _read(lambda: _degrees(place, ExifTags.GPS.GPSLatitude, "S", 90))
    longitude = _read(lambda: _degrees(place, ExifTags.GPS.GPSLongitude, "W", 180))
    if latitude is None or longitude is None:
        latitude = longitude = None
    return Metadata(
        taken_at=_taken_at(exif, details, time_zone),
        camera=_read(lambda: _camera(exif)) or "",
        lens=_read(lambda: _text(details[ExifTags.Base.LensModel])[:MOST_TEXT]) or "",
        f_number=_read(lambda: _positive(details[ExifTags.Base.FNumber], most=200)),
        exposure_time_s=_read(lambda: _positive(details[ExifTags.Base.ExposureTime], most=100_000)),
        iso=_read(lambda: _iso(details[ExifTags.Base.ISOSpeedRatings])),
        focal_length_mm=_read(lambda: _positive(details[ExifTags.Base.FocalLength], most=20_000)),
        latitude=latitude,
        longitude=longitude,
    )


def orientation(image: Image.Image) -> int:
    """How the pixels of a loaded picture still have to be turned, 1 to 8.

    1 is upright, also when nothing is said or it can't be read. Ask after loading: Pillow turns a
    TIFF by itself as it loads it (its size it has turned before), and then says 1.
    """
    value = _read(lambda: int(image.getexif().get(ExifTags.Base.Orientation, 1)))
    return value if value is not None and 1 <= value <= 8 else 1


def _read(parse: Callable[[], Value]) -> Value | None:
    try:
        return parse()
    except Exception:
        return None


def _taken_at(
    exif: Mapping[int, Any], details: Mapping[int, Any], time_zone: tzinfo
) -> datetime | None:
    # The time of the last change is written beside the make, the rest with the other details.
    written = {**details, ExifTags.Base.DateTime: exif.get(ExifTags.Base.DateTime)}
    moments = (_read(lambda: _moment(written, *tags, time_zone)) for tags in TIMES)  # noqa: B023 - read at once
    return next((moment for moment in moments if moment is not None), None)


def _moment(
    written: Mapping[int, Any], time_tag: int, offset_tag: int, time_zone: tzinfo
) -> datetime:
    moment = datetime.strptime(_text(written[time_tag]), "%Y:%m:%d %H:%M:%S")  # noqa: DTZ007
    # Without an offset that can be read (cameras write blanks between the colons) the camera's
    # clock is taken to show the site's time.
    offset = _text(written.get(offset_tag, ""))
    aware = _read(lambda: datetime.strptime(offset, "%z").tzinfo)
    taken_at = moment.replace(tzinfo=aware or time_zone)
    if not EARLIEST <= taken_at < LATEST:  # a camera whose clock was never set
        raise ValueError(taken_at)
    return taken_at


def _camera(exif: Mapping[int, Any]) -> str:
    make, model = _text(exif.get(ExifTags.Base.Make, "")), _text(exif.get(ExifTags.Base.Model, ""))
    name = model if model.lower().startswith(make.lower()) else f"{make} {model}"
    return name.strip()[:MOST_TEXT]


def _positive(value: Any, *, most: float) -> float:
    number = float(value)
    if not 0 < number <= most:  # also what is no number at all
        raise ValueError(value)
    return number


def _iso(value: Any) -> int:
    # Several speeds may be given: the first is the one that was used.
    speed = int(value[0] if isinstance(value, tuple) else value)
    if not 0 < speed <= 10_000_000:
        raise ValueError(value)
    return speed


def _degrees(place: Mapping[int, Any], tag: int, negative: str, limit: int) -> float:
    degrees, minutes, seconds = (float(part) for part in place[tag])
    value = degrees + minutes / 60 + seconds / 3600
    # The reference (N/S, E/W) has the number just before its value.
    if _text(place[tag - 1]).upper() == negative:
        value = -value
    if not -limit <= value <= limit:
        raise ValueError(value)
    return value


def _text(value: Any) -> str:
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
    # PostgreSQL takes no NUL in a text.
    return text.replace("\x00", "").strip()
