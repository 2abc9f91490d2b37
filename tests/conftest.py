from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.core.cache import cache
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.utils import translation
from PIL import Image, ImageDraw
from pytest_django import Settings

from accounts.models import User
from gallery.models import Photo
from gallery.processing import process_due_photos
from gallery.services import add_photo
from search import milvus
from search.generations import prepare_index
from search.indexing import index_due_photos
from search.models import SearchIndex
from t2isearch.cache import derived
from tests import s3
from tests.tiny_clip import save_tiny_clip


def draw_picture(
    number: int, *, picture_format: str = "JPEG", size: tuple[int, int] = (320, 240)
) -> bytes:
    """A picture that differs from those of other numbers, as a file's bytes."""
    image = Image.new("RGB", size, (number * 47 % 256, number * 91 % 256, number * 13 % 256))
    side = 20 + number * 7 % 100
    ImageDraw.Draw(image).ellipse((10, 10, 10 + side, 10 + side), fill="white")
    buffer = io.BytesIO()
    image.save(buffer, picture_format)
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def _empty_cache() -> Iterator[None]:
    """The rates of requests are counted in the cache, and what costs much is remembered there."""
    for each in (cache, derived):
        each.clear()
    yield
    for each in (cache, derived):
        each.clear()


@pytest.fixture(autouse=True)
def _language() -> Iterator[None]:
    """The language of a test's last request is none of the next test's."""
    yield
    translation.deactivate()


@pytest.fixture
def ann(db: None) -> User:
    return User.objects.create_user("ann", "ann@example.com", "correct horse battery")


@pytest.fixture
def ben(db: None) -> User:
    return User.objects.create_user("ben", "ben@example.com", "correct horse battery")


@pytest.fixture(scope="session")
def s3_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An S3 for the tests that keep photos there."""
    with s3.running_s3(tmp_path_factory.mktemp("s3") / "log") as address:
        yield address


@pytest.fixture
def bucket(s3_address: str, settings: Settings) -> str:
    """The address of an S3 with an empty bucket, in which photos are kept."""
    s3.empty(s3_address)
    settings.STORAGES = settings.STORAGES | {
        "default": {"BACKEND": "gallery.bucket.PhotoBucket", "OPTIONS": s3.options(s3_address)}
    }
    call_command("prepare_storage", stdout=io.StringIO())
    return s3_address


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_clip(tmp_path_factory.mktemp("encoder"))


@pytest.fixture
def index(db: None, settings: Settings, tiny_clip: Path) -> SearchIndex:
    """An active generation with a collection of its own in the real Milvus."""
    settings.SEARCH_ENCODER = str(tiny_clip)
    return prepare_index()[0]


@pytest.fixture
def add(index: SearchIndex) -> Callable[..., Photo]:
    """Adds a drawn picture to someone's gallery and makes it searchable, as the workers would."""

    def add_one(owner: User, number: int) -> Photo:
        file = ContentFile(draw_picture(number), name=f"picture-{number}.jpg")
        photo = add_photo(owner=owner, file=file, filename=f"picture-{number}.jpg").photo
        process_due_photos(for_seconds=30)
        while index_due_photos():
            pass
        photo.refresh_from_db()
        assert milvus.present_ids(index.collection_name, [photo.pk]) == {photo.pk}
        return photo

    return add_one
