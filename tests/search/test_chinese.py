"""Searching in Chinese with an encoder that reads it: a small Chinese-CLIP with random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from django.test import Client

from accounts.models import User
from gallery.models import Photo
from tests.tiny_encoders import save_tiny

Add = Callable[[User, int], Photo]

CHINESE = {"Accept-Language": "zh-CN"}


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In the place of the English one that the other tests search with."""
    return save_tiny("chinese_clip", tmp_path_factory.mktemp("chinese"))


def test_a_chinese_query_is_searched_for(ann: User, client: Client, add: Add) -> None:
    photos = {add(ann, number).pk for number in range(3)}
    client.force_login(ann)
    response = client.get("/search/?q=一只猫&weak=true", headers=CHINESE)
    page = response.content.decode()
    assert 'data-testid="search-unreadable"' not in page
    assert {result.photo.pk for result in response.context["results"]} == photos
    assert "“一只猫”" in page
    # Without the weaker ones, too, it is asked for, whatever is near it.
    assert "page" in client.get("/search/?q=一只猫").context


def test_words_of_different_meaning_find_in_a_different_order(
    ann: User, client: Client, add: Add
) -> None:
    for number in range(5):
        add(ann, number)
    client.force_login(ann)

    def scores(query: str) -> list[float]:
        answer = client.get("/api/v1/search/", {"q": query, "weak": "true"}).json()
        assert len(answer["results"]) == 5
        return [result["score"] for result in answer["results"]]

    # Were the characters all unknown to it, as to an English tokenizer, these would be the same.
    assert scores("一只猫") != scores("海边的红色汽车")


def test_the_examples_are_chinese(ann: User, client: Client, add: Add) -> None:
    add(ann, 1)
    client.force_login(ann)
    start = client.get("/search/", headers=CHINESE).content.decode()
    assert "在户外玩耍的狗" in start
    assert "本站的编码器只懂英文" not in start
