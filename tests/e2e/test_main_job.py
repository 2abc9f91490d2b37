"""What the product is for: drop photos in, find them by describing them."""

from __future__ import annotations

import re
import shutil
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import Newcomer
from tests.e2e.person import SEARCHABLE_PATIENCE_MS, Person, press
from tests.e2e.pictures import DESCRIPTIONS, drawn_file, photo
from tests.running_system import RunningSystem

pytestmark = [pytest.mark.system, pytest.mark.browser]

# Slow enough for the progress of an upload to be seen.
UPLOAD_BYTES_PER_S = 1_500_000

RECORD_PROGRESS = """
() => {
  const record = { rows: {}, totals: [], loaded: performance.timeOrigin };
  const note = () => {
    for (const row of document.querySelectorAll("[data-testid='upload-row']")) {
      const name = row.querySelector(".upload-name").textContent;
      const seen = (record.rows[name] ??= { states: [], shares: [] });
      if (seen.states.at(-1) !== row.dataset.state) seen.states.push(row.dataset.state);
      if (row.dataset.state === "uploading") seen.shares.push(row.querySelector("progress").value);
    }
    const title = document.getElementById("uploads-title").textContent;
    const total = document.getElementById("uploads-total");
    record.totals.push([title, total.value / total.max]);
  };
  new MutationObserver(note).observe(document.getElementById("uploads"), {
    subtree: true, childList: true, attributes: true, characterData: true,
  });
  window.progressRecord = record;
}
"""


def throttle_uploads(person: Person, bytes_per_s: int) -> None:
    conditions = {"offline": False, "latency": 0, "downloadThroughput": -1}
    person.context.new_cdp_session(person.page).send(
        "Network.emulateNetworkConditions", conditions | {"uploadThroughput": bytes_per_s}
    )


def files_of(system: RunningSystem, person: Person) -> dict[str, int]:
    """How many originals and renditions of a person are in storage."""
    [(owner,)] = system.query("SELECT id FROM accounts_user WHERE username = %s", person.name)
    return {
        kind: len(list((system.layout.media / kind / str(owner)).glob("*")))
        for kind in ("originals", "renditions")
    }


def ids_on(page: Page, selector: str) -> list[int]:
    tiles = page.locator(selector)
    return [int(number) for number in tiles.evaluate_all("all => all.map(e => e.dataset.photoId)")]


def check_progress(record: dict[str, Any], names: list[str]) -> None:
    """Every file went the whole way, and both kinds of bars moved forward only."""
    assert set(record["rows"]) == set(names)
    for seen in record["rows"].values():
        assert [state for state in seen["states"] if state != "queued"] == [
            "uploading",
            "processing",
            "searchable",
        ]
        assert seen["shares"] == sorted(seen["shares"])
    assert any(0 < share < 1 for seen in record["rows"].values() for share in seen["shares"])
    # From when the last file was added: until then there may be more and more to do.
    whole = f"of {len(names)}"
    total = [
        share
        for title, share in record["totals"]
        if title.startswith("Uploading") and title.endswith(whole)
    ]
    assert any(0 < share < 1 for share in total)
    assert total == sorted(total)


def test_photos_are_dropped_in_found_opened_and_deleted(
    newcomer: Newcomer, system: RunningSystem, dozen: list[Path], tmp_path: Path
) -> None:
    ann = newcomer("ann")
    page = ann.page
    ann.sign_up()
    page.evaluate("() => { window.sameDocument = true; }")

    # Upload: some by the file chooser, then the rest in a folder.
    page.evaluate(RECORD_PROGRESS)
    throttle_uploads(ann, UPLOAD_BYTES_PER_S)
    chosen, dropped = dozen[:7], dozen[7:]
    folder = tmp_path / "holidays"
    folder.mkdir()
    for path in dropped:
        shutil.copy(path, folder)
    (folder / ".hidden").write_text("not meant")
    ann.choose(chosen)
    expect(page.locator("#uploads-title")).to_contain_text("Uploading")
    ann.drop([folder])
    ann.wait_until_searchable(12)
    rows = page.get_by_test_id("upload-row")
    searchable = page.locator("[data-testid='upload-row'][data-state='searchable']")
    expect(searchable).to_have_count(12, timeout=SEARCHABLE_PATIENCE_MS)
    expect(rows).to_have_count(12)
    expect(page.locator("#uploads-title")).to_have_text("Done. Searchable: 12")
    expect(page.locator("#total")).to_have_text("12")
    expect(page.locator("#unsearchable")).to_be_hidden()
    check_progress(page.evaluate("window.progressRecord"), [path.name for path in dozen])
    assert page.evaluate("window.sameDocument") is True
    page.get_by_role("button", name="Close").click()
    expect(page.locator("#uploads")).to_be_hidden()

    # Newest first, and after a reload the same.
    shown = ids_on(page, "#photo-grid .tile")
    assert shown == sorted(shown, reverse=True)
    page.reload()
    assert ids_on(page, "#photo-grid .tile") == shown
    assert files_of(system, ann) == {"originals": 12, "renditions": 24}
    assert system.vectors_of(ann.name) == sorted(shown)

    # Search: the right photo is first, the similarity shown in rank order.
    results = page.get_by_test_id("result")
    for stem, words in DESCRIPTIONS.items():
        ann.search(words)
        if not ann.found():  # too far from the words, for the cut-off
            page.get_by_test_id("show-weaker").click()
            expect(results).to_have_count(12)
        assert ann.found()[0] == stem
    ann.search("a cat")
    assert ann.found()[0] == "chelsea"
    page.get_by_test_id("show-weaker").click()
    expect(results).to_have_count(12)
    scores = [float(result.get_attribute("data-score") or "nan") for result in results.all()]
    assert scores == sorted(scores, reverse=True)
    for result, score in zip(results.all(), scores, strict=True):
        badge = result.locator(".tile-score")
        expect(badge).to_be_visible()
        expect(badge).to_have_css("opacity", "1")
        percent = re.search(r"-?\d+(?=\s%)", badge.inner_text())
        assert percent is not None
        assert abs(int(percent[0]) - 100 * score) < 1

    # Open it, see what is like it.
    results.first.get_by_role("link").click()
    preview = page.get_by_test_id("preview")
    expect(page.get_by_role("heading", name="chelsea.png")).to_be_visible()
    expect(preview).to_have_js_property("complete", True)
    assert preview.evaluate("image => image.naturalWidth") > 0
    cat_url = page.url
    cat_id = int(cat_url.rstrip("/").rsplit("/", 1)[-1])
    page.get_by_test_id("similar").click()
    expect(page.get_by_role("heading", name="Similar photos")).to_be_visible()
    expect(results).to_have_count(11)
    assert "chelsea" not in ann.found()
    page.go_back()
    page.wait_for_url(cat_url)

    # The original comes back as it went in.
    with page.expect_download() as download:
        page.get_by_test_id("download").click()
    assert download.value.suggested_filename == "chelsea.png"
    assert download.value.path().read_bytes() == photo("chelsea.png").read_bytes()

    # Escape leads back to the results, where one came from.
    press(page, "Escape")
    expect(results.first).to_be_visible()
    results.first.get_by_role("link").click()
    page.wait_for_url(cat_url)

    # The arrow keys go to the neighbours, and Escape from there leads to the results as well.
    newer, middle, older = shown[4:7]
    page.get_by_test_id("back").click()
    page.locator(f"[data-testid='result'][data-photo-id='{middle}'] a").click()
    page.wait_for_url(f"**/photos/{middle}/")
    for key, number in (
        ("ArrowRight", older), ("ArrowLeft", middle), ("ArrowLeft", newer), ("ArrowRight", middle),
    ):  # fmt: skip
        press(page, key)
        page.wait_for_url(f"**/photos/{number}/")
    press(page, "Escape")
    results.first.get_by_role("link").click()
    page.wait_for_url(cat_url)

    # Into the trash, and after thinking better of it out again; then for good, everywhere.
    page.wait_for_load_state("networkidle")  # the similar photos are there
    page.get_by_test_id("delete").click()
    expect(page.get_by_text("“chelsea.png” is in the trash.")).to_be_visible()
    assert ann.status_of(f"/photos/{cat_id}/") == HTTPStatus.NOT_FOUND
    assert system.vectors_of(ann.name) == sorted(shown)
    page.goto("/trash/")
    tile = page.locator(f"#photo-grid .tile[data-photo-id='{cat_id}']")
    tile.locator("a").click()
    page.get_by_test_id("bulk-restore").click()
    expect(page.get_by_text("1 photo is back.")).to_be_visible()
    assert ann.status_of(f"/photos/{cat_id}/") == HTTPStatus.OK
    page.goto(f"/photos/{cat_id}/")
    page.wait_for_load_state("networkidle")  # the similar photos are there
    page.get_by_test_id("delete").click()
    expect(page.get_by_text("“chelsea.png” is in the trash.")).to_be_visible()
    page.goto("/trash/")
    tile.locator("a").click()
    page.get_by_test_id("bulk-delete").click()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_test_id("bulk-delete").click()
    page.get_by_test_id("delete-confirm").click()
    expect(page.get_by_text("1 photo is deleted for good.")).to_be_visible()
    expect(page.get_by_role("heading", name="The trash is empty")).to_be_visible()
    page.goto("/")
    expect(page.locator("#photo-grid .tile")).to_have_count(11)
    assert ids_on(page, "#photo-grid .tile") == [number for number in shown if number != cat_id]
    ann.search("a cat")
    page.get_by_test_id("show-weaker").click()
    expect(results).to_have_count(11)
    assert "chelsea" not in ann.found()
    assert ann.status_of(f"/photos/{cat_id}/") == HTTPStatus.NOT_FOUND
    assert ann.status_of(f"/photos/{cat_id}/original/") == HTTPStatus.NOT_FOUND
    system.wait_until(
        lambda: files_of(system, ann) == {"originals": 11, "renditions": 22}, 30, "files are gone"
    )
    system.wait_until(
        lambda: system.vectors_of(ann.name) == sorted(set(shown) - {cat_id}),
        30,
        "the vector is gone",
    )


def test_another_person_sees_nothing_of_them(newcomer: Newcomer) -> None:
    ann, ben = newcomer("ann"), newcomer("ben")
    ann.sign_up()
    ann.choose([photo("chelsea.png"), photo("coffee.png")])
    ann.wait_until_searchable(2)
    theirs = ids_on(ann.page, "#photo-grid .tile")

    ben.sign_up()
    expect(ben.page.locator("#photo-grid .tile")).to_have_count(0)
    ben.search("a cat")
    expect(ben.page.get_by_role("heading", name="There is nothing to search yet")).to_be_visible()
    ben.page.goto("/")
    ben.choose([photo("moon.png")])
    ben.wait_until_searchable(1)
    ben.search("a cat")
    ben.page.get_by_test_id("show-weaker").click()
    expect(ben.page.get_by_test_id("result")).to_have_count(1)
    assert ben.found() == ["moon"]

    for number in theirs:
        assert ann.status_of(f"/photos/{number}/") == HTTPStatus.OK
        for path in (
            f"/photos/{number}/",
            *(f"/photos/{number}/{part}/" for part in ("thumbnail", "preview", "original")),
            f"/search/?photo={number}",
            f"/api/v1/photos/{number}/",
            f"/api/v1/search/?photo={number}",
        ):
            assert ben.status_of(path) == HTTPStatus.NOT_FOUND, path
        for action in ("trash", "retry", "favourite", "caption"):
            answer = ben.page.request.post(
                f"/photos/{number}/{action}/",
                headers={"X-CSRFToken": ben.csrf_token(), "Referer": ben.page.url},
            )
            assert answer.status == HTTPStatus.NOT_FOUND
    states = ben.page.request.get(f"/photos/states/?ids={','.join(map(str, theirs))}").json()
    assert states["photos"] == []

    ben.expected_statuses.add(HTTPStatus.NOT_FOUND)
    ben.page.goto(f"/photos/{theirs[0]}/")
    expect(ben.page.get_by_role("heading", name="There is nothing here")).to_be_visible()
    ann.page.reload()
    ann.wait_until_searchable(2)


def test_more_photos_come_on_scrolling(newcomer: Newcomer) -> None:
    ann = newcomer("ann")
    page = ann.page
    ann.sign_up()
    ann.choose([drawn_file(number) for number in range(100, 170)])
    expect(page.locator("#uploads-title")).to_have_text(
        "Done. Searchable: 70", timeout=SEARCHABLE_PATIENCE_MS
    )

    page.reload()
    tiles = page.locator("#photo-grid .tile")
    expect(page.locator("#total")).to_have_text("70")
    shown = page.request.get("/timeline/keys/?count=99").json()["ids"]
    assert shown == sorted(set(shown), reverse=True)
    assert len(shown) == 70
    # Only what is near the window is in the document.
    expect(tiles.first).to_have_attribute("data-photo-id", str(shown[0]))
    assert tiles.count() < 70
    press(page, "End")
    expect(tiles.last).to_have_attribute("data-photo-id", str(shown[-1]))
    assert tiles.count() < 70

    ann.search("coloured circles")
    results = page.get_by_test_id("result")
    page.get_by_test_id("show-weaker").click()
    page.mouse.move(600, 500)
    page.mouse.wheel(0, 5000)
    expect(results).to_have_count(70)
    found = ids_on(page, "[data-testid='result']")
    assert sorted(found) == sorted(shown)
    scores = [float(result.get_attribute("data-score") or "nan") for result in results.all()]
    assert scores == sorted(scores, reverse=True)
