"""The retrieval measures, on rankings small enough to be worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from pytest_django import Settings

from search.encoders import describe
from search.evaluation import (
    LabelledQuery,
    average_precision,
    evaluate,
    photos_in,
    read_queries,
    recall_at_k,
)
from tests.tiny_clip import save_tiny_clip


@pytest.mark.parametrize(
    ("ranked", "relevant", "expected"),
    [
        ("ab", {"a"}, 1),
        ("ba", {"a"}, 1 / 2),
        ("abcd", {"a", "c"}, (1 + 2 / 3) / 2),
        ("abcd", {"c", "d"}, (1 / 3 + 2 / 4) / 2),
        ("ab", {"a", "z"}, 1 / 2),  # one was not ranked at all
        ("", {"a"}, 0),
    ],
)
def test_average_precision(ranked: str, relevant: set[str], expected: float) -> None:
    assert average_precision(list(ranked), relevant) == pytest.approx(expected)


def test_recall_at_k() -> None:
    ranked, relevant = list("abcdef"), {"a", "d", "z"}
    assert [recall_at_k(ranked, relevant, k) for k in (1, 3, 4, 100)] == pytest.approx(
        [1 / 3, 1 / 3, 2 / 3, 2 / 3]
    )


def test_a_query_that_nothing_answers_has_no_score() -> None:
    with pytest.raises(ValueError, match="neither precision nor recall"):
        average_precision(["a"], set())
    with pytest.raises(ValueError, match="neither precision nor recall"):
        recall_at_k(["a"], set(), 1)


def test_read_queries(tmp_path: Path) -> None:
    path = tmp_path / "queries.tsv"
    path.write_text('a "big" cat\ttiger lion\n\na boat\tyawl\n')
    assert read_queries(path) == [
        LabelledQuery('a "big" cat', frozenset({"tiger", "lion"})),
        LabelledQuery("a boat", frozenset({"yawl"})),
    ]

    path.write_text("a boat\tyawl\nno photos\n")
    with pytest.raises(ValueError, match="line 2"):
        read_queries(path)


def test_evaluate(tmp_path: Path, settings: Settings) -> None:
    settings.ENCODER_CACHE_DIR = tmp_path / "cache"
    info = describe(str(save_tiny_clip(tmp_path / "clip")))
    photos = tmp_path / "photos"
    photos.mkdir()
    for colour in ("red", "green", "blue"):
        Image.new("RGB", (64, 48), colour).save(photos / f"{colour}.png")
    (photos / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    (photos / "README.md").write_text("no photo")

    everything = LabelledQuery("a cat", frozenset({"red", "green", "blue"}))
    unreadable = LabelledQuery("a cat", frozenset({"cut"}))
    report = evaluate(info, photos_in(photos), [everything, unreadable], k=(1, 3))

    assert report.encoder == info
    assert report.photos == 4
    assert report.unreadable == ("cut",)
    assert [score.average_precision for score in report.scores] == [1, 0]
    assert report.mean_average_precision == pytest.approx(1 / 2)
    assert report.mean_recall == pytest.approx({1: 1 / 6, 3: 1 / 2})

    with pytest.raises(ValueError, match="not there: purple"):
        evaluate(info, photos_in(photos), [LabelledQuery("violets", frozenset({"purple"}))])
    with pytest.raises(ValueError, match="Nothing to evaluate"):
        evaluate(info, photos_in(photos), [])
