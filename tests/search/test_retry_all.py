"""Trying again whatever failed, of all photos at once: of a person, and by an administrator."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import Scope, User
from accounts.tokens import create_token
from gallery.models import Photo
from gallery.services import retry_failed
from search.indexing import enqueue
from search.models import PhotoIndexing, SearchIndex
from search.runs import work_on_due_runs
from t2isearch.leases import Priority

Add = Callable[[User, int], Photo]


def fail_to_render(*photos: Photo) -> None:
    keys = [photo.pk for photo in photos]
    PhotoIndexing.objects.filter(photo__in=keys).delete()
    Photo.objects.filter(pk__in=keys).update(state="failed", error="No.", priority=Priority.IMPORT)


def fail_to_embed(*photos: Photo) -> None:
    PhotoIndexing.objects.filter(photo__in=photos).update(state="failed", error="No.", attempts=4)


def failed() -> set[int]:
    return {
        *Photo.objects.filter(state="failed").values_list("pk", flat=True),
        *PhotoIndexing.objects.filter(state="failed").values_list("photo", flat=True),
    }


@pytest.fixture
def photos(ann: User, ben: User, add: Add) -> list[Photo]:
    """Of ann one that was not rendered, one not embedded, one of each in the trash, a good one.

    The last two are ben's, and failed.
    """
    photos = [add(ann, number) for number in range(5)] + [add(ben, number) for number in (8, 9)]
    fail_to_render(photos[0], photos[2], photos[5])
    fail_to_embed(photos[1], photos[3], photos[6])
    Photo.objects.filter(pk__in=[photos[2].pk, photos[3].pk]).update(trashed_at=timezone.now())
    return photos


def test_on_the_page(client: Client, ann: User, photos: list[Photo]) -> None:
    client.force_login(ann)
    page = client.get("/").content.decode()
    assert "2 photos failed" in page
    assert client.get("/photos/states/").json()["failed"] == 2
    answer = client.post("/photos/retry/", follow=True)
    assert "2 photos are being processed again." in answer.content.decode()
    assert failed() == {photo.pk for photo in (photos[2], photos[3], photos[5], photos[6])}
    assert client.get("/photos/states/").json()["failed"] == 0
    # A person waits for them now.
    rendered, embedded = (
        Photo.objects.get(pk=photos[0].pk),
        PhotoIndexing.objects.get(photo=photos[1]),
    )
    assert (rendered.state, rendered.attempts, rendered.priority) == ("processing", 0, 0)
    assert (embedded.state, embedded.attempts, embedded.priority) == ("pending", 0, 0)
    assert client.get("/photos/retry/").status_code == 405


def test_with_the_api(client: Client, ann: User, photos: list[Photo]) -> None:
    for scope, status in ((Scope.PHOTOS_READ, 403), (Scope.PHOTOS_WRITE, 200)):
        secret = create_token(owner=ann, name=scope, scopes=[scope]).secret
        headers = {"Authorization": f"Bearer {secret}"}
        answer = client.post("/api/v1/photos/retry/", headers=headers)
        assert answer.status_code == status
    assert answer.json() == {"changed": 2}
    assert client.post("/api/v1/photos/retry/", headers=headers).json() == {"changed": 0}
    assert failed() == {photo.pk for photo in (photos[2], photos[3], photos[5], photos[6])}


def test_its_cost_does_not_grow_with_their_number(ann: User, add: Add) -> None:
    numbers = []
    for many in (range(2), range(2, 6)):
        photos = [add(ann, number) for number in many]
        fail_to_embed(*photos)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert retry_failed(owner=ann) == len(photos)
        numbers.append(len(queries))
    assert numbers[0] == numbers[1]


def test_an_administrator_retries_what_was_not_rendered_as_well(
    photos: list[Photo], capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("reindex", "--failed", user="ben")
    work_on_due_runs(for_seconds=30)
    assert failed() == {photo.pk for photo in photos[:4]}
    assert Photo.objects.get(pk=photos[5].pk).priority == Priority.BACKGROUND
    assert PhotoIndexing.objects.get(photo=photos[6]).priority == Priority.BACKGROUND


def test_making_anew_puts_nobodys_upload_back(ann: User, add: Add, index: SearchIndex) -> None:
    photo, done = add(ann, 1), add(ann, 2)
    enqueue([photo.pk], priority=Priority.PERSON)
    enqueue([photo.pk, done.pk], priority=Priority.BACKGROUND)
    rows = dict(PhotoIndexing.objects.filter(state="pending").values_list("photo", "priority"))
    assert rows == {photo.pk: Priority.PERSON, done.pk: Priority.BACKGROUND}
    # And an upload is not left where it was.
    enqueue([done.pk])
    assert PhotoIndexing.objects.get(photo=done).priority == Priority.PERSON


def test_imported_photos_wait_behind_uploads(ann: User, index: SearchIndex) -> None:
    call_command("load_samples", user="ann")
    assert set(Photo.objects.values_list("priority", flat=True)) == {Priority.IMPORT}
    keys = list(Photo.objects.values_list("pk", flat=True))
    enqueue(keys)
    assert set(PhotoIndexing.objects.values_list("priority", "owner_id")) == {
        (Priority.IMPORT, ann.pk)
    }
    assert default_storage.exists(str(Photo.objects.all()[0].original.name))


def test_counting_them_costs_nothing_of_what_is_there(ann: User) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    counted = Photo.objects.owned_by(ann).filter(state=Photo.State.FAILED).order_by()
    plan = counted.explain()
    assert "gallery_photo_failed" in plan, plan
