from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.core.files.base import ContentFile
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.urls import reverse

from accounts.models import AccessToken, User
from accounts.services import delete_account
from accounts.tokens import create_password_token
from gallery.albums import add_to_album, create_album, remove_from_album
from gallery.models import DiscardedFile, PartialUpload, Photo
from gallery.partial_uploads import start_upload
from gallery.services import add_photo
from gallery.sharing import share
from gallery.trash import move_to_trash, restore
from tests.accounts.rows import photo_of
from tests.conftest import draw_picture

PASSWORD = "correct horse battery"


def test_the_right_password_deletes_the_account_with_everything_in_it(
    client: Client, ada: User, bob: User
) -> None:
    names = {photo_of(ada).original.name for _ in range(3)}
    kept = photo_of(bob)
    create_password_token(owner=ada)
    client.force_login(ada)

    response = client.post(reverse("accounts:delete"), {"password": PASSWORD}, follow=True)

    assert response.redirect_chain == [(reverse("account_login"), 302)]
    assert "Your account and all its photos are deleted." in response.content.decode()
    assert "_auth_user_id" not in client.session
    assert list(User.objects.all()) == [bob]
    assert list(Photo.objects.all()) == [kept]
    assert not AccessToken.objects.exists()
    # The files are removed by a worker, which finds their names here.
    assert set(DiscardedFile.objects.values_list("name", flat=True)) == names


def test_a_wrong_password_deletes_nothing(client: Client, ada: User) -> None:
    photo_of(ada)
    client.force_login(ada)

    response = client.post(reverse("accounts:delete"), {"password": "wrong"})

    assert response.status_code == 200
    assert response.context["form"].errors == {"password": ["Incorrect password."]}
    assert User.objects.filter(pk=ada.pk).exists()
    assert Photo.objects.count() == 1


def test_an_empty_form_deletes_nothing(client: Client, ada: User) -> None:
    client.force_login(ada)

    response = client.post(reverse("accounts:delete"))

    assert "password" in response.context["form"].errors
    assert User.objects.filter(pk=ada.pk).exists()


def test_guessing_the_password_is_stopped(client: Client, ada: User) -> None:
    client.force_login(ada)
    for _ in range(10):
        client.post(reverse("accounts:delete"), {"password": "wrong"})

    response = client.post(reverse("accounts:delete"), {"password": PASSWORD})

    assert response.context["form"].errors == {
        "password": ["That was tried too often. Wait a few minutes, then try again."]
    }
    assert User.objects.filter(pk=ada.pk).exists()


def test_the_page_says_what_will_be_gone(client: Client, ada: User) -> None:
    photo_of(ada)
    photo_of(ada)
    client.force_login(ada)

    page = client.get(reverse("accounts:delete")).content.decode()

    assert "The account “Ada” and its 2 photos will be deleted for good." in page


def test_nobody_deletes_without_signing_in(client: Client, ada: User) -> None:
    response = client.post(reverse("accounts:delete"), {"password": PASSWORD})

    assert response["Location"].startswith(reverse("account_login"))
    assert User.objects.filter(pk=ada.pk).exists()


@pytest.mark.django_db(transaction=True)
def test_beside_what_others_are_doing(ada: User) -> None:
    """Uploads, albums and the trash at work on the account at the same time: nothing is in the way
    of anything, and nothing is left of it."""
    photos = [photo_of(ada) for _ in range(12)]
    keys = [photo.pk for photo in photos]
    album = create_album(owner=ada, title="Lake")
    gone = threading.Event()

    def upload(number: int) -> None:
        add_photo(owner=ada, file=ContentFile(draw_picture(number), name="x.jpg"), filename="x.jpg")

    def begin(number: int) -> None:
        start_upload(owner=ada, length=9, filename="x.jpg")

    def fill(number: int) -> None:
        add_to_album(album, photo_ids=keys)
        remove_from_album(album, photo_ids=keys)

    def throw_away(number: int) -> None:
        move_to_trash(owner=ada, photo_ids=keys)
        restore(owner=ada, photo_ids=keys)

    def show(number: int) -> None:
        share(owner=ada, photo_ids=keys)

    def get_token(number: int) -> None:
        create_password_token(owner=ada)

    def work(job: Callable[[int], None]) -> list[str]:
        """What went wrong other than that the account is gone."""
        faults: list[str] = []
        try:
            for number in itertools.count():
                if gone.is_set():
                    break
                job(number)
        except (ObjectDoesNotExist, ValidationError):
            pass
        except DatabaseError as error:
            faults.append(f"{job.__name__}: {error!r}")
        finally:
            connection.close()
        return [fault for fault in faults if "foreign key" not in fault]

    jobs = [upload, begin, fill, throw_away, show, get_token]
    with ThreadPoolExecutor(len(jobs)) as threads:
        running = [threads.submit(work, job) for job in jobs]
        time.sleep(1)
        try:
            delete_account(user=ada)
        finally:
            gone.set()
        assert [fault for each in running for fault in each.result()] == []
    assert not User.objects.exists()
    assert not Photo.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_photos_come_before_their_uploads(ada: User) -> None:
    """As for who sends a photo once more in pieces: the photo is locked, then the upload."""
    photo = photo_of(ada)
    upload = start_upload(owner=ada, length=9, filename="x.jpg")

    def delete() -> None:
        try:
            delete_account(user=ada)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as threads:
        with transaction.atomic():
            Photo.objects.select_for_update().get(pk=photo.pk)
            deleted = threads.submit(delete)
            time.sleep(0.5)
            PartialUpload.objects.select_for_update(nowait=True).get(pk=upload.pk)
        deleted.result(timeout=30)
    assert not User.objects.exists()


def by_the_owner(user: User, client: Client) -> None:
    delete_account(user=user)


def by_an_administrator(user: User, client: Client) -> None:
    address = reverse("admin:accounts_user_delete", args=[user.pk])
    assert client.post(address, {"post": "yes"}).status_code == 302


def chosen_in_the_admin(user: User, client: Client) -> None:
    chosen = {"action": "delete_selected", "_selected_action": [user.pk], "post": "yes"}
    assert client.post(reverse("admin:accounts_user_changelist"), chosen).status_code == 302


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("how", [by_the_owner, by_an_administrator, chosen_in_the_admin])
def test_it_waits_for_the_person_before_anything_else(
    ada: User, admin_client: Client, how: Callable[[User, Client], None]
) -> None:
    """The order that all keep to: who holds the person's row gets whatever else they want."""
    photo_of(ada)
    start_upload(owner=ada, length=9, filename="x.jpg")

    def delete() -> None:
        try:
            how(ada, admin_client)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as threads:
        with transaction.atomic():
            User.objects.select_for_update().get(pk=ada.pk)
            deleted = threads.submit(delete)
            time.sleep(0.5)
            for things in (ada.partial_uploads, ada.photos):
                list(things.select_for_update(nowait=True))
        deleted.result(timeout=30)
    assert not User.objects.filter(pk=ada.pk).exists()
