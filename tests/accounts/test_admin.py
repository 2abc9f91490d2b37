from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User
from tests.accounts.rows import photo_of

NEW_PERSON = {
    "username": "grace",
    "email": "grace@example.com",
    "usable_password": "true",
    "password1": "correct horse battery",
    "password2": "correct horse battery",
}


def test_the_list_says_what_each_person_stores(admin_client: Client, ada: User) -> None:
    photo_of(ada, size_bytes=1024 * 1024)
    photo_of(ada, size_bytes=1024 * 1024)

    response = admin_client.get(reverse("admin:accounts_user_changelist"))

    row = next(row for row in response.context["cl"].result_list if row.username == "Ada")
    assert (row.photo_count, row.stored_bytes) == (2, 2 * 1024 * 1024)
    assert '<td class="field-stored">2.0\xa0MB</td>' in response.content.decode()


def test_a_person_is_added_with_an_address(admin_client: Client) -> None:
    admin_client.post(reverse("admin:accounts_user_add"), NEW_PERSON)

    person = User.objects.get(username="grace")
    assert person.email == "grace@example.com"
    assert person.check_password("correct horse battery")


@pytest.mark.parametrize(
    "changes", [{"email": ""}, {"email": "ADA@example.com"}, {"username": "ADA"}]
)
def test_what_cannot_be_added_is_an_error_of_the_form(
    admin_client: Client, ada: User, changes: dict[str, str]
) -> None:
    response = admin_client.post(reverse("admin:accounts_user_add"), NEW_PERSON | changes)

    assert response.status_code == 200
    assert response.context["adminform"].form.errors
    assert not User.objects.filter(username__iexact="grace").exists()


def test_the_quota_is_set_for_one_person(admin_client: Client, ada: User) -> None:
    url = reverse("admin:accounts_user_change", args=[ada.pk])

    admin_client.post(
        url, {"username": "Ada", "email": ada.email, "quota_bytes": "1000", "is_active": "on"}
    )

    ada.refresh_from_db()
    assert ada.storage_limit == 1000
