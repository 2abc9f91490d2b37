"""What a person does with an account, in the browser."""

from __future__ import annotations

import email
import email.policy
import re
from http import HTTPStatus

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import Newcomer
from tests.e2e.person import Person
from tests.e2e.pictures import drawn_file
from tests.running_system import RunningSystem

pytestmark = [pytest.mark.system, pytest.mark.browser]

NEW_PASSWORD = "staple of another horse"
REFUSED = "The username and/or password you specified are not correct."
REFUSED_BY_EMAIL = "The email address and/or password you specified are not correct."


def sign_out(person: Person) -> None:
    person.open_menu()
    person.page.get_by_test_id("sign-out").click()
    expect(person.page.get_by_role("heading", name="Sign in")).to_be_visible()


def link_in_mail(system: RunningSystem, address: str) -> str:
    """The link in the latest message to `address` in the folder of outgoing mail."""
    for path in sorted(system.layout.mail.glob("*.log"), reverse=True):
        message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
        if message["To"] == address:
            found = re.search(r"http://\S+", message.get_content())
            assert found is not None
            return found[0]
    raise AssertionError(f"no message to {address} in {system.layout.mail}")


def test_sign_out_sign_in_by_email_and_change_the_password(newcomer: Newcomer) -> None:
    ann = newcomer("ann")
    page = ann.page
    ann.sign_up()
    sign_out(ann)
    page.goto("/accounts/profile/")
    page.wait_for_url("**/accounts/login/?next=/accounts/profile/")

    ann.sign_in(ann.email)
    expect(page.get_by_role("heading", name="Your account", exact=True)).to_be_visible()
    expect(page.get_by_role("main").get_by_text(ann.email)).to_be_visible()

    page.get_by_role("link", name="Change password").click()
    page.get_by_label("Current Password").fill(ann.password)
    page.get_by_label("New Password", exact=True).fill(NEW_PASSWORD)
    page.get_by_label("New Password (again)").fill(NEW_PASSWORD)
    page.get_by_role("button", name="Change password").click()
    expect(page.get_by_text("Your password is changed.")).to_be_visible()
    expect(page.get_by_role("heading", name="Your account", exact=True)).to_be_visible()

    sign_out(ann)
    ann.sign_in(ann.name)
    expect(page.get_by_role("alert")).to_have_text(REFUSED)
    ann.password = NEW_PASSWORD
    ann.sign_in(ann.name)
    expect(page.get_by_role("heading", name="Your photos go here")).to_be_visible()


def test_reset_the_password_by_mail(newcomer: Newcomer, system: RunningSystem) -> None:
    ann = newcomer("ann")
    page = ann.page
    ann.sign_up()
    sign_out(ann)

    page.get_by_role("link", name="Forgot your password?").click()
    page.get_by_label("Email").fill(ann.email)
    page.get_by_role("button", name="Send the message").click()
    expect(page.get_by_role("heading", name="Look into your mail")).to_be_visible()
    link = link_in_mail(system, ann.email)
    assert link.startswith(system.base_url)
    page.goto(link)
    page.get_by_label("New Password", exact=True).fill(NEW_PASSWORD)
    page.get_by_label("New Password (again)").fill(NEW_PASSWORD)
    page.get_by_role("button", name="Save the new password").click()
    expect(page.get_by_role("heading", name="Your password is changed")).to_be_visible()

    page.goto(link)
    expect(page.get_by_role("heading", name="This link does not work")).to_be_visible()
    page.goto("/accounts/login/")
    ann.password = NEW_PASSWORD
    ann.sign_in(ann.email)
    expect(page.get_by_role("heading", name="Your photos go here")).to_be_visible()


def test_delete_the_account_with_everything_in_it(
    newcomer: Newcomer, system: RunningSystem
) -> None:
    ann = newcomer("ann")
    page = ann.page
    ann.sign_up()
    ann.choose([drawn_file(number) for number in (240, 241, 242)])
    ann.wait_until_searchable(3)
    [(owner,)] = system.query("SELECT id FROM accounts_user WHERE username = %s", ann.name)
    photos = [
        row[0] for row in system.query("SELECT id FROM gallery_photo WHERE owner_id = %s", owner)
    ]
    folders = [system.layout.media / kind / str(owner) for kind in ("originals", "renditions")]
    assert [len(list(folder.glob("*"))) for folder in folders] == [3, 6]
    assert present(system, photos) == set(photos)

    ann.open_menu()
    page.get_by_role("link", name="Your account").click()
    page.get_by_role("link", name="Delete account…").click()
    expect(page.get_by_text("its 3 photos will be deleted for good")).to_be_visible()
    page.get_by_label("Your password").fill("a guess")
    page.get_by_test_id("delete-account").click()
    expect(page.locator(".field-errors")).to_be_visible()
    page.get_by_label("Your password").fill(ann.password)
    page.get_by_test_id("delete-account").click()

    expect(page.get_by_text("Your account and all its photos are deleted.")).to_be_visible()
    ann.sign_in(ann.email)
    expect(page.get_by_role("alert")).to_have_text(REFUSED_BY_EMAIL)
    assert ann.status_of("/") == HTTPStatus.FOUND
    for table, column in (("accounts_user", "id"), ("gallery_photo", "owner_id")):
        statement = f"SELECT 1 FROM {table} WHERE {column} = %s"  # noqa: S608 - names of ours
        assert system.query(statement, owner) == []
    system.wait_until(
        lambda: [path for folder in folders for path in folder.glob("*")] == [],
        30,
        "files are gone",
    )
    system.wait_until(lambda: present(system, photos) == set(), 30, "vectors are gone")


def present(system: RunningSystem, photos: list[int]) -> set[int]:
    """Which of the photos have a vector in Milvus."""
    printed = system.run_in_shell(
        "from search import milvus",
        "from search.models import SearchIndex",
        "name = SearchIndex.objects.active().collection_name",
        f"print(*milvus.present_ids(name, {photos}))",
    )
    return set(map(int, printed.split()))


def test_the_picture_for_an_app_and_a_passkey(newcomer: Newcomer) -> None:
    """With the browser's own virtual authenticator. Passkeys want a name: no address will do."""
    ann = newcomer("ann")
    page = ann.page
    ann.sign_up()
    local = page.url.split("/")[2].replace("127.0.0.1", "localhost")
    devtools = page.context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
    }
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    page.goto(f"http://{local}/accounts/login/?next=/accounts/2fa/totp/activate/")
    ann.sign_in(ann.email)
    page.get_by_label("Password").fill(ann.password)
    page.get_by_role("button", name="Go on").click()
    picture = page.get_by_role("img", name="QR code")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.naturalWidth") > 0

    page.goto(f"http://{local}/accounts/2fa/webauthn/add/")
    page.get_by_label("Passwordless").check()
    page.get_by_role("button", name="Add a passkey").click()
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    sign_out(ann)
    page.get_by_role("button", name="Sign in with a passkey").click()
    expect(page.get_by_test_id("account-menu")).to_be_visible()


def test_a_passkey(newcomer: Newcomer, system: RunningSystem) -> None:
    """Added with the password, it signs in alone, shows the recovery codes, and can be removed."""
    ann = newcomer("ann", base_url=system.base_url.replace("127.0.0.1", "localhost"))
    page = ann.page
    devtools = ann.context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    key = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
    }
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": key})
    ann.sign_up()

    page.goto("/accounts/2fa/webauthn/add/")
    page.get_by_label("Password").fill(ann.password)
    page.get_by_role("button", name="Go on").click()
    page.get_by_label("Passwordless").check()
    page.get_by_role("button", name="Add a passkey").click()
    expect(page.locator("pre")).to_contain_text(re.compile(r"\d{8}"))
    sign_out(ann)

    page.get_by_role("button", name="Sign in with a passkey").click()
    expect(page.get_by_role("heading", name="Your photos go here")).to_be_visible()

    page.goto("/accounts/2fa/webauthn/")
    page.get_by_role("link", name="Remove").click()
    page.get_by_label("Password").fill(ann.password)
    page.get_by_role("button", name="Go on").click()
    page.get_by_role("button", name="Remove").click()
    sign_out(ann)
    ann.sign_in(ann.name)
    expect(page.get_by_role("heading", name="Your photos go here")).to_be_visible()
