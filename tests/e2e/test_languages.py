"""The switch of languages in a browser: by mouse, by keyboard, on a phone, and what it changes."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.axe import check
from tests.e2e.conftest import Newcomer
from tests.e2e.person import press
from tests.e2e.pictures import photo

pytestmark = [pytest.mark.system, pytest.mark.browser]

PHONE = {"width": 360, "height": 740}


def is_cut_off(page: Page) -> bool:
    """Whether something reaches beyond the window at the side."""
    root = "document.documentElement"
    return bool(page.evaluate(f"{root}.scrollWidth > {root}.clientWidth"))


def test_from_english_to_chinese_and_back(newcomer: Newcomer) -> None:
    kim = newcomer("kim")
    kim.sign_up()
    kim.choose([photo("coffee.png")])
    kim.wait_until_searchable(1)
    page = kim.page
    kim.search("a cup of coffee")
    address = page.url

    kim.open_menu()
    page.get_by_role("button", name="简体中文").click()

    # The same page, with the query that htmx has put into the address.
    expect(page.get_by_test_id("details")).to_contain_text("条件")
    assert page.url == address
    assert page.locator("html").get_attribute("lang") == "zh-hans"
    expect(page.get_by_test_id("result")).to_have_count(1)

    page.get_by_role("link", name="t2isearch：所有照片").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("照片")
    # The scripts' own dates and numbers.
    expect(page.locator("#photo-grid .month")).to_contain_text("年")
    expect(page.locator("#photo-grid .day h3")).to_contain_text("日")
    page.locator("#photo-grid .tile").first.hover()
    page.locator("#photo-grid .tile-check").first.click()
    expect(page.locator(".bulk-count")).to_have_text("已选 1 张")
    press(page, "Escape")

    # What a script asks the server for is in the same language.
    kim.choose([{"name": "note.jpg", "mimeType": "image/jpeg", "buffer": b"no picture"}])
    kim.expected_statuses.add(400)
    expect(page.get_by_test_id("upload-row")).to_contain_text("这不是图片，或其格式无法识别。")

    # It stays after signing out.
    kim.open_menu()
    page.get_by_test_id("sign-out").click()
    expect(page.get_by_role("heading", level=1, name="登录")).to_be_visible()
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("heading", level=1, name="Sign in")).to_be_visible()


def test_a_chinese_browser_by_keyboard_on_a_phone(newcomer: Newcomer) -> None:
    lin = newcomer("lin", locale="zh-CN", viewport=PHONE)
    page = lin.page
    page.goto("/accounts/login/")
    expect(page.get_by_role("heading", level=1, name="登录")).to_be_visible()
    check(page)
    assert not is_cut_off(page)
    switch = page.get_by_role("form", name="语言").get_by_role("button", name="English")
    for _ in range(20):
        press(page, "Tab")
        if switch.evaluate("button => button === document.activeElement"):
            break
    press(page, "Enter")
    expect(page.get_by_role("heading", level=1, name="Sign in")).to_be_visible()
    check(page)
    page.get_by_role("button", name="简体中文").click()
    expect(page.get_by_role("heading", level=1, name="登录")).to_be_visible()


@pytest.mark.parametrize("width", [360, 1280])
def test_chinese_pages_are_not_cut_off(newcomer: Newcomer, width: int) -> None:
    mei = newcomer("mei", viewport={"width": width, "height": 800})
    mei.sign_up()
    mei.choose([photo("coffee.png"), photo("chelsea.png")])
    mei.wait_until_searchable(2)
    mei.open_menu()
    mei.page.get_by_role("button", name="简体中文").click()
    key = mei.ids()[0]
    for path in (
        "/", f"/photos/{key}/", "/albums/", "/favourites/", "/trash/", "/links/",
        "/search/?q=a cat that sleeps on a sofa in the afternoon -snow after:2020",
        "/search/?q=一只猫", "/search/", "/search/saved/", "/search/duplicates/",
        "/language/", "/accounts/2fa/", "/accounts/profile/",
    ):  # fmt: skip
        mei.page.goto(path)
        assert mei.page.locator("html").get_attribute("lang") == "zh-hans"
        assert not is_cut_off(mei.page), path
        check(mei.page)
    mei.open_menu()
    expect(mei.page.get_by_role("button", name="English")).to_be_in_viewport()
    check(mei.page)
