"""The timeline: days and months, the scrubber, choosing, and what is done with the chosen."""

from __future__ import annotations

import io
import zipfile
from datetime import datetime, timedelta

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.axe import PHONE, check
from tests.e2e.conftest import DESKTOP, Newcomer
from tests.e2e.person import Person, press
from tests.e2e.pictures import dated_file

pytestmark = [pytest.mark.system, pytest.mark.browser]

NEWEST = datetime(2024, 5, 3, 12)  # noqa: DTZ001 - as a camera writes it


def with_photos(newcomer: Newcomer, count: int, *, days_apart: float = 0.5) -> Person:
    """Somebody with `count` photos, the newest taken on the third of May 2024."""
    ann = newcomer("ann")
    ann.sign_up()
    ann.choose(
        [
            dated_file(5000 + number, NEWEST - timedelta(days=days_apart * number))
            for number in range(count)
        ]
    )
    expect(ann.page.locator("#uploads-title")).to_contain_text("Done", timeout=120_000)
    ann.page.reload()
    expect(ann.page.locator("#total")).to_have_text(str(count))
    return ann


def chosen(page: Page) -> list[int]:
    tiles = page.locator("#photo-grid .tile.chosen")
    return [int(number) for number in tiles.evaluate_all("all => all.map(e => e.dataset.photoId)")]


def tile(page: Page, number: int) -> str:
    return f"#photo-grid .tile[data-photo-id='{number}']"


def test_photos_stand_by_day_and_month(newcomer: Newcomer) -> None:
    ann = with_photos(newcomer, 8)
    page = ann.page
    ann.wait_until_ready(8)
    assert ann.shown() == ann.ids()
    expect(page.locator(".month")).to_have_text(["May 2024", "April 2024"])
    days = page.locator(".day h3")
    expect(days.first).to_contain_text("May 3")
    assert page.locator(".day").count() == 4
    # No two tiles lie over each other, and none is cut off.
    boxes = [box for each in page.locator(".tile").all() if (box := each.bounding_box())]
    for number, one in enumerate(boxes):
        assert one["x"] + one["width"] <= DESKTOP["width"]
        for other in boxes[number + 1 :]:
            assert (
                one["x"] + one["width"] <= other["x"] + 0.5
                or other["x"] + other["width"] <= one["x"] + 0.5
                or one["y"] + one["height"] <= other["y"] + 0.5
                or other["y"] + other["height"] <= one["y"] + 0.5
            )
    check(page)


def test_choosing(newcomer: Newcomer) -> None:
    ann = with_photos(newcomer, 9)
    page = ann.page
    ids = ann.ids()
    count = page.locator(".bulk-count")

    # By the check mark, and with Shift all in between.
    page.locator(tile(page, ids[1])).hover()
    page.locator(f"{tile(page, ids[1])} .tile-check").click()
    page.locator(f"{tile(page, ids[4])} .tile-link").click(modifiers=["Shift"])
    assert chosen(page) == ids[1:5]
    expect(count).to_have_text("4 chosen")
    check(page)
    page.set_viewport_size(DESKTOP)
    # While some are chosen, a click chooses; Escape chooses none.
    page.locator(f"{tile(page, ids[2])} .tile-link").click()
    assert chosen(page) == [ids[1], ids[3], ids[4]]
    press(page, "Escape")
    assert chosen(page) == []
    expect(page.locator("#bulk")).to_be_hidden()

    # A whole day.
    day = page.locator(".day").nth(1)
    day.hover()
    day.locator(".day-check").click()
    assert chosen(page) == ids[1:3] or chosen(page) == ids[2:4]
    expect(day.locator(".day-check")).to_have_attribute("aria-pressed", "true")
    day.locator(".day-check").click()
    assert chosen(page) == []

    # By the keyboard alone.
    page.locator(f"{tile(page, ids[0])} .tile-link").focus()
    press(page, "x")
    press(page, "Shift+ArrowRight")
    press(page, "Shift+ArrowRight")
    assert chosen(page) == ids[:3]
    press(page, "ArrowLeft")
    expect(page.locator(f"{tile(page, ids[1])} .tile-link")).to_be_focused()
    press(page, "x")
    assert chosen(page) == [ids[0], ids[2]]
    press(page, "Control+a")
    expect(count).to_have_text("9 chosen")


def test_a_long_press_chooses(newcomer: Newcomer) -> None:
    ann = with_photos(newcomer, 3)
    state = ann.context.storage_state()
    phone = newcomer("phone", storage_state=state, viewport=PHONE, has_touch=True, is_mobile=True)
    page = phone.page
    page.goto("/")
    ids = phone.ids()
    expect(page.locator(tile(page, ids[0]))).to_be_visible()
    box = page.locator(tile(page, ids[1])).bounding_box()
    assert box is not None
    point = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    session = phone.context.new_cdp_session(page)
    session.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [point]})
    expect(page.locator(".bulk-count")).to_have_text("1 chosen")
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.locator(f"{tile(page, ids[2])} .tile-link").tap()
    assert chosen(page) == ids[1:]
    assert page.url.endswith("/")
    check(page)


def test_only_what_is_near_is_in_the_document(newcomer: Newcomer) -> None:
    ann = with_photos(newcomer, 60, days_apart=4)
    page = ann.page
    page.set_viewport_size({"width": 700, "height": 500})
    ids = ann.ids()
    tiles = page.locator("#photo-grid .tile")
    expect(page.locator(tile(page, ids[0]))).to_be_visible()
    assert tiles.count() < 40
    height = page.evaluate("document.documentElement.scrollHeight")

    # The scrubber leads to a month by the keyboard and by dragging, and says which.
    scrubber = page.get_by_role("slider", name="Month")
    expect(scrubber).to_have_attribute("aria-valuetext", "May 2024")
    scrubber.focus()
    press(page, "ArrowDown")
    expect(scrubber).to_have_attribute("aria-valuetext", "April 2024")
    press(page, "End")
    expect(page.locator(tile(page, ids[-1]))).to_be_visible()
    press(page, "PageUp")
    expect(scrubber).to_have_attribute("aria-valuetext", "January 2024")
    press(page, "Home")
    expect(page.locator(tile(page, ids[0]))).to_be_visible()
    page.set_viewport_size({"width": 1000, "height": 500})
    box = scrubber.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 20, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] + 20, box["y"] + box["height"] - 1, steps=5)
    page.mouse.up()
    expect(page.locator(tile(page, ids[-1]))).to_be_in_viewport()
    page.set_viewport_size({"width": 700, "height": 500})
    page.wait_for_function("height => document.documentElement.scrollHeight === height", arg=height)

    # Back from a photo one is where one was, and the order is that of the server.
    press(page, "Home")
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight / 2)")
    shown = page.locator("#photo-grid .tile[data-photo-id] img.thumbnail[src]")
    expect(shown.first).to_be_attached()
    assert ann.shown() == [number for number in ids if number in set(ann.shown())]
    number, top = page.evaluate(
        """() => {
          const seen = (tile) => tile.getBoundingClientRect().top > 100;
          const tile = [...document.querySelectorAll(".tile[data-photo-id]")].find(seen);
          return [tile.dataset.photoId, tile.getBoundingClientRect().top];
        }"""
    )
    # Playwright's own click may scroll first.
    page.locator(f"{tile(page, number)} .tile-link").evaluate("link => link.click()")
    expect(page.get_by_test_id("preview")).to_be_visible()
    press(page, "Escape")
    expect(page.locator("#photo-grid")).to_be_visible()
    page.wait_for_function(
        """([id, top]) => {
          const tile = document.querySelector(`#photo-grid .tile[data-photo-id="${id}"]`);
          return tile && Math.abs(tile.getBoundingClientRect().top - top) < 3;
        }""",
        arg=[number, top],
    )


def test_what_is_done_with_the_chosen(newcomer: Newcomer) -> None:
    ann = with_photos(newcomer, 5)
    page = ann.page
    ids = ann.ids()

    def choose(*numbers: int) -> None:
        for number in numbers:
            page.locator(tile(page, number)).hover()
            page.locator(f"{tile(page, number)} .tile-check").click()

    # Favourites.
    choose(ids[0], ids[1])
    page.get_by_test_id("bulk-favourite").click()
    expect(page.get_by_text("2 photos are favourites.")).to_be_visible()
    expect(page.locator(".tile-favourite")).to_have_count(2)
    page.locator(f"{tile(page, ids[2])} .tile-link").focus()
    press(page, "s")
    expect(page.locator(".tile-favourite")).to_have_count(3)
    page.get_by_role("link", name="Favourites").click()
    expect(page.locator("#photo-grid .tile")).to_have_count(3)
    check(page)
    page.set_viewport_size(DESKTOP)
    choose(ids[2])
    page.get_by_test_id("bulk-unfavourite").click()
    expect(page.locator("#photo-grid .tile")).to_have_count(2)

    # A ZIP.
    page.goto("/")
    choose(ids[0], ids[4])
    with page.expect_download() as download:
        page.get_by_test_id("bulk-download").click()
    with zipfile.ZipFile(io.BytesIO(download.value.path().read_bytes())) as archive:
        assert len(archive.namelist()) == 2
        assert archive.testzip() is None
    press(page, "Escape")

    # The trash, and back at once.
    choose(ids[1], ids[3])
    press(page, "Delete")
    expect(page.get_by_text("2 photos are in the trash.")).to_be_visible()
    expect(page.locator("#photo-grid .tile")).to_have_count(3)
    expect(page.locator("#total")).to_have_text("3")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#photo-grid .tile")).to_have_count(5)
    assert ann.shown() == ids

    # The trash, emptied.
    choose(ids[0])
    page.get_by_test_id("bulk-trash").click()
    expect(page.locator("#photo-grid .tile")).to_have_count(4)
    page.get_by_role("link", name="Trash").click()
    expect(page.locator("#photo-grid .tile")).to_have_count(1)
    check(page)
    page.set_viewport_size(DESKTOP)
    page.get_by_test_id("empty-trash").click()
    page.get_by_test_id("empty-confirm").click()
    expect(page.get_by_role("heading", name="The trash is empty")).to_be_visible()


def test_without_scripts_there_is_a_grid(newcomer: Newcomer) -> None:
    ann = with_photos(newcomer, 3)
    state = ann.context.storage_state()
    plain = newcomer("plain", storage_state=state, java_script_enabled=False)
    page = plain.page
    page.goto("/")
    expect(page.locator(".grid .tile img.thumbnail")).to_have_count(3)
    page.locator(".grid .tile a").first.click()
    expect(page.get_by_test_id("preview")).to_be_visible()
    page.get_by_test_id("favourite").click()
    expect(page.get_by_test_id("favourite")).to_have_attribute("aria-pressed", "true")
    page.get_by_test_id("delete").click()
    page.goto("/")
    expect(page.locator(".grid .tile")).to_have_count(2)


def test_the_help_sheet(newcomer: Newcomer) -> None:
    ann = newcomer("ann")
    page = ann.page
    ann.sign_up()
    press(page, "?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    check(page)
    press(page, "Escape")
    expect(page.locator("#help")).to_be_hidden()
    # In a field it is a question mark.
    page.get_by_test_id("search-input").press("?")
    expect(page.get_by_test_id("search-input")).to_have_value("?")
    expect(page.locator("#help")).to_be_hidden()
