"""Pictures in the shapes that cameras and editors give them, as a file's bytes."""

from __future__ import annotations

import io
from typing import Any

from PIL import ExifTags, Image

CORNERS = ("red", "lime", "blue", "yellow")  # top left, top right, bottom left, bottom right


def quartered(size: tuple[int, int] = (240, 160)) -> Image.Image:
    """A picture with another colour in each quarter, so that its orientation can be seen."""
    image = Image.new("RGB", size)
    width, height = size[0] // 2, size[1] // 2
    for number, colour in enumerate(CORNERS):
        image.paste(colour, (number % 2 * width, number // 2 * height, size[0], size[1]))
    image.paste(CORNERS[2], (0, height, width, size[1]))
    return image


def saved(image: Image.Image, picture_format: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, picture_format, **options)
    return buffer.getvalue()


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def exif_with(
    main: dict[int, Any] | None = None,
    details: dict[int, Any] | None = None,
    place: dict[int, Any] | None = None,
) -> Image.Exif:
    exif = Image.Exif()
    exif.update(main or {})
    exif.get_ifd(ExifTags.IFD.Exif).update(details or {})
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(place or {})
    return exif


def corner_colours(image: Image.Image) -> list[str]:
    """The name of the nearest corner colour in the middle of each quarter."""
    rgb = image.convert("RGB")
    palette = {
        "red": (255, 0, 0),
        "lime": (0, 255, 0),
        "blue": (0, 0, 255),
        "yellow": (255, 255, 0),
    }

    def nearest(x: int, y: int) -> str:
        pixel = rgb.getpixel((x, y))
        assert isinstance(pixel, tuple)
        return min(
            palette,
            key=lambda name: sum((a - b) ** 2 for a, b in zip(pixel, palette[name], strict=True)),
        )

    quarter, rest = (rgb.width // 4, rgb.height // 4), (rgb.width * 3 // 4, rgb.height * 3 // 4)
    return [nearest(x, y) for y in (quarter[1], rest[1]) for x in (quarter[0], rest[0])]
