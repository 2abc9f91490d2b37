from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.ExifTags import GPS, IFD, Base
from PIL.TiffImagePlugin import IFDRational

from gallery.decoding.service import probe, render
from gallery.metadata import Metadata, read_metadata
from tests.gallery.pictures import exif_with, opened, quartered, saved

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

WRITTEN = "2021:07:04 12:30:45"
BERLIN: dict[int, Any] = {
    GPS.GPSLatitudeRef: "N", GPS.GPSLatitude: (52.0, 31.0, 12.0),
    GPS.GPSLongitudeRef: "E", GPS.GPSLongitude: (13.0, 24.0, 36.0),
}  # fmt: skip


def metadata_of(exif: Image.Exif | bytes) -> Metadata:
    content = exif if isinstance(exif, bytes) else exif.tobytes()
    return read_metadata(
        opened(saved(quartered((32, 24)), exif=content)), time_zone=ZoneInfo("Europe/Berlin")
    )


def moment(hour: int, year: int = 2021) -> datetime:
    return datetime(year, 7, 4, hour, 30, 45, tzinfo=UTC)


@pytest.mark.parametrize(
    ("main", "details", "expected"),
    [
        ({}, {}, None),
        # Without an offset, the site's time: in July two hours before UTC's.
        ({}, {Base.DateTimeOriginal: WRITTEN}, moment(10)),
        ({}, {Base.DateTimeOriginal: WRITTEN, Base.OffsetTimeOriginal: "-05:00"}, moment(17)),
        ({}, {Base.DateTimeOriginal: WRITTEN, Base.OffsetTimeOriginal: "Z"}, moment(12)),
        ({}, {Base.DateTimeOriginal: WRITTEN, Base.OffsetTimeOriginal: "   :  "}, moment(10)),
        ({}, {Base.DateTimeOriginal: WRITTEN, Base.OffsetTimeOriginal: "+99:00"}, moment(10)),
        # The offset of another time is not this one's.
        ({}, {Base.DateTimeOriginal: WRITTEN, Base.OffsetTime: "-05:00"}, moment(10)),
        ({Base.DateTime: WRITTEN}, {}, moment(10)),
        ({Base.DateTime: WRITTEN}, {Base.OffsetTime: "+00:00"}, moment(12)),
        ({Base.DateTime: WRITTEN}, {Base.OffsetTimeOriginal: "-05:00"}, moment(10)),
        # A clock that was never set leaves the next best time.
        ({Base.DateTime: WRITTEN}, {Base.DateTimeOriginal: "0000:00:00 00:00:00"}, moment(10)),
        ({}, {Base.DateTimeOriginal: "", Base.DateTimeDigitized: WRITTEN}, moment(10)),
        ({}, {Base.DateTimeOriginal: WRITTEN + "\x00\x00"}, moment(10)),
        ({}, {Base.DateTimeOriginal: "2021-07-04"}, None),
        ({}, {Base.DateTimeOriginal: "1825:07:04 12:30:45"}, None),
        ({}, {Base.DateTimeOriginal: "9999:12:31 23:59:59"}, None),
        (
            {},
            {Base.DateTimeOriginal: "9999:12:31 23:59:59", Base.OffsetTimeOriginal: "-12:00"},
            None,
        ),
    ],
)
def test_time(
    main: dict[int, Any],
    details: dict[int, Any],
    expected: datetime | None,
) -> None:
    assert metadata_of(exif_with(main, details)).taken_at == expected


@pytest.mark.parametrize(
    ("make", "model", "expected"),
    [
        ("FUJIFILM", "X100V", "FUJIFILM X100V"),
        ("Canon", "Canon EOS R5", "Canon EOS R5"),
        ("NIKON CORPORATION", "", "NIKON CORPORATION"),
        ("", "Pixel 8", "Pixel 8"),
        ("A\x00cme\x00\x00", "  One  ", "Acme One"),
        ("", "", ""),
        ("x" * 200, "y", "x" * 120),
    ],
)
def test_camera(make: str, model: str, expected: str) -> None:
    exif = exif_with({Base.Make: make, Base.Model: model})
    assert metadata_of(exif).camera == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (52.52, 13.41)),
        ({GPS.GPSLatitudeRef: "S"}, (-52.52, 13.41)),
        ({GPS.GPSLongitudeRef: "W"}, (52.52, -13.41)),
        ({GPS.GPSLatitude: (91.0, 0.0, 0.0)}, (None, None)),
        ({GPS.GPSLatitude: (52.0,)}, (None, None)),
        ({GPS.GPSLatitudeRef: None}, (None, None)),
        ({GPS.GPSLongitude: None}, (None, None)),
    ],
)
def test_place(changes: dict[int, Any], expected: tuple[float | None, float | None]) -> None:
    place = {tag: value for tag, value in (BERLIN | changes).items() if value is not None}
    found = metadata_of(exif_with(place=place))
    assert (found.latitude, found.longitude) == pytest.approx(expected)


def test_a_place_with_a_zero_for_denominator_is_none() -> None:
    content = exif_with(place=BERLIN).tobytes()
    fraction = (12).to_bytes(4, "big") + (1).to_bytes(4, "big")
    little = (12).to_bytes(4, "little") + (1).to_bytes(4, "little")
    broken = content.replace(fraction, fraction[:4] + bytes(4)).replace(
        little, little[:4] + bytes(4)
    )
    assert broken != content
    assert metadata_of(broken).latitude is None


def test_a_broken_part_leaves_the_others() -> None:
    """A directory of places that points nowhere costs neither the time nor the camera."""
    exif = exif_with({Base.Model: "Pixel 8"}, {Base.DateTimeOriginal: WRITTEN}, BERLIN).tobytes()
    pointer = exif.index(b"\x88\x25\x00\x04\x00\x00\x00\x01") + 8
    found = metadata_of(exif[:pointer] + b"\x7f\xff\xff\xf0" + exif[pointer + 4 :])
    assert found.camera == "Pixel 8"
    assert found.taken_at is not None
    assert found.latitude is None


VALUES = st.one_of(
    st.text(st.characters(codec="latin-1"), max_size=30),
    st.integers(0, 2**16 - 1),
    st.sampled_from([WRITTEN, "9999:12:31 23:59:59", "0001:01:01 00:00:00", "   :  ", "-12:00"]),
)
TAGS = st.sampled_from([
    Base.Orientation, Base.DateTime, Base.Make, Base.Model, Base.DateTimeOriginal,
    Base.OffsetTimeOriginal, Base.OffsetTime, Base.XResolution, GPS.GPSLatitude, GPS.GPSLatitudeRef,
    GPS.GPSLongitude, GPS.GPSLongitudeRef, IFD.Exif, IFD.GPSInfo,
])  # fmt: skip


def is_understood(content: bytes) -> None:
    """Nothing raises, and everything that comes out can be stored and read again."""
    assert probe(io.BytesIO(content)).width in {32, 24}
    found = render(io.BytesIO(content)).metadata
    assert "\x00" not in found.camera
    assert len(found.camera) <= 120
    if found.taken_at is not None:
        assert 1825 <= found.taken_at.astimezone(UTC).year < 9999
    assert found.latitude is None or -90 <= found.latitude <= 90


def jpeg_with_exif(exif: bytes) -> bytes:
    plain = saved(quartered((32, 24)))
    block = b"Exif\x00\x00" + exif
    return plain[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + plain[2:]


@settings(max_examples=80, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200), st.binary(max_size=200).map(lambda b: b"MM\0*\0\0\0\x08" + b)
    )
)
def test_random_bytes_for_exif_are_no_error(exif: bytes) -> None:
    is_understood(jpeg_with_exif(exif))


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_exif_with_some_bytes_changed_is_no_error(data: st.DataObject) -> None:
    main: dict[int, Any] = {Base.Make: "Acme", Base.Orientation: 6, Base.DateTime: WRITTEN}
    details: dict[int, Any] = {Base.DateTimeOriginal: WRITTEN, Base.OffsetTimeOriginal: "+02:00"}
    content = bytearray(exif_with(main, details, BERLIN).tobytes().removeprefix(b"Exif\x00\x00"))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    is_understood(jpeg_with_exif(bytes(content)))


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(TAGS, VALUES, max_size=6), st.dictionaries(TAGS, VALUES, max_size=6))
def test_values_of_any_kind_are_no_error(main: dict[int, Any], details: dict[int, Any]) -> None:
    content = bytes(8)
    try:
        content = exif_with(main, details, details).tobytes()
    except Exception:
        return
    is_understood(jpeg_with_exif(content.removeprefix(b"Exif\x00\x00")))


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ({}, ("", None, None, None, None)),
        (
            {
                Base.LensModel: "XF 23mm F2\x00", Base.FNumber: 2.8, Base.ExposureTime: 0.004,
                Base.ISOSpeedRatings: 400, Base.FocalLength: 23.0,
            },
            ("XF 23mm F2", 2.8, 0.004, 400, 23.0),
        ),
        # Nonsense is left out, value by value.
        (
            {
                Base.FNumber: 0.0, Base.ExposureTime: IFDRational(1, 0),
                Base.ISOSpeedRatings: (200, 0), Base.FocalLength: "wide",
            },
            ("", None, None, 200, None),
        ),
        ({Base.FNumber: 1e9, Base.ISOSpeedRatings: 0}, ("", None, None, None, None)),
    ],
)  # fmt: skip
def test_exposure(details: dict[int, Any], expected: tuple[object, ...]) -> None:
    read = metadata_of(exif_with({}, details))
    found = (read.lens, read.f_number, read.exposure_time_s, read.iso, read.focal_length_mm)
    assert found[0] == expected[0]
    assert list(found[1:]) == [pytest.approx(value) for value in expected[1:]]
