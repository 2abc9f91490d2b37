"""Photos as one ZIP, made while it is sent: no temporary file, one original in memory at most.

Pictures are compressed already, so they are stored as they are.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any

from django.db.models import QuerySet
from zipstream import ZIP_STORED, ZipStream

from accounts.models import User
from gallery.models import Album, Photo
from gallery.querysets import PhotoQuerySet

# Photos that are read from the database at once.
ROWS_AT_ONCE = 200
# In bytes of UTF-8: file systems take names of 255 bytes, and a number may be added.
LONGEST_STEM, LONGEST_SUFFIX = 180, 20
MISSING = "MISSING.txt"
# Devices to Windows, whatever comes after the first dot: it makes no files of these names.
DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|clock\$|(com|lpt)[0-9¹²³]) *(\.|$)", re.I)


def photo_archive(photos: PhotoQuerySet) -> Iterator[bytes]:
    """The originals of `photos` as a ZIP, piece by piece. Photos that are gone are named in it."""
    archive = ZipStream(compress_type=ZIP_STORED)
    names = UniqueNames()
    names.take(MISSING)
    missing: list[str] = []
    for photo in _in_chunks(photos):
        name = names.take(photo.filename)
        yield from _original(archive, photo, name, missing)
    yield from _finish(archive, missing)


def account_archive(user: User) -> Iterator[bytes]:
    """Everything of a person as a ZIP: all originals, the trash included, and `metadata.json`."""
    archive = ZipStream(compress_type=ZIP_STORED)
    names = UniqueNames()
    paths: dict[int, str] = {}
    missing: list[str] = []
    photos = Photo.objects.filter(owner=user)
    for photo in _in_chunks(photos):
        paths[photo.pk] = f"photos/{names.take(photo.filename)}"
        yield from _original(archive, photo, paths[photo.pk], missing)
    archive.add(_metadata(user, photos.filter(pk__in=list(paths)), paths), "metadata.json")
    yield from archive.file()
    yield from _finish(archive, missing)


class UniqueNames:
    """Names for files in one folder: none twice, whatever the case, and none that a system refuses.

    >>> names = UniqueNames()
    >>> names.take("a.jpg"), names.take("A.jpg"), names.take(".."), names.take("con.jpg")
    ('a.jpg', 'A (2).jpg', '_', '_con.jpg')
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._last: dict[str, int] = {}

    def take(self, filename: str) -> str:
        """A name as close to `filename` as can be, that was not given out before."""
        # What Windows does not take, and a name of dots alone, which is a folder.
        safe = re.sub(r'[<>:"/\\|?*\x00-\x1f\x7f]', "_", filename).strip(". ") or "_"
        path = PurePosixPath(safe)
        stem, suffix = _cut(path.stem, LONGEST_STEM) or "_", _cut(path.suffix, LONGEST_SUFFIX)
        if DEVICE.match(f"{stem}{suffix}"):
            stem = f"_{stem}"
        name = f"{stem}{suffix}"
        number = self._last.get(_folded(name), 1)
        candidate = name
        while _folded(candidate) in self._taken:
            number += 1
            candidate = f"{stem} ({number}){suffix}"
        self._last[_folded(name)] = number
        self._taken.add(_folded(candidate))
        return candidate


def _cut(text: str, most_bytes: int) -> str:
    """The beginning of `text`; what it ends with then is nothing that Windows leaves out."""
    return text.encode()[:most_bytes].decode(errors="ignore").rstrip(". ")


def _folded(name: str) -> str:
    """The same for names that some file system takes for one: by case, or by how é is written."""
    return unicodedata.normalize("NFC", name.casefold())


def _in_chunks(photos: PhotoQuerySet) -> Iterator[Photo]:
    """The photos, the oldest first, without a cursor that stays open as long as the download.

    Those that are deleted meanwhile, or moved to the trash where that matters, are left out.
    """
    keys = list(photos.order_by("pk").values_list("pk", flat=True))
    for start in range(0, len(keys), ROWS_AT_ONCE):
        yield from photos.filter(pk__in=keys[start : start + ROWS_AT_ONCE]).order_by("pk")


def _original(archive: ZipStream, photo: Photo, name: str, missing: list[str]) -> Iterator[bytes]:
    try:
        file = photo.original.open("rb")
    except FileNotFoundError:
        missing.append(name)
        return
    with file:
        archive.add(file.chunks(), name)
        yield from archive.file()


def _finish(archive: ZipStream, missing: list[str]) -> Iterator[bytes]:
    if missing:
        archive.add("\n".join([*missing, ""]).encode(), MISSING)
    yield from archive.finalize()


def _metadata(user: User, photos: PhotoQuerySet, paths: dict[int, str]) -> Iterator[bytes]:
    """One JSON document, a photo or an album a line."""
    person = {
        "username": user.get_username(),
        "email": user.email,
        "date_joined": user.date_joined.isoformat(),
    }
    yield f'{{"account": {json.dumps(person)},\n"photos": [\n'.encode()
    yield from _lines(_photo_facts(photo, paths[photo.pk]) for photo in _in_chunks(photos))
    yield b'],\n"albums": [\n'
    albums: QuerySet[Album] = Album.objects.owned_by(user).order_by("pk")
    yield from _lines(
        {
            "title": album.title,
            "created_at": album.created_at.isoformat(),
            "photos": [
                paths[pk]
                for pk in album.photos.order_by("pk").values_list("pk", flat=True)
                if pk in paths
            ],
        }
        for album in albums
    )
    yield b"]}\n"


def _lines(facts: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    for number, each in enumerate(facts):
        yield b",\n"[: 2 if number else 0] + json.dumps(each, ensure_ascii=False).encode()
    yield b"\n"


def _photo_facts(photo: Photo, path: str) -> dict[str, Any]:
    return {
        "file": path,
        "filename": photo.filename,
        "sha256": photo.sha256,
        "media_type": photo.media_type,
        "bytes": photo.size_bytes,
        "width": photo.width,
        "height": photo.height,
        "caption": photo.caption,
        "is_favourite": photo.is_favourite,
        "taken_at": photo.taken_at and photo.taken_at.isoformat(),
        "created_at": photo.created_at.isoformat(),
        "trashed_at": photo.trashed_at and photo.trashed_at.isoformat(),
        "camera": photo.camera,
        "lens": photo.lens,
        "f_number": photo.f_number,
        "exposure_time_s": photo.exposure_time_s,
        "iso": photo.iso,
        "focal_length_mm": photo.focal_length_mm,
        "latitude": photo.latitude,
        "longitude": photo.longitude,
    }
