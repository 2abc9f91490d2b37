from __future__ import annotations

from django.test import Client
from django.urls import reverse
from rest_framework.authtoken.models import Token

from accounts.models import User
from gallery.models import DiscardedFile, Photo
from tests.accounts.rows import photo_of

PASSWORD = "correct horse battery"


def test_the_right_password_deletes_the_account_with_everything_in_it(
    client: Client, ada: User, bob: User
) -> None:
    names = {photo_of(ada).original.name for _ in range(3)}
    kept = photo_of(bob)
    Token.objects.create(user=ada)
    client.force_login(ada)

    response = client.post(reverse("accounts:delete"), {"password": PASSWORD}, follow=True)

    assert response.redirect_chain == [(reverse("account_login"), 302)]
    assert "Your account and all its photos are deleted." in response.content.decode()
    assert "_auth_user_id" not in client.session
    assert list(User.objects.all()) == [bob]
    assert list(Photo.objects.all()) == [kept]
    assert not Token.objects.exists()
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
        "password": ["Too many failed login attempts. Try again later."]
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
