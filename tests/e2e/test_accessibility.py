"""Every page for everybody: axe-core finds nothing, the keyboard is enough, nothing is cut off."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.axe import check
from tests.e2e.conftest import DESKTOP, Newcomer
from tests.e2e.person import Person, press
from tests.e2e.pictures import draw, drawn_file, photo, upload
from tests.running_system import RunningSystem

pytestmark = [pytest.mark.system, pytest.mark.browser]


# Whether the focused element shows it: by itself, by what lies over it, or by the label after it.
SHOWS_FOCUS = """
() => {
  const drawn = (style) => (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2)
    || style.boxShadow !== "none";
  const element = document.activeElement;
  return drawn(getComputedStyle(element)) || drawn(getComputedStyle(element, "::after"))
    || (element.type === "file" && drawn(getComputedStyle(element.nextElementSibling)));
}
"""
FOCUSED = """
() => {
  const { id, className, dataset, tagName } = document.activeElement;
  return id || dataset.testid || String(className).split(" ")[0] || tagName;
}
"""
MOVING = """
() => {
  const found = [];
  for (const element of document.querySelectorAll("*")) {
    for (const part of [null, "::before", "::after"]) {
      const style = getComputedStyle(element, part);
      const durations = style.transitionDuration.split(", ");
      if (style.animationName !== "breathe") durations.push(...style.animationDuration.split(", "));
      if (durations.some((duration) => parseFloat(duration) > 0)) {
        found.push(`${element.tagName}.${element.className}${part ?? ""}`);
      }
    }
  }
  return found;
}
"""


@pytest.fixture(scope="module")
def signed_in(browser: Browser, system: RunningSystem) -> Iterator[Any]:
    """The cookies of somebody with some photos, one of which has failed."""
    context = browser.new_context(base_url=system.base_url, viewport=DESKTOP)
    kim = Person("kim", context, context.new_page())
    kim.sign_up()
    kim.choose([photo(name) for name in ("chelsea.png", "coffee.png", "rocket.jpg", "china.jpg")])
    kim.wait_until_searchable(4)
    kim.page.reload()
    kim.choose([upload("a-name-without-end-" * 6 + ".jpg", draw(300, size=(300, 1200)))])
    kim.wait_until_searchable(5)
    system.query(
        "UPDATE gallery_photo SET state = 'failed', error = 'The stored original is gone.'"
        " WHERE id = %s",
        kim.photo_id("rocket"),
    )
    yield context.storage_state()
    context.close()


@pytest.mark.parametrize(
    "path", ["/accounts/login/", "/accounts/signup/", "/accounts/password/reset/", "/nowhere/"]
)
def test_pages_for_anybody(newcomer: Newcomer, path: str) -> None:
    anybody = newcomer("anybody")
    anybody.expected_statuses.add(HTTPStatus.NOT_FOUND)
    anybody.page.goto(path)
    check(anybody.page)


@pytest.mark.parametrize("path", ["/accounts/login/", "/accounts/signup/"])
def test_forms_with_errors(newcomer: Newcomer, path: str) -> None:
    anybody = newcomer("anybody")
    page = anybody.page
    page.goto(path)
    page.locator("form.form").evaluate("form => { form.noValidate = true; }")
    page.locator("form.form button[type='submit']").click()
    expect(page.locator(".field-errors").first).to_be_visible()
    check(page)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/search/",
        "/search/?q=a+cat",
        "/search/?q=a+cat&taken_after=2020-01-01",
        "/search/?q=a+cat+-dog+is:favourite&weak=true",
        "/search/?q=a+cat&weak=true",
        "/search/?q=一只猫",
        "/search/saved/",
        "/search/duplicates/",
        "/search/?q=a+cat&taken_after=yesterday",
        "/favourites/",
        "/albums/",
        "/links/",
        "/trash/",
        "/accounts/profile/",
        "/accounts/email/",
        "/accounts/password/change/",
        "/accounts/delete/",
        "/accounts/2fa/",
        "/accounts/tokens/",
        "/photos/0/",
    ],
)
def test_pages_of_somebody_with_photos(newcomer: Newcomer, signed_in: Any, path: str) -> None:
    kim = newcomer("kim", storage_state=signed_in)
    kim.expected_statuses |= {HTTPStatus.NOT_FOUND, HTTPStatus.BAD_REQUEST}
    kim.page.goto(path)
    expect(kim.page.get_by_test_id("account-menu")).to_be_visible()
    check(kim.page)


def test_a_photo_its_menu_and_its_dialog(newcomer: Newcomer, signed_in: Any) -> None:
    kim = newcomer("kim", storage_state=signed_in)
    page = kim.page
    page.goto("/")
    page.goto(f"/photos/{kim.photo_id('chelsea')}/")
    check(page)
    page.set_viewport_size(DESKTOP)
    page.get_by_test_id("add-to-album").click()
    check(page)
    press(page, "Escape")
    kim.open_menu()
    check(page)


def test_an_empty_gallery_and_the_panel_of_uploads(newcomer: Newcomer) -> None:
    ann = newcomer("ann")
    ann.expected_statuses.add(HTTPStatus.BAD_REQUEST)
    ann.sign_up()
    check(ann.page)
    ann.page.set_viewport_size(DESKTOP)
    ann.choose([drawn_file(310), upload("letter.jpg", b"no picture"), drawn_file(311)])
    ann.wait_until_searchable(2)
    rejected = ann.page.locator("[data-testid='upload-row'][data-state='rejected']")
    expect(rejected).to_be_visible()
    check(ann.page)


def test_the_keyboard_is_enough(newcomer: Newcomer, signed_in: Any) -> None:
    kim = newcomer("kim", storage_state=signed_in)
    page = kim.page
    page.goto("/")
    visited = []
    for _ in range(8):
        press(page, "Tab")
        visited.append(page.evaluate(FOCUSED))
        assert page.evaluate(SHOWS_FOCUS), f"no visible focus on {visited[-1]}"
    assert visited == [
        "skip-link", "logo", "search-input", "picture-input", "upload-input", "avatar",
        "navigation-item", "navigation-item",
    ]  # fmt: skip

    # The skip link comes into view and leads past the header.
    page.goto("/")
    press(page, "Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_in_viewport()
    press(page, "Enter")
    press(page, "Tab")
    assert page.evaluate(FOCUSED) == "retry-all"  # one of the photos has failed
    press(page, "Tab")
    press(page, "Tab")
    assert page.evaluate(FOCUSED) == "tile-link"
    assert page.evaluate(SHOWS_FOCUS)

    # The menu opens with Enter, Escape closes it and gives the focus back.
    page.get_by_test_id("account-menu").locator("summary").focus()
    press(page, "Enter")
    panel = page.locator(".header .menu-panel")
    expect(panel).to_be_visible()
    for expected in (
        "Your account",
        "Keyboard shortcuts",
        "Saved searches",
        "Near-duplicates",
        "简体中文",
        "Sign out",
    ):
        press(page, "Tab")
        assert page.evaluate("document.activeElement.textContent").strip() == expected
        assert page.evaluate(SHOWS_FOCUS)
    press(page, "Escape")
    expect(panel).to_be_hidden()
    assert page.evaluate(FOCUSED) == "avatar"

    # A slash goes to the search box, and is no part of what is looked for.
    press(page, "/")
    expect(page.get_by_test_id("search-input")).to_be_focused()
    page.keyboard.type("a cat")
    press(page, "Enter")
    expect(page.get_by_test_id("result").first).to_be_visible()
    assert kim.found()[0] == "chelsea"

    # Through the results to the photo, into the dialog, out of it, back.
    page.get_by_test_id("result").first.get_by_role("link").focus()
    press(page, "Enter")
    expect(page.get_by_role("heading", name="chelsea.png")).to_be_visible()
    page.get_by_test_id("add-to-album").focus()
    assert page.evaluate(SHOWS_FOCUS)
    press(page, "Enter")
    expect(page.locator("#album-dialog")).to_be_visible()
    press(page, "Escape")
    expect(page.locator("#album-dialog")).to_be_hidden()
    expect(page.get_by_test_id("add-to-album")).to_be_focused()
    press(page, "Escape")
    expect(page.get_by_test_id("result").first).to_be_visible()


def test_nothing_moves_for_who_does_not_want_it(newcomer: Newcomer, signed_in: Any) -> None:
    kim = newcomer("kim", storage_state=signed_in, reduced_motion="reduce")
    for path in ("/", "/search/?q=a+cat", "/accounts/profile/"):
        kim.page.goto(path)
        assert kim.page.evaluate(MOVING) == []
        kim.page.emulate_media(reduced_motion="no-preference")
        assert kim.page.evaluate(MOVING) != []
        kim.page.emulate_media(reduced_motion="reduce")
