"""Whether the storage holds the files that photos name, as they should be, and mending what can be.

Photos are read in the order of their keys, a page at a time, so that memory is bounded however many
there are. What looks wrong is looked at once more, since people upload and delete all the while.
"""

from __future__ import annotations

import hashlib
import io
import logging
import posixpath
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from django.core.files.storage import default_storage
from django.db.models import Q
from django.utils import timezone
from PIL import Image

from gallery.models import DiscardedFile, Photo
from gallery.processing import DAMAGED, MISSING, render_again
from gallery.querysets import PhotoQuerySet
from gallery.storage import StorageUnavailable

logger = logging.getLogger(__name__)

BLOCK_BYTES = 1024 * 1024
PAGE_SIZE = 500
NAMES_AT_ONCE = 1000
# A file that is on its way into the gallery has no row yet.
STRAY_AFTER = timedelta(days=1)
FOLDERS = ("originals", "renditions")
JPEG_ENDS = (b"\xff\xd8", b"\xff\xd9")


class Fault(StrEnum):
    """What is wrong with a stored file."""

    MISSING = "missing"
    DAMAGED = "damaged"
    # The storage did not give it: no right to read it, a bad sector.
    UNREADABLE = "unreadable"


# Why a photo can't be mended by us. Trouble with reading may pass.
REASONS = {Fault.MISSING: MISSING, Fault.DAMAGED: DAMAGED}


class FaultyFile(Exception):
    """A stored file is missing or can't be read."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.value)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file that a photo names: its `kind` is "original", "thumbnail" or "preview".

    `size` (bytes) and `sha256` are what an original has to be, None for what is made from it.
    """

    photo: int
    kind: str
    name: str
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class FoundFault:
    file: NamedFile
    fault: Fault


def named_files(photo: Photo) -> Iterator[NamedFile]:
    """The files that `photo` names, the original first."""
    original = str(photo.original.name)
    yield NamedFile(photo.pk, "original", original, photo.size_bytes, photo.sha256)
    for kind, rendition in (("thumbnail", photo.thumbnail), ("preview", photo.preview)):
        if rendition:
            yield NamedFile(photo.pk, kind, str(rendition.name))


def with_named_files(photos: PhotoQuerySet) -> PhotoQuerySet:
    """`photos` in the order of their keys, with what `named_files` needs of them."""
    fields = ("original", "thumbnail", "preview", "size_bytes", "sha256", "state", "error")
    return photos.only(*fields).order_by("pk")


def read_blocks(name: str) -> Iterator[bytes]:
    """The bytes of a stored file.

    Raises:
        FaultyFile, StorageUnavailable
    """
    with _faults_of_storage(name), default_storage.open(name, "rb") as file:
        while block := file.read(BLOCK_BYTES):
            yield block


@contextmanager
def _faults_of_storage(name: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise FaultyFile(Fault.MISSING) from error
    except OSError as error:
        logger.warning("%s can't be read: %s", name, error)
        raise FaultyFile(Fault.UNREADABLE) from error
    except Exception as error:  # what clients of buckets raise is of many kinds
        raise StorageUnavailable(f"The storage can't be read at {name}: {error}") from error


class Reading:
    """What is known of a file once each block of it was added."""

    def __init__(self) -> None:
        self.size = 0
        self._digest = hashlib.sha256()
        self._first = self._last = b""

    def add(self, block: bytes) -> None:
        self.size += len(block)
        self._digest.update(block)
        self._first = (self._first + block[:2])[:2]
        self._last = (self._last + block[-2:])[-2:]

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def fits(self, file: NamedFile) -> bool:
        """Whether this is the original; of what is made from one, whether it is whole."""
        if file.sha256 is not None:
            return self.sha256 == file.sha256
        return (self._first, self._last) == JPEG_ENDS


def examine(photos: PhotoQuerySet, *, quick: bool) -> Iterator[tuple[Photo, list[FoundFault]]]:
    """Each of `photos`, by its key, with what is wrong with its files.

    Originals are compared with their hash and what is made from them is decoded; if it is to be
    `quick`, only sizes are asked for.

    Raises:
        StorageUnavailable
    """
    position = 0
    while page := list(with_named_files(photos.filter(pk__gt=position))[:PAGE_SIZE]):
        for photo in page:
            yield _confirmed(photo, quick=quick)
        position = page[-1].pk


def _confirmed(photo: Photo, *, quick: bool) -> tuple[Photo, list[FoundFault]]:
    if not (faults := _faults_of(photo, quick=quick)):
        return photo, faults
    # It may have been deleted or rendered meanwhile.
    now = with_named_files(Photo.objects.filter(pk=photo.pk)).first()
    if now is None:
        return photo, []
    if list(named_files(now)) == list(named_files(photo)):
        return now, faults
    return now, _faults_of(now, quick=quick)


def _faults_of(photo: Photo, *, quick: bool) -> list[FoundFault]:
    find = _quick_fault if quick else _fault
    found = ((file, find(file)) for file in named_files(photo))
    return [FoundFault(file, fault) for file, fault in found if fault is not None]


def _quick_fault(file: NamedFile) -> Fault | None:
    try:
        with _faults_of_storage(file.name):
            size = default_storage.size(file.name)
    except FaultyFile as faulty:
        return faulty.fault
    fits = size == file.size if file.size is not None else size > 0
    return None if fits else Fault.DAMAGED


def _fault(file: NamedFile) -> Fault | None:
    reading, kept = Reading(), io.BytesIO()
    try:
        for block in read_blocks(file.name):
            reading.add(block)
            if file.sha256 is None:  # a rendition, which is small
                kept.write(block)
    except FaultyFile as faulty:
        return faulty.fault
    fits = reading.fits(file) and (file.sha256 is not None or _decodes(kept))
    return None if fits else Fault.DAMAGED


def _decodes(rendition: io.BytesIO) -> bool:
    try:
        with Image.open(rendition, formats=["JPEG"]) as image:
            image.load()
    except Exception:  # decoders raise whatever they like on damaged bytes
        return False
    return True


def mend(photo: Photo, faults: Collection[FoundFault]) -> bool:
    """Do what can be done about `faults`, all that `examine` found; whether that mended them.

    Renditions are made anew from a good original. Where that is gone or damaged, the owner is told:
    the same file uploaded again mends it. The photo is shown as long as its renditions are there.
    """
    by_kind = {found.file.kind: found.fault for found in faults}
    original = by_kind.get("original")
    if original is not None:
        if original in REASONS:
            _tell_owner(photo, REASONS[original])
        return False
    if photo.state != Photo.State.READY:
        return False
    try:
        return render_again(Photo.objects.get(pk=photo.pk))
    except Exception as error:  # decoders and storages raise whatever they like
        logger.warning("photo %s can't be rendered: %s", photo.pk, error)
        return False


def take_back(photo: Photo) -> None:
    """The original is good (again): what its owner was told about it is no longer true."""
    if photo.error in REASONS.values():
        _tell_owner(photo, "")


def _tell_owner(photo: Photo, reason: str) -> None:
    # One that failed has its reason already, and one that is being processed will.
    ready = Photo.objects.filter(pk=photo.pk, state=Photo.State.READY)
    ready.filter(original=photo.original.name).update(error=reason)


def storage_is_empty() -> bool:
    """Whether there is nothing at all, as without the volume. Raises StorageUnavailable."""
    return not any(_listed(""))


def _listed(folder: str) -> tuple[list[str], list[str]]:
    """The folders and files in `folder`; none where it is missing or can't be read."""
    try:
        with _faults_of_storage(folder or "its top"):
            return default_storage.listdir(folder)
    except FaultyFile:
        return [], []


def stray_files(*, older_than: timedelta = STRAY_AFTER) -> Iterator[str]:
    """Stored files that no photo and no `DiscardedFile` names. Raises StorageUnavailable."""
    for folder in FOLDERS:
        yield from _strays_in(folder, timezone.now() - older_than)


def _strays_in(folder: str, until: datetime) -> Iterator[str]:
    folders, files = _listed(folder)
    for start in range(0, len(files), NAMES_AT_ONCE):
        names = {posixpath.join(folder, file) for file in files[start : start + NAMES_AT_ONCE]}
        for name in sorted(_unnamed(folder, names)):
            try:
                if default_storage.get_modified_time(name) <= until:
                    yield name
            except FileNotFoundError:
                continue
    for each in sorted(folders):
        yield from _strays_in(posixpath.join(folder, each), until)


def _unnamed(folder: str, names: set[str]) -> set[str]:
    # Notes before rows: a note is taken back in the transaction that writes the row.
    noted = DiscardedFile.objects.filter(name__in=names)
    left = names - set(noted.values_list("name", flat=True))
    photos = Photo.objects.all()
    if owner := re.fullmatch(r"\w+/(\d{1,18})", folder):  # a person's: an index leads there
        photos = photos.filter(owner=int(owner[1]))
    naming = Q(original__in=left) | Q(thumbnail__in=left) | Q(preview__in=left)
    for row in photos.filter(naming).values_list("original", "thumbnail", "preview"):
        left -= set(row)
    return left
