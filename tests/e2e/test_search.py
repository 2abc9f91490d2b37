"""The search page in a browser: the language, pictures, the cut-off, saved searches, duplicates."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.e2e.axe import check
from tests.e2e.conftest import DESKTOP, Newcomer
from tests.e2e.person import Person, press
from tests.e2e.pictures import photo, upload
from tests.running_system import RunningSystem

pytestmark = [pytest.mark.system, pytest.mark.browser]

NAMES = ("chelsea.png", "coffee.png", "rocket.jpg", "china.jpg", "motorcycle_left.png", "moon.png")


def smaller(name: str) -> bytes:
    with Image.open(photo(name)) as image:
        buffer = io.BytesIO()
        image.convert("RGB").resize((image.width // 2, image.height // 2)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def signed_in(browser: Browser, system: RunningSystem) -> Iterator[Any]:
    """The cookies of somebody with six photos and a smaller copy of one."""
    context = browser.new_context(base_url=system.base_url, viewport=DESKTOP)
    lea = Person("lea", context, context.new_page())
    lea.sign_up()
    lea.choose([photo(name) for name in NAMES])
    lea.wait_until_searchable(len(NAMES))
    lea.choose([upload("cat-copy.jpg", smaller("chelsea.png"))])
    lea.wait_until_searchable(len(NAMES) + 1)
    yield context.storage_state()
    context.close()


@pytest.fixture
def lea(newcomer: Newcomer, signed_in: Any) -> Person:
    return newcomer("lea", storage_state=signed_in)


def results(page: Page) -> Any:
    return page.get_by_test_id("result")


def test_the_cut_off_and_the_weaker_matches(lea: Person) -> None:
    page = lea.page
    page.goto("/")
    lea.search("a cat")
    assert set(lea.found()) == {"chelsea", "cat-copy"}
    expect(page.locator(".score-bar").first).to_be_visible()
    page.get_by_test_id("show-weaker").click()
    expect(results(page)).to_have_count(7)
    expect(page.get_by_role("heading", name="Weaker matches")).to_be_in_viewport()
    assert "weak=true" in page.url

    lea.search("a sewing needle in a haystack")
    expect(page.get_by_role("heading", name=re.compile("Nothing close to"))).to_be_visible()
    expect(results(page)).to_have_count(0)
    page.get_by_test_id("show-weaker").click()
    expect(results(page)).to_have_count(7)


def test_chips_and_details_write_the_query(lea: Person) -> None:
    page = lea.page
    lea.expected_statuses.add(HTTPStatus.BAD_REQUEST)
    page.goto("/search/")
    page.get_by_test_id("search-input").fill('"a cat" - coffee type:png')
    press(page, "Enter")
    chips = page.get_by_test_id("chips").get_by_role("listitem")
    expect(chips).to_have_count(3)
    assert lea.found() == ["chelsea"]
    page.get_by_role("link", name="Search without: type: PNG").click()
    expect(chips).to_have_count(2)
    expect(page.get_by_test_id("search-input")).to_have_value('"a cat" - "coffee"')

    page.get_by_test_id("details").click()
    page.get_by_label("File name").fill("copy")
    page.get_by_test_id("details-apply").click()
    expect(page.get_by_test_id("search-input")).to_have_value('"a cat" - "coffee" name:copy')
    assert lea.found() == ["cat-copy"]

    page.goto("/search/?q=a+cat+after:soon")
    expect(page.get_by_test_id("search-problem")).to_contain_text("At character 7 (after:soon)")


def test_it_works_without_scripts(newcomer: Newcomer, signed_in: Any) -> None:
    lea = newcomer("lea", storage_state=signed_in, java_script_enabled=False)
    page = lea.page
    page.goto("/search/")
    page.get_by_test_id("details").click()
    page.get_by_label("What is to be seen").fill("a cat")
    page.get_by_label("File type").select_option("png")
    page.get_by_test_id("details-apply").click()
    assert lea.found() == ["chelsea"]
    page.get_by_test_id("details").click()
    page.locator("#details-picture").set_input_files(photo("chelsea.png"))
    page.get_by_role("button", name="Search with it").click()
    for _ in range(60):
        if page.get_by_test_id("picture-pending").count() == 0:
            break
        page.wait_for_timeout(500)
        page.get_by_role("link", name="Look again").click()
    assert lea.found()[0] in {"chelsea", "cat-copy"}


def test_a_picture_is_chosen_pasted_or_dropped(lea: Person) -> None:
    page = lea.page
    page.goto("/")
    page.get_by_test_id("picture-input").set_input_files(photo("chelsea.png"))
    expect(page.get_by_role("heading", name="Photos like your picture")).to_be_visible()
    expect(results(page).first).to_be_visible(timeout=30_000)
    assert lea.found()[0] in {"chelsea", "cat-copy"}
    first = page.url

    page.evaluate(
        """async () => {
          const bytes = await (await fetch(document.querySelector("img.thumbnail").src)).blob();
          const data = new DataTransfer();
          data.items.add(new File([bytes], "pasted.jpg", { type: "image/jpeg" }));
          document.getElementById("search-input").dispatchEvent(
            new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
        }"""
    )
    page.wait_for_url(lambda url: "image" in url and url != first)
    expect(results(page).first).to_be_visible(timeout=30_000)

    page.goto("/")
    box = page.get_by_test_id("search-input").bounding_box()
    assert box
    lea.drop([photo("chelsea.png")], at=(box["x"] + 20, box["y"] + 10))
    expect(page.get_by_role("heading", name="Photos like your picture")).to_be_visible()
    expect(results(page).first).to_be_visible(timeout=30_000)
    assert lea.found()[0] in {"chelsea", "cat-copy"}

    page.goto("/")
    expect(page.locator("#photo-grid .tile")).to_have_count(7)  # none of it was kept


def test_saved_recent_and_suggested(lea: Person) -> None:
    page = lea.page
    page.goto("/")
    lea.search("a rocket launch")
    page.get_by_test_id("save-search").click()
    page.get_by_label("Name", exact=True).fill("Space")
    page.get_by_test_id("save-confirm").click()
    expect(page.locator("#toasts")).to_contain_text("“Space” is saved.")

    box = page.get_by_test_id("search-input")
    box.fill("spa")
    option = page.get_by_role("option", name="Space")
    expect(option).to_be_visible()
    expect(box).to_have_attribute("aria-expanded", "true")
    press(page, "ArrowDown")
    expect(option).to_have_attribute("aria-selected", "true")
    press(page, "Enter")
    expect(box).to_have_value("a rocket launch")
    expect(page.locator("#search-suggestions")).to_be_hidden()

    page.goto("/albums/")
    page.get_by_test_id("saved-searches").get_by_role("link", name="Space").click()
    assert lea.found()[0] == "rocket"
    page.goto("/search/")
    expect(page.get_by_test_id("recent-searches")).to_contain_text("a rocket launch")
    page.get_by_test_id("clear-recent").click()
    expect(page.get_by_test_id("recent-searches")).to_have_count(0)


def test_near_duplicates_go_to_the_trash(lea: Person) -> None:
    page = lea.page
    page.goto("/search/duplicates/")
    page.get_by_test_id("scan").click()
    groups = page.get_by_test_id("duplicate-group")
    expect(groups).to_have_count(1, timeout=30_000)
    expect(groups.get_by_role("checkbox", checked=True)).to_have_count(1)
    page.get_by_test_id("trash-others").click()
    expect(page.locator("#toasts")).to_contain_text("1 photo is in the trash now.")
    expect(groups).to_have_count(0)
    page.goto("/")
    expect(page.locator("#photo-grid .tile")).to_have_count(6)


def test_results_are_chosen(lea: Person) -> None:
    page = lea.page
    page.goto("/search/?q=a+cat&weak=true")
    total = results(page).count()
    assert total >= len(NAMES)
    first, third = results(page).nth(0), results(page).nth(2)
    first.hover()
    first.locator(".tile-check").click()
    third.locator(".tile-link").click(modifiers=["Shift"])
    expect(page.locator(".bulk-count")).to_have_text("3 chosen")
    check(page)
    page.set_viewport_size(DESKTOP)

    page.get_by_test_id("bulk-favourite").click()
    expect(page.locator(".grid-results .tile[data-favourite]")).to_have_count(3)
    expect(page.locator("#bulk")).to_be_hidden()

    # By the keyboard, to the trash and back; the address still holds the whole search.
    gone = third.get_attribute("data-photo-id")
    third.locator(".tile-link").focus()
    press(page, "Delete")
    expect(results(page)).to_have_count(total - 1)
    expect(page.locator(f".tile[data-photo-id='{gone}']")).to_have_count(0)
    page.get_by_role("button", name="Undo").last.click()
    expect(results(page)).to_have_count(total)
    assert "weak=true" in page.url
