"""From an original to what is shown and embedded: a thumbnail, a preview and a placeholder."""

from __future__ import annotations

import base64
import io
import warnings
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import IO

from PIL import Image, ImageCms

from gallery.formats import OPENABLE
from gallery.metadata import Metadata, orientation, read_metadata

PREVIEW_SIDE = 1600
THUMBNAIL_SIDE = 512
# A panorama's thumbnail keeps enough height for an encoder that looks at 224 to 256 pixels.
THUMBNAIL_SHORT_SIDE = 256
PLACEHOLDER_SIDE = 16
JPEG_QUALITY = 84

# How the stored pixels have to be turned for each EXIF orientation.
TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadablePicture(Exception):
    """The original can't be decoded; trying again would not help."""


@dataclass(frozen=True, slots=True)
class Renditions:
    """JPEG bytes of the two renditions in sRGB, the placeholder as a `data:` URI, and EXIF."""

    thumbnail: bytes
    thumbnail_size: tuple[int, int]
    preview: bytes
    placeholder: str
    metadata: Metadata


def make_renditions(original: IO[bytes], *, time_zone: tzinfo = UTC) -> Renditions:
    """Decode `original` once and make everything from it.

    A JPEG is decoded at the smallest scale that is no smaller than the preview (`Image.draft`),
    which takes a fraction of the time of a full decode. `time_zone` is that of the camera's clock,
    where the picture does not say.

    Raises:
        UnreadablePicture: the bytes are no picture that can be decoded.
        MemoryError: there was no room for it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(original, formats=OPENABLE) as image:
                metadata = read_metadata(image, time_zone=time_zone)
                longest = max(image.size)
                width, height = (max(1, side * PREVIEW_SIDE // longest) for side in image.size)
                image.draft("RGB", (width, height))
                image.load()
                turn = TRANSPOSE.get(orientation(image))
                preview = _resized(_as_srgb(image), PREVIEW_SIDE / max(image.size))
    except MemoryError:
        raise
    except Exception as error:
        # Decoders raise whatever they like on damaged bytes.
        raise UnreadablePicture(str(error)) from error
    if turn is not None:
        preview = preview.transpose(turn)
    thumbnail = _resized(
        preview, max(THUMBNAIL_SIDE / max(preview.size), THUMBNAIL_SHORT_SIDE / min(preview.size))
    )
    return Renditions(
        thumbnail=_jpeg(thumbnail),
        thumbnail_size=thumbnail.size,
        preview=_jpeg(preview),
        placeholder=_placeholder(thumbnail),
        metadata=metadata,
    )


def _resized(image: Image.Image, scale: float) -> Image.Image:
    """Smaller by `scale`; never larger than it was."""
    if scale >= 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)


def _as_srgb(image: Image.Image) -> Image.Image:
    """In eight-bit sRGB, transparency on white."""
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I"):  # sixteen bits of grey, which `convert` would clip
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image)
    if image.mode not in {"RGB", "CMYK"}:
        image = image.convert("RGB")
    if profile:
        try:
            converted = ImageCms.profileToProfile(
                image,
                ImageCms.ImageCmsProfile(io.BytesIO(profile)),
                ImageCms.createProfile("sRGB"),
                outputMode="RGB",
            )
        except (ImageCms.PyCMSError, OSError):
            converted = None  # a broken profile: the plain numbers are the best guess
        if converted is not None:
            return converted
    return image if image.mode == "RGB" else image.convert("RGB")


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    # Pillow would write the original's comment into it.
    image.save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True, comment=b"")
    return buffer.getvalue()


def _placeholder(image: Image.Image) -> str:
    small = _resized(image, PLACEHOLDER_SIDE / max(image.size))
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=30, method=6)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
