"""Which process holds which tower of the encoder, in the whole system."""

from __future__ import annotations

import pytest

from tests.running_system import RunningSystem


@pytest.mark.system
def test_the_web_process_holds_the_text_tower_and_the_indexer_the_image_tower(
    system: RunningSystem,
) -> None:
    def towers() -> set[tuple[str, str, str]]:
        rows = system.query("SELECT process, part, encoder FROM search_loadedtower")
        return {(process.partition("@")[0], part, encoder) for process, part, encoder in rows}

    expected = {("web", "text", "starter"), ("indexer", "image", "starter")}
    system.wait_until(lambda: expected <= towers(), 60, "both towers are noted")
    # Whatever other tests had it load.
    assert {part for process, part, _encoder in towers() if process == "web"} == {"text"}
    assert {part for process, part, _encoder in towers() if process != "web"} == {"image"}
