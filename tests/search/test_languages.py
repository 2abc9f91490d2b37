from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from django.test import Client
from django.utils import translation

from accounts.models import User
from gallery.models import Photo
from search.encoders import EncoderInfo, reads_beyond_english
from search.languages import EXAMPLES, example_queries, is_readable
from tests.tiny_encoders import save_tiny

CHINESE = {"Accept-Language": "zh-CN"}

Add = Callable[[User, int], Photo]


@pytest.mark.parametrize(
    ("encoder", "text", "readable"),
    [
        ("starter", "a dog", True),
        ("starter", "Straße in Zürich, naïve café", True),
        ("starter", "一只狗", False),
        ("starter", "собака", False),
        ("starter", "a dog 狗", True),
        ("starter", "2024 😀", True),
        ("openai/clip-vit-base-patch32", "كلب", False),
        ("OFA-Sys/chinese-clip-vit-base-patch16", "一只狗", True),
        ("google/siglip2-base-patch16-224", "собака", True),
    ],
)
def test_what_an_encoder_can_read(encoder: str, text: str, readable: bool) -> None:
    assert is_readable(text, EncoderInfo(encoder, "1", 4)) == readable


@pytest.mark.parametrize(
    ("family", "more"),
    [("clip", False), ("chinese_clip", True), ("altclip", True), ("siglip", False)],
)
def test_a_folder_is_judged_by_what_is_in_it(tmp_path: Path, family: str, more: bool) -> None:
    folder = tmp_path / "my-multilingual-model"
    folder.mkdir()
    save_tiny(family, folder)
    info = EncoderInfo(str(folder), "1+int8", 24)
    assert reads_beyond_english(info) is more
    assert is_readable("一只狗", info) is more


def test_a_siglip_with_words_of_many_languages_reads_them(tmp_path: Path) -> None:
    config = {"model_type": "siglip", "text_config": {"vocab_size": 256_000}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert is_readable("собака", EncoderInfo(str(tmp_path), "1", 4))


def test_what_is_not_here_is_judged_by_its_name(tmp_path: Path) -> None:
    gone = tmp_path / "chinese-clip"
    assert reads_beyond_english(EncoderInfo(str(gone), "1", 4)) is None
    assert is_readable("一只狗", EncoderInfo(str(gone), "1", 4))


def test_examples_are_in_a_language_that_the_encoder_reads() -> None:
    with translation.override("zh-hans"):
        assert example_queries(EncoderInfo("starter", "1", 4)) == list(EXAMPLES)
        chinese = example_queries(EncoderInfo("OFA-Sys/chinese-clip", "1", 4))
        assert "在户外玩耍的狗" in chinese
        assert example_queries(None) == chinese
    with translation.override("en"):
        assert example_queries(EncoderInfo("OFA-Sys/chinese-clip", "1", 4)) == list(EXAMPLES)


def test_the_page_says_so_rather_than_show_noise(ann: User, client: Client, add: Add) -> None:
    add(ann, 1)
    client.force_login(ann)
    response = client.get("/search/?q=一只狗")
    page = response.content.decode()
    assert response.status_code == 200
    assert 'role="alert" data-testid="search-unreadable"' in page
    assert "can't read “一只狗”" in page.replace("&#x27;", "'")
    assert 'data-testid="result"' not in page
    # A text that is taken away counts as well; a photo or a filter beside it changes nothing.
    assert 'data-testid="result"' not in client.get("/search/?q=dog -狗").content.decode()
    assert 'data-testid="search-unreadable"' not in client.get("/search/?q=dog").content.decode()


def test_it_says_so_in_chinese(ann: User, client: Client, add: Add) -> None:
    add(ann, 1)
    client.force_login(ann)
    page = client.get("/search/?q=一只狗", headers=CHINESE).content.decode()
    assert "本站的编码器只学过英文，读不懂“一只狗”" in page
    start = client.get("/search/", headers=CHINESE).content.decode()
    assert "本站的编码器只懂英文，请用英文描述。" in start
    assert "a dog playing outside" in start


def test_who_wants_can_search_all_the_same(ann: User, client: Client, add: Add) -> None:
    add(ann, 1)
    client.force_login(ann)
    page = client.get("/search/?q=一只狗&weak=true").content.decode()
    assert 'data-testid="search-unreadable"' in page
    assert page.count('data-testid="result"') == 1
    assert 'data-testid="search-anyway"' not in page


def test_what_was_not_searched_for_is_not_remembered(ann: User, client: Client, add: Add) -> None:
    add(ann, 1)
    client.force_login(ann)
    client.get("/search/?q=一只狗")
    assert list(client.get("/search/").context["recent"]) == []
