"""The picture formats that are taken in: Pillow's name, media type and extension of each."""

from __future__ import annotations

MEDIA_TYPES = {
    "AVIF": "image/avif",
    "BMP": "image/bmp",
    "GIF": "image/gif",
    "HEIF": "image/heic",
    "JPEG": "image/jpeg",
    # A JPEG with further pictures behind it, as many phones write them.
    "MPO": "image/jpeg",
    "PNG": "image/png",
    "TIFF": "image/tiff",
    "WEBP": "image/webp",
}
EXTENSIONS = {
    "image/avif": ".avif",
    "image/bmp": ".bmp",
    "image/gif": ".gif",
    "image/heic": ".heic",
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/tiff": ".tif",
    "image/webp": ".webp",
}
# What every browser shows, so that a photo can be looked at in full.
BROWSER_MEDIA_TYPES = {"image/avif", "image/gif", "image/jpeg", "image/png", "image/webp"}
# What Pillow is asked to open: it opens an MPO as the JPEG that it begins with.
OPENABLE = tuple(name for name in MEDIA_TYPES if name != "MPO")
# What a file dialog offers and a folder import looks at.
FILE_SUFFIXES = (
    ".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif",
    ".tiff", ".webp",
)  # fmt: skip
ACCEPT = ",".join([*sorted(EXTENSIONS), *FILE_SUFFIXES])


def register_formats() -> None:
    """Make Pillow know all of them. Once for each process that decodes."""
    import pillow_heif
    from PIL import Image, ImageCms  # noqa: F401 - loaded now, while files may still be opened

    Image.init()
    pillow_heif.register_heif_opener()
