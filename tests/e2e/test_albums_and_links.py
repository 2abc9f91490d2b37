"""Albums, links to them for people without an account, and the export of an account."""

from __future__ import annotations

import io
import json
import zipfile
from http import HTTPStatus

import pytest
from playwright.sync_api import expect

from tests.e2e.axe import check
from tests.e2e.conftest import DESKTOP, Newcomer
from tests.e2e.person import Person, press
from tests.e2e.pictures import drawn_file

pytestmark = [pytest.mark.system, pytest.mark.browser]

LINK_PASSWORD = "only for friends"


def with_album(newcomer: Newcomer, title: str = "Summer") -> Person:
    """Somebody with three photos, the two newest of them in an album, whose page is open."""
    ann = newcomer("ann")
    page = ann.page
    ann.sign_up()
    ann.choose([drawn_file(7000 + number) for number in range(3)])
    ann.wait_until_ready(3)
    page.get_by_role("link", name="Albums").click()
    expect(page.get_by_role("heading", name="No albums yet")).to_be_visible()
    check(page)
    page.set_viewport_size(DESKTOP)
    page.get_by_test_id("new-album").click()
    page.get_by_label("Title").fill(title)
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("heading", name="Nothing in this album yet")).to_be_visible()
    page.goto("/")
    for number in ann.ids()[:2]:
        page.locator(f".tile[data-photo-id='{number}']").hover()
        page.locator(f".tile[data-photo-id='{number}'] .tile-check").click()
    page.get_by_test_id("bulk-album").click()
    page.locator("#album-choices").get_by_role("button", name=title).click()
    expect(page.get_by_text("2 photos were added.")).to_be_visible()
    page.get_by_role("button", name=title).click()
    expect(page.locator("#photo-grid .tile")).to_have_count(2)
    return ann


def test_an_album(newcomer: Newcomer) -> None:
    ann = with_album(newcomer)
    page = ann.page
    check(page)
    page.set_viewport_size(DESKTOP)
    ids = ann.ids()

    # The other photo as its cover: within the album, the neighbours are its photos.
    page.locator(f".tile[data-photo-id='{ids[1]}'] .tile-check").click(force=True)
    page.get_by_test_id("bulk-cover").click()
    expect(page.get_by_text("has a new cover.")).to_be_visible()
    page.get_by_role("link", name="Albums").first.click()
    cover = page.get_by_test_id("album").locator("img.thumbnail")
    expect(cover).to_have_attribute("src", f"/photos/{ids[1]}/thumbnail/")
    check(page)
    page.set_viewport_size(DESKTOP)
    page.get_by_test_id("album").click()
    page.locator(".tile a").last.click()
    expect(page.locator("#viewer-newer")).to_be_visible()
    expect(page.locator("#viewer-older")).to_have_count(0)
    press(page, "Escape")

    page.get_by_test_id("album-rename").click()
    page.locator("#album-title").fill("By the lake")
    page.get_by_role("button", name="Rename").last.click()
    expect(page.get_by_role("heading", name="By the lake")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_test_id("album-download").click()
    assert download.value.suggested_filename == "By the lake.zip"
    with zipfile.ZipFile(io.BytesIO(download.value.path().read_bytes())) as archive:
        assert len(archive.namelist()) == 2

    page.locator(f".tile[data-photo-id='{ids[0]}'] .tile-check").click(force=True)
    page.get_by_test_id("bulk-remove-from-album").click()
    expect(page.locator("#photo-grid .tile")).to_have_count(1)
    page.get_by_test_id("album-delete").click()
    page.get_by_test_id("album-delete-confirm").click()
    expect(page.get_by_text("Its photos are still there.")).to_be_visible()
    assert len(ann.ids()) == 3


def test_a_link_with_a_password(newcomer: Newcomer) -> None:
    ann = with_album(newcomer)
    page = ann.page
    ids = ann.ids()
    page.get_by_test_id("share-album").click()
    dialog = page.locator("#share-album")
    dialog.get_by_label("Password").fill(LINK_PASSWORD)
    dialog.get_by_test_id("share-create").click()
    expect(page.get_by_test_id("link")).to_contain_text("with a password")
    check(page)
    page.set_viewport_size(DESKTOP)
    address = page.get_by_test_id("link-address").input_value()

    eve = newcomer("eve")
    visitor = eve.page
    eve.expected_statuses |= {HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}
    visitor.goto(address)
    check(visitor)
    visitor.set_viewport_size(DESKTOP)
    visitor.get_by_label("Password").fill("something else")
    visitor.get_by_role("button", name="Show the photos").click()
    expect(visitor.get_by_text("That is not the password.")).to_be_visible()
    visitor.get_by_label("Password").fill(LINK_PASSWORD)
    visitor.get_by_role("button", name="Show the photos").click()
    expect(visitor.locator("#photo-grid .tile img.thumbnail")).to_have_count(2)
    check(visitor)
    visitor.set_viewport_size(DESKTOP)
    expect(visitor.get_by_test_id("search-input")).to_have_count(0)
    expect(visitor.locator("a[href^='/accounts/'], a[href='/'], form")).to_have_count(0)

    visitor.locator(".tile a").first.click()
    preview = visitor.get_by_test_id("preview")
    expect(preview).to_have_js_property("complete", True)
    assert preview.evaluate("image => image.naturalWidth") > 0
    check(visitor)
    visitor.set_viewport_size(DESKTOP)
    press(visitor, "ArrowRight")
    visitor.wait_for_url(f"{address}photos/{ids[1]}/")
    press(visitor, "Escape")
    with visitor.expect_download() as download:
        visitor.get_by_test_id("shared-download").click()
    assert zipfile.is_zipfile(download.value.path())
    # Only what is shared, and nothing by way of the site's own addresses.
    assert eve.status_of(f"{address}photos/{ids[2]}/original/") == HTTPStatus.NOT_FOUND
    assert eve.status_of(f"/photos/{ids[0]}/original/") == HTTPStatus.FOUND

    page.get_by_test_id("link-close").click()
    expect(page.get_by_text("The link is closed.")).to_be_visible()
    expect(page.get_by_role("heading", name="Nothing is shared")).to_be_visible()
    visitor.goto(address)
    expect(visitor.get_by_role("heading", name="This link leads nowhere")).to_be_visible()
    check(visitor)


def test_chosen_photos_are_shared(newcomer: Newcomer) -> None:
    ann = with_album(newcomer)
    page = ann.page
    page.goto("/")
    page.locator(".tile .tile-check").first.click(force=True)
    page.get_by_test_id("bulk-share").click()
    page.locator("#share-photos").get_by_test_id("share-create").click()
    expect(page.get_by_test_id("link")).to_contain_text("1 photo")
    eve = newcomer("eve")
    eve.page.goto(page.get_by_test_id("link-address").input_value())
    expect(eve.page.locator("#photo-grid .tile img.thumbnail")).to_have_count(1)


def test_everything_can_be_taken_along(newcomer: Newcomer) -> None:
    ann = with_album(newcomer)
    page = ann.page
    page.goto("/accounts/profile/")
    with page.expect_download() as download:
        page.get_by_test_id("export").click()
    with zipfile.ZipFile(io.BytesIO(download.value.path().read_bytes())) as archive:
        metadata = json.loads(archive.read("metadata.json"))
        assert len(metadata["photos"]) == 3
        assert set(archive.namelist()) == {
            "metadata.json", *(each["file"] for each in metadata["photos"]),
        }  # fmt: skip
    assert metadata["albums"][0]["title"] == "Summer"
