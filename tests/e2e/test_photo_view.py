"""One photo: full screen, neighbours, zoom, details, favourite, caption, albums."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.axe import PHONE, check
from tests.e2e.conftest import DESKTOP, Newcomer
from tests.e2e.person import Person, press
from tests.e2e.pictures import drawn_file, photo

pytestmark = [pytest.mark.system, pytest.mark.browser]


def scale(page: Page) -> float:
    return float(page.locator(".stage").get_attribute("data-scale") or 1)


def with_photos(newcomer: Newcomer) -> Person:
    ann = newcomer("ann")
    ann.sign_up()
    ann.choose([drawn_file(6000 + number) for number in range(3)])
    ann.wait_until_ready(3)
    return ann


def test_from_photo_to_photo_in_full_screen(newcomer: Newcomer) -> None:
    ann = with_photos(newcomer)
    page = ann.page
    ids = ann.ids()
    page.locator(f".tile[data-photo-id='{ids[0]}'] a").click()
    page.wait_for_url(f"**/photos/{ids[0]}/")
    expect(page.get_by_test_id("preview")).to_have_js_property("complete", True)
    page.evaluate("() => { window.sameDocument = true; }")
    press(page, "f")
    page.wait_for_function("document.fullscreenElement !== null")
    expect(page.locator(".header")).to_be_hidden()
    for number in ids[1:]:
        press(page, "ArrowRight")
        page.wait_for_url(f"**/photos/{number}/")
        expect(page.locator("#viewer")).to_have_attribute("data-photo-id", str(number))
    expect(page.locator("#viewer-older")).to_have_count(0)
    press(page, "ArrowRight")  # there is nothing there
    assert page.evaluate("document.fullscreenElement !== null")
    assert page.evaluate("window.sameDocument") is True
    press(page, "f")
    page.wait_for_function("document.fullscreenElement === null")
    expect(page.locator(".header")).to_be_visible()
    # Back leads to the timeline, however many photos one went through.
    press(page, "Escape")
    expect(page).to_have_title("Photos · t2isearch")
    expect(page.locator("#photo-grid .tile")).to_have_count(3)


def test_zoom(newcomer: Newcomer) -> None:
    ann = newcomer("ann")
    ann.sign_up()
    ann.choose([photo("chelsea.png")])
    ann.wait_until_ready(1)
    page = ann.page
    page.locator(".tile a").click()
    preview = page.get_by_test_id("preview")
    expect(preview).to_have_js_property("complete", True)
    press(page, "+")
    assert scale(page) == pytest.approx(1.5)
    press(page, "-")
    assert scale(page) == pytest.approx(1)
    page.get_by_test_id("zoom-in").click()
    press(page, "0")
    assert scale(page) == pytest.approx(1)
    page.locator(".stage").dblclick(position={"x": 300, "y": 300})
    assert scale(page) == pytest.approx(2.5)
    # Closer, the original itself is shown.
    page.wait_for_function("document.querySelector('.preview').src.endsWith('/original/')")
    before = page.locator(".stage-picture").evaluate("layer => layer.style.transform")
    page.mouse.move(400, 400)
    page.mouse.down()
    page.mouse.move(330, 360, steps=4)
    page.mouse.up()
    after = page.locator(".stage-picture").evaluate("layer => layer.style.transform")
    assert before != after
    assert scale(page) == pytest.approx(2.5)
    page.mouse.wheel(0, -300)
    page.wait_for_function("Number(document.querySelector('.stage').dataset.scale) > 3")
    press(page, "Escape")  # first to the whole picture, then back
    assert scale(page) == pytest.approx(1)
    expect(page.locator("#viewer")).to_be_visible()


def test_pinch_and_swipe(newcomer: Newcomer) -> None:
    ann = with_photos(newcomer)
    ids = ann.ids()
    state = ann.context.storage_state()
    phone = newcomer("phone", storage_state=state, viewport=PHONE, has_touch=True, is_mobile=True)
    page = phone.page
    page.goto(f"/photos/{ids[0]}/")
    expect(page.get_by_test_id("preview")).to_have_js_property("complete", True)
    session = phone.context.new_cdp_session(page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        touches = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

    touch("touchStart", (150, 250), (190, 250))
    for step in range(1, 6):
        touch("touchMove", (150 - 10 * step, 250), (190 + 10 * step, 250))
    touch("touchEnd")
    assert scale(page) > 2
    press(page, "0")
    touch("touchStart", (280, 250))
    for x in (240, 180, 120, 80):
        touch("touchMove", (x, 252))
    touch("touchEnd")
    page.wait_for_url(f"**/photos/{ids[1]}/")
    check(page)


def test_details_favourite_caption_and_albums(newcomer: Newcomer) -> None:
    ann = with_photos(newcomer)
    page = ann.page
    ids = ann.ids()
    page.goto(f"/photos/{ids[1]}/")

    facts = page.locator("#facts")
    press(page, "i")
    expect(facts).to_be_hidden()
    expect(page.get_by_test_id("preview")).to_be_in_viewport()
    page.reload()
    expect(facts).to_be_hidden()
    page.get_by_test_id("details").click()
    expect(facts).to_be_visible()

    favourite = page.get_by_test_id("favourite")
    press(page, "s")
    expect(favourite).to_have_attribute("aria-pressed", "true")
    press(page, ".")
    expect(favourite).to_have_attribute("aria-pressed", "false")
    favourite.click()
    expect(favourite).to_have_attribute("aria-pressed", "true")

    caption = page.get_by_test_id("caption")
    caption.fill("At the lake, sun")  # the keys of the page are letters here
    with page.expect_response("**/caption/"):
        caption.press("Enter")
    caption.fill("not meant")
    caption.press("Escape")
    expect(caption).to_have_value("At the lake, sun")

    page.get_by_test_id("add-to-album").click()
    page.locator("#new-album-title").fill("Summer")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_text("1 photo was added.")).to_be_visible()
    expect(page.locator(".album-chips a")).to_have_text(["Summer"])
    # A title that is taken is said in the dialog.
    page.get_by_test_id("add-to-album").click()
    expect(page.locator("#album-choices button")).to_have_count(1)
    ann.expected_statuses.add(400)
    page.locator("#new-album-title").fill("summer")
    page.get_by_role("button", name="Create").click()
    expect(page.locator("#album-dialog-error")).to_have_text(
        "You have an album of this title already."
    )
    press(page, "Escape")

    page.reload()
    expect(caption).to_have_value("At the lake, sun")
    expect(favourite).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_test_id("preview")).to_have_attribute("alt", "At the lake, sun")
    expect(page.locator(".album-chips a")).to_have_text(["Summer"])
    check(page)
    page.set_viewport_size(DESKTOP)

    # Into the trash: the next one is shown.
    press(page, "#")
    page.wait_for_url(f"**/photos/{ids[2]}/")
    expect(page.get_by_text("is in the trash.")).to_be_visible()
