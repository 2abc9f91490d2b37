"""What a person does to let a program in: a token, and the description of the API."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest
from playwright.sync_api import expect

from tests.e2e.axe import check
from tests.e2e.conftest import Newcomer
from tests.running_system import RunningSystem

pytestmark = [pytest.mark.system, pytest.mark.browser]


def ask(system: RunningSystem, path: str, token: str) -> int:
    request = urllib.request.Request(  # noqa: S310 - our own server
        f"{system.base_url}{path}", headers={"Authorization": f"Bearer {token}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            json.load(response)
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_token_is_made_shown_once_and_revoked(newcomer: Newcomer, system: RunningSystem) -> None:
    ann = newcomer("ann")
    page = ann.page
    ann.sign_up()
    page.goto("/accounts/profile/")
    page.get_by_test_id("tokens").click()
    check(page)
    page.get_by_test_id("new-token").click()
    page.get_by_label("Password").fill(ann.password)
    page.get_by_role("button", name="Go on").click()
    page.get_by_label("Name").fill("A script")
    check(page)
    page.get_by_label("Search", exact=True).uncheck()
    page.get_by_test_id("make-token").click()
    check(page)
    secret = page.get_by_test_id("secret").input_value()
    assert ask(system, "/api/v1/photos/", secret) == 200
    assert ask(system, "/api/v1/search/?q=cat", secret) == 403

    page.get_by_role("link", name="All tokens").click()
    shown = page.get_by_test_id("token")
    expect(shown).to_contain_text(secret[:12])
    expect(shown).to_contain_text("last used")
    assert secret not in page.content()
    page.get_by_role("link", name="Revoke A script").click()
    check(page)
    page.get_by_test_id("revoke-token").click()
    expect(page.get_by_text("“A script” is revoked.")).to_be_visible()
    assert ask(system, "/api/v1/photos/", secret) == 401


def test_the_api_is_described_and_tried_out_under_the_policy(newcomer: Newcomer) -> None:
    """What the policy blocked would be on the console, and fail the test."""
    ann = newcomer("ann")
    page = ann.page
    ann.sign_up()
    page.goto("/api/docs/")
    expect(page.get_by_role("heading", name="t2isearch")).to_be_visible()
    page.locator("#operations-albums-albums_create").get_by_role("button").first.click()
    expect(page.get_by_text("photos:write").first).to_be_visible()
    page.get_by_role("button", name="Try it out").click()
    page.locator("#operations-albums-albums_create textarea").fill('{"title": "By hand"}')
    with page.expect_response("**/api/v1/albums/") as answered:
        page.get_by_role("button", name="Execute").click()
    assert answered.value.status == 201
    page.goto("/albums/")
    expect(page.get_by_text("By hand")).to_be_visible()
