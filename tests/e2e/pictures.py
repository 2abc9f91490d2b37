"""The pictures that the browser uploads: photos from packages, and drawn ones."""

from __future__ import annotations

import io
import random
from datetime import datetime
from importlib.resources import files
from pathlib import Path

from PIL import ExifTags, Image, ImageDraw
from playwright.sync_api import FilePayload

from gallery.management.commands.load_samples import SAMPLES

# The photos that are looked for by name, and what somebody would say of them.
DESCRIPTIONS = {
    "chelsea": "a cat",
    "coffee": "a cup of coffee",
    "rocket": "a rocket",
    "motorcycle_left": "a motorcycle",
    "china": "a temple",
}


def photo(name: str) -> Path:
    """The file of one of the photos that `manage.py load_samples` brings in."""
    for package, names in SAMPLES.items():
        if name in names:
            return Path(str(files(package) / name))
    raise LookupError(name)


def draw(number: int, *, size: tuple[int, int] = (480, 360)) -> bytes:
    """A JPEG of coloured shapes, another one for each number."""
    choose = random.Random(number)
    image = Image.new("RGB", size, _colour(choose))
    pen = ImageDraw.Draw(image)
    for _ in range(6):
        x, y = choose.randrange(size[0]), choose.randrange(size[1])
        side = choose.randrange(20, 160)
        shape = choose.choice([pen.ellipse, pen.rectangle])
        shape((x, y, x + side, y + side), fill=_colour(choose))
    return encode(image, "JPEG")


def _colour(choose: random.Random) -> tuple[int, int, int]:
    return choose.randrange(256), choose.randrange(256), choose.randrange(256)


def encode(image: Image.Image, picture_format: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, picture_format)
    return buffer.getvalue()


def drawn_file(number: int) -> FilePayload:
    return upload(f"drawn-{number}.jpg", draw(number))


def dated_file(number: int, taken_at: datetime) -> FilePayload:
    """A drawn picture with the time at which it was taken, as a camera writes it."""
    image = Image.open(io.BytesIO(draw(number)))
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = taken_at.strftime(
        "%Y:%m:%d %H:%M:%S"
    )
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif)
    return upload(f"dated-{number}.jpg", buffer.getvalue())


def upload(name: str, content: bytes, media_type: str = "image/jpeg") -> FilePayload:
    """A file as the file chooser hands it over."""
    return {"name": name, "mimeType": media_type, "buffer": content}
