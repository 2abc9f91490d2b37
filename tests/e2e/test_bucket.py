"""Photos that a browser is led to a bucket for, past the policy of the pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests import s3
from tests.e2e.conftest import DESKTOP
from tests.e2e.person import Person
from tests.e2e.pictures import drawn_file
from tests.running_system import RunningSystem

pytestmark = [pytest.mark.system, pytest.mark.browser]

WIDTH = "image => image.decode().then(() => image.naturalWidth)"


@pytest.fixture
def system_on_s3(systems_directory: Path, tmp_path: Path) -> Iterator[tuple[RunningSystem, str]]:
    """A system with its photos in S3, and the address of that."""
    with s3.running_s3(tmp_path / "s3.log") as address:
        environment = {
            "SEARCH_ENCODER": "starter",
            "S3_BUCKET": s3.BUCKET,
            "S3_ENDPOINT_URL": address,
            "S3_REGION": s3.REGION,
            "S3_ACCESS_KEY_ID": s3.KEY,
            "S3_SECRET_ACCESS_KEY": s3.SECRET,
        }
        directory = systems_directory / "redirect"
        with RunningSystem.start(directory, environment=environment) as system:
            yield system, address


def test_pictures_are_shown_from_the_bucket(
    browser: Browser, system_on_s3: tuple[RunningSystem, str]
) -> None:
    system, address = system_on_s3
    context = browser.new_context(base_url=system.base_url, viewport=DESKTOP, locale="en-GB")
    context.set_default_timeout(15_000)
    page = context.new_page()
    ann = Person("ann", context, page)
    fetched: list[str] = []
    page.on("requestfinished", lambda request: fetched.append(request.url))
    ann.sign_up()
    ann.choose([drawn_file(7000)])
    ann.wait_until_ready(1)
    assert page.locator("#photo-grid img.thumbnail").evaluate(WIDTH) > 0
    page.locator("#photo-grid .tile a").first.click()
    preview = page.get_by_test_id("preview")
    expect(preview).to_be_visible()
    assert preview.evaluate(WIDTH) > 0
    from_bucket = [url for url in fetched if url.startswith(f"{address}/{s3.BUCKET}/renditions/")]
    assert len(from_bucket) >= 2
    assert all("X-Amz-Signature=" in url for url in from_bucket)
    context.close()
    # Nothing that the policy forbids was tried.
    assert ann.problems == []
