from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User
from gallery.models import Photo
from search.models import PhotoIndexing, SearchIndex

Add = Callable[[User, int], Photo]
INDEXES, INDEXINGS, PHOTOS = (
    reverse(f"admin:{name}_changelist")
    for name in ("search_searchindex", "search_photoindexing", "gallery_photo")
)


@pytest.fixture
def photos(ann: User, ben: User, add: Add) -> list[Photo]:
    photos = [add(ann, 1), add(ann, 2), add(ben, 3)]
    PhotoIndexing.objects.filter(photo=photos[1]).update(state="failed", error="No eyes for this.")
    return photos


def listed(client: Client, url: str, **query: str) -> list[str]:
    response = client.get(url, query)
    assert response.status_code == 200
    return sorted(str(getattr(row, "photo", row)) for row in response.context["cl"].result_list)


def test_the_generation_is_shown(
    admin_client: Client, photos: list[Photo], index: SearchIndex
) -> None:
    page = admin_client.get(INDEXES)
    (row,) = page.context["cl"].result_list
    assert (row.done, row.pending, row.failed) == (2, 0, 1)
    assert index.revision in page.content.decode()
    change = admin_client.get(reverse("admin:search_searchindex_change", args=[index.pk]))
    for fact in (index.encoder, index.collection_name, index.reason):
        assert fact in change.content.decode()


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ({}, [1, 2, 3]),
        ({"state__exact": "failed"}, [2]),
        ({"q": "ben"}, [3]),
        ({"q": "picture-1"}, [1]),
        ({"q": "No eyes"}, [2]),
        ({"q": "nothing"}, []),
    ],
)
def test_indexing_states_are_listed_filtered_and_searched(
    admin_client: Client, photos: list[Photo], query: dict[str, str], numbers: list[int]
) -> None:
    names = [f"picture-{number}.jpg" for number in numbers]
    assert listed(admin_client, INDEXINGS, **query) == names


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ({}, [1, 2, 3]),
        ({"q": "ben@example.com"}, [3]),
        ({"q": "picture-2"}, [2]),
        ({"state__exact": "failed"}, []),
        ({"media_type": "image/jpeg"}, [1, 2, 3]),
    ],
)
def test_photos_are_listed_filtered_and_searched(
    admin_client: Client, photos: list[Photo], query: dict[str, str], numbers: list[int]
) -> None:
    assert listed(admin_client, PHOTOS, **query) == [f"picture-{n}.jpg" for n in numbers]


def test_selected_photos_are_indexed_anew(admin_client: Client, photos: list[Photo]) -> None:
    rows = PhotoIndexing.objects.filter(photo__in=photos[1:])
    page = admin_client.post(
        INDEXINGS,
        {"action": "reindex", "_selected_action": [row.pk for row in rows]},
        follow=True,
    )
    assert "2 photos will be embedded again." in page.content.decode()
    assert {
        row.photo_id: (row.state, row.error, row.attempts) for row in PhotoIndexing.objects.all()
    } == {
        photos[0].pk: ("done", "", 1),
        photos[1].pk: ("pending", "", 0),
        photos[2].pk: ("pending", "", 0),
    }


def test_derived_rows_are_not_changed_by_hand(
    admin_client: Client, photos: list[Photo], index: SearchIndex
) -> None:
    row = PhotoIndexing.objects.all()[0]
    for name, key in (("photoindexing", row.pk), ("searchindex", index.pk)):
        assert admin_client.get(reverse(f"admin:search_{name}_add")).status_code == 403
        url = reverse(f"admin:search_{name}_change", args=[key])
        assert admin_client.post(url, {"state": "failed"}).status_code == 403
        assert (
            admin_client.post(
                reverse(f"admin:search_{name}_delete", args=[key]), {"post": "yes"}
            ).status_code
            == 403
        )


@pytest.mark.parametrize("through", ["photo", "photos", "owner"])
def test_photos_and_people_can_be_deleted_with_what_was_derived(
    admin_client: Client, photos: list[Photo], ben: User, through: str
) -> None:
    if through == "photo":
        url = reverse("admin:gallery_photo_delete", args=[photos[2].pk])
        admin_client.post(url, {"post": "yes"})
    elif through == "photos":
        chosen = {"action": "delete_selected", "_selected_action": [photos[2].pk], "post": "yes"}
        admin_client.post(PHOTOS, chosen)
    else:
        admin_client.post(reverse("admin:accounts_user_delete", args=[ben.pk]), {"post": "yes"})
    assert set(Photo.objects.all()) == set(photos[:2])
    assert PhotoIndexing.objects.count() == 2


def test_who_is_not_of_the_staff_is_refused(client: Client, ann: User, index: SearchIndex) -> None:
    client.force_login(ann)
    for url in (INDEXES, INDEXINGS, PHOTOS):
        response = client.get(url)
        assert (response.status_code, response["Location"]) == (302, f"/admin/login/?next={url}")
