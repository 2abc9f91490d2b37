from __future__ import annotations

import io
from collections.abc import Callable
from datetime import timedelta
from unittest.mock import patch

import pytest
from django.core.files.base import ContentFile
from django.test import Client
from django.utils import timezone
from PIL import Image
from pytest_django import Settings

from accounts.models import User
from gallery.models import Photo
from gallery.processing import process_due_photos
from gallery.services import add_photo
from search import duplicates, tasks
from search.duplicates import groups_of, start_scan, work_on_scans
from search.indexing import index_due_photos
from search.models import DuplicateScan, SearchIndex
from tests.conftest import draw_picture

Add = Callable[[User, int], Photo]


def add_copy(owner: User, number: int, size: tuple[int, int]) -> Photo:
    """The same picture at another size."""
    with Image.open(io.BytesIO(draw_picture(number))) as image:
        buffer = io.BytesIO()
        image.resize(size).save(buffer, "JPEG", quality=70)
    photo = add_photo(
        owner=owner, file=ContentFile(buffer.getvalue(), name="copy.jpg"), filename="copy.jpg"
    ).photo
    process_due_photos(for_seconds=30)
    while index_due_photos():
        pass
    photo.refresh_from_db()
    return photo


def scan(owner: User) -> DuplicateScan:
    assert start_scan(owner) is not None
    tasks.compare_photos()
    return DuplicateScan.objects.get(owner=owner)


@pytest.fixture
def gallery(ann: User, add: Add) -> list[list[Photo]]:
    """Two groups, the largest first, among photos that are like no other."""
    first = [add_copy(ann, 3, (640, 480)), add(ann, 3), add_copy(ann, 3, (160, 120))]
    second = [add_copy(ann, 11, (400, 300)), add(ann, 11)]
    for number in (5, 8, 21):
        add(ann, number)
    return [first, second]


def test_copies_are_grouped_and_the_largest_comes_first(
    ann: User, ben: User, add: Add, gallery: list[list[Photo]]
) -> None:
    add(ben, 3)
    done = scan(ann)
    assert (done.state, done.compared, done.total) == ("done", 8, 8)
    assert [group.photos for group in groups_of(done)] == gallery
    assert groups_of(scan(ben)) == []


def test_block_by_block_finds_the_same(ann: User, gallery: list[list[Photo]]) -> None:
    """Interrupted after each block, too."""
    with patch.object(duplicates, "BLOCK", 2):
        assert start_scan(ann) is not None
        turns = 0
        while work_on_scans(for_seconds=0.000001) or duplicates.scans_wait():
            turns += 1
            assert turns < 50
        for _ in range(20):
            work_on_scans(for_seconds=0.01)
    done = DuplicateScan.objects.get()
    assert done.state == "done"
    assert [group.photos for group in groups_of(done)] == gallery


def test_vectors_alone_make_no_duplicate(ann: User, gallery: list[list[Photo]]) -> None:
    """An encoder that takes all photos for the same: the pictures decide."""
    with patch.object(duplicates, "LIKE", -1.0):
        assert [group.photos for group in groups_of(scan(ann))] == gallery


def test_the_others_go_to_the_trash(
    ann: User, ben: User, client: Client, gallery: list[list[Photo]]
) -> None:
    scan(ann)
    first, second = gallery
    client.force_login(ann)
    page = client.get("/search/duplicates/").content.decode()
    assert page.count('data-testid="duplicate-group"') == 2
    keys = ",".join(str(photo.pk) for photo in first)
    client.post("/search/duplicates/resolve/", {"photos": keys, "keep": str(first[0].pk)})
    trashed = set(Photo.objects.filter(trashed_at__isnull=False))
    assert trashed == set(first[1:])
    page = client.get("/search/duplicates/").content.decode()
    assert page.count('data-testid="duplicate-group"') == 1

    keys = ",".join(str(photo.pk) for photo in second)
    for keep in ("", str(first[0].pk)):  # nothing to keep, and not one of the group
        client.post("/search/duplicates/resolve/", {"photos": keys, "keep": keep})
    client.force_login(ben)
    assert (
        client.post("/search/duplicates/resolve/", {"photos": keys, "keep": keys}).status_code
        == 404
    )
    client.force_login(ann)
    client.post("/search/duplicates/resolve/", {"photos": keys, "keep": keys})
    assert set(Photo.objects.filter(trashed_at__isnull=False)) == trashed
    assert 'data-testid="duplicate-group"' not in client.get("/search/duplicates/").content.decode()
    # Also after the next scan.
    assert groups_of(scan(ann)) == []


def test_a_scan_that_ends_its_worker_each_time_is_given_up(
    ann: User, index: SearchIndex, settings: Settings, client: Client
) -> None:
    start_scan(ann)
    DuplicateScan.objects.update(
        attempts=settings.WORK_MAX_ATTEMPTS, due_at=timezone.now() - timedelta(seconds=1)
    )
    assert not work_on_scans(for_seconds=1)
    assert DuplicateScan.objects.get().state == "failed"
    client.force_login(ann)
    assert "comparison failed" in client.get("/search/duplicates/").content.decode()


def test_before_there_is_anything_to_compare(ann: User, client: Client) -> None:
    client.force_login(ann)
    assert 'data-testid="scan"' in client.get("/search/duplicates/").content.decode()
    assert client.post("/search/duplicates/scan/").status_code == 302
    assert not DuplicateScan.objects.exists()
