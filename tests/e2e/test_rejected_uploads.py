"""Files that are not taken in: a plain sentence beside the name, and the others go on."""

from __future__ import annotations

import random
from http import HTTPStatus

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.e2e.conftest import Newcomer
from tests.e2e.pictures import draw, drawn_file, encode, upload
from tests.running_system import RunningSystem

pytestmark = [pytest.mark.system, pytest.mark.browser]

MEGABYTE = 1024 * 1024
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
HTML = b"<!doctype html><html><body><script>alert(1)</script></body></html>"

NO_PICTURE = "This is not a picture, or one in a format that can't be read."
DAMAGED = "The picture is damaged or incomplete."
TOO_LARGE = "The file is larger than 5.0 MB, the most that can be uploaded."
TOO_MANY_PIXELS = "The picture has more than 4 megapixels, the most that can be taken in."


def test_each_kind_is_told_and_the_others_go_on(newcomer: Newcomer) -> None:
    ann = newcomer("ann")
    page = ann.page
    ann.expected_statuses.add(HTTPStatus.BAD_REQUEST)
    ann.sign_up()
    good = [drawn_file(number) for number in (200, 201, 202)]
    whole = draw(203, size=(1200, 900))
    bad = {
        "letter.jpg": (b"Dear Ann, this is no picture at all.\n" * 40, NO_PICTURE),
        "torn.jpg": (whole[: len(whole) // 2], DAMAGED),
        "drawing.png": (SVG, NO_PICTURE),
        "page.jpg": (HTML, NO_PICTURE),
        "nothing.jpg": (b"", "The file is empty."),
        "heavy.jpg": (random.Random(1).randbytes(5 * MEGABYTE + 1), TOO_LARGE),
        "poster.png": (encode(Image.new("RGB", (2500, 1601)), "PNG"), TOO_MANY_PIXELS),
    }
    rejected = [upload(name, content) for name, (content, _) in bad.items()]

    ann.choose([good[0], *rejected[:4], good[1], *rejected[4:], good[2]])

    ann.wait_until_searchable(3)
    done = page.locator("[data-testid='upload-row'][data-state='searchable']")
    expect(done).to_have_count(3, timeout=10_000)
    for name, (_, sentence) in bad.items():
        assert ann.upload_row(name) == {"state": "rejected", "note": sentence}
    expect(page.locator("#uploads-title")).to_have_text("Done. Searchable: 3")
    expect(page.locator("#uploads-detail")).to_have_text(f"Not added: {len(bad)}")
    # What was refused for good can't be tried again.
    expect(page.locator("#uploads").get_by_role("button", name="Try again")).to_have_count(0)
    page.reload()
    expect(page.locator("#photo-grid .tile")).to_have_count(3)


def test_too_large_for_the_server_is_told_as_well(newcomer: Newcomer) -> None:
    """A page from before the limit was lowered sends what the server then refuses."""
    ann = newcomer("ann")
    ann.expected_statuses |= {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE}
    ann.sign_up()
    ann.page.route("/", lambda route: route.fulfill(
        response=(answer := route.fetch()),
        body=answer.text().replace(f'data-max-bytes="{5 * MEGABYTE}"', 'data-max-bytes="99999999"'),
    ))  # fmt: skip
    ann.page.reload()

    ann.choose([upload("heavy.jpg", random.Random(2).randbytes(6 * MEGABYTE)), drawn_file(210)])

    ann.wait_until_searchable(1)
    assert ann.upload_row("heavy.jpg") == {"state": "rejected", "note": TOO_LARGE}


def test_over_the_quota(newcomer: Newcomer, system: RunningSystem) -> None:
    ann = newcomer("ann")
    ann.expected_statuses.add(HTTPStatus.BAD_REQUEST)
    ann.sign_up()
    small, large = draw(220), draw(221, size=(2000, 1500))
    quota = len(small) + 20_000
    assert len(large) > quota
    system.query("UPDATE accounts_user SET quota_bytes = %s WHERE username = %s", quota, ann.name)

    ann.choose([upload("large.jpg", large), upload("small.jpg", small)])

    ann.wait_until_searchable(1)
    row = ann.upload_row("large.jpg")
    assert row["state"] == "rejected"
    assert row["note"].startswith("There is no room left for it: you may store ")
    ann.page.goto("/accounts/profile/")
    expect(ann.page.get_by_test_id("storage")).to_contain_text("1 photo")
    expect(ann.page.get_by_role("meter")).to_be_visible()


def test_the_same_bytes_again_are_the_photo_that_is_there(newcomer: Newcomer) -> None:
    ann = newcomer("ann")
    page = ann.page
    ann.sign_up()
    ann.choose([upload("first.jpg", draw(230))])
    ann.wait_until_searchable(1)
    photo_id = page.locator("#photo-grid .tile").get_attribute("data-photo-id")
    page.reload()

    ann.choose([upload("again.jpg", draw(230)), drawn_file(231)])

    ann.wait_until_searchable(2)
    assert ann.upload_row("again.jpg") == {"state": "duplicate", "note": "Already in your gallery"}
    expect(page.locator("#uploads-detail")).to_have_text("Already there: 1")
    page.get_by_role("link", name="again.jpg").click()
    page.wait_for_url(f"**/photos/{photo_id}/")
    expect(page.get_by_role("heading", name="first.jpg")).to_be_visible()
