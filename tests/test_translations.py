"""The catalogues: complete, up to date with the sources, and compiled; every text is marked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from django.conf import settings
from django.template.base import Lexer, TokenType
from django.utils.translation import get_language_info, to_locale

from tools import messages

CATALOGUES = messages.catalogues()
TEMPLATES = sorted((messages.ROOT / messages.TEMPLATES).rglob("*.html"))

# What is the same in every language: names, keys of the keyboard, the language of the search box.
UNTRANSLATED = {
    "t2isearch", "Milvus", "Esc", "Enter", "Shift", "Ctrl", "Del", "curl", "-d username=",
    "-d password=…", '"a dog" + "at night" - "snow"', "2:beach 0.5:dog", "after:2024-05",
    'album:"Summer"', "is:favourite", "entrance", "viewing", "app-search search-console",
}  # fmt: skip
_WORDS = re.compile(r"[A-Za-z]{2}")
_SPOKEN = re.compile(r"\b(?:title|aria-label|placeholder|alt|data-text[\w-]*)=\"([^\"\x00]*)\"")
_CODE = re.compile(r"<(script|style)\b.*?</\1>", re.DOTALL)
_TAG = re.compile(r"<[^>]*>", re.DOTALL)


@pytest.fixture(scope="module")
def template() -> Catalog:
    return messages.extracted()


def test_there_is_one_for_each_language() -> None:
    wanted = {to_locale(code) for code, _ in settings.LANGUAGES if code != settings.LANGUAGE_CODE}
    assert {messages.locale_of(path) for path in CATALOGUES} == wanted


@pytest.mark.parametrize(("code", "name"), settings.LANGUAGES)
def test_each_language_goes_by_its_own_name(code: str, name: str) -> None:
    assert get_language_info(code)["name_local"] == name


@pytest.mark.parametrize("path", CATALOGUES, ids=messages.locale_of)
def test_they_are_complete_and_compiled(path: Path, template: Catalog) -> None:
    assert messages.problems(path, template) == [], "`make messages` updates them"


def test_what_is_wrong_is_found(tmp_path: Path) -> None:
    template = Catalog()
    for text in ("none", "fuzzy", "%(count)d of {all}", ("%(n)d photo", "%(n)d photos"), "new"):
        template.add(text)
    catalogue = Catalog(locale="zh_Hans")
    catalogue.add("none", "")
    catalogue.add("fuzzy", "x", flags={"fuzzy"})
    catalogue.add("%(count)d of {all}", "%(number)d")
    catalogue.add(("%(n)d photo", "%(n)d photos"), ("照片",))
    catalogue.add("old", "x")
    path = tmp_path / "zh_Hans" / "LC_MESSAGES" / "django.po"
    path.parent.mkdir(parents=True)
    path.write_bytes(messages.as_po(catalogue))
    path.with_suffix(".mo").write_bytes(messages.as_mo(Catalog(locale="zh_Hans")))
    assert sorted(messages.problems(path, template)) == [
        "fuzzy: 'fuzzy'",
        "no longer in the sources: (None, 'old')",
        "not in the file: (None, 'new')",
        "not translated: 'none'",
        "other placeholders than in '%(count)d of {all}': '%(number)d'",
        "other placeholders than in ('%(n)d photo', '%(n)d photos'): '照片'",
        "the .mo file is not this .po file compiled",
    ]


def unmarked(html: str) -> Iterator[str]:
    """What a person reads of a template that is not marked for translation."""
    pieces = []
    marked = False
    for token in Lexer(html).tokenize():
        if token.token_type == TokenType.BLOCK:
            name = token.split_contents()[0]
            if name in {"blocktranslate", "comment"}:
                marked = True
            elif name in {"endblocktranslate", "endcomment"}:
                marked = False
        if token.token_type != TokenType.TEXT:
            pieces.append("\x00")
        elif not marked:
            pieces.append(token.contents)
    text = _CODE.sub("", "".join(pieces))
    read = [match[1] for match in _SPOKEN.finditer(text)]
    read += re.split(r"[\x00\x01\n·]", re.sub(r"&\w+;", "", _TAG.sub("\x01", text)))
    for part in map(str.strip, read):
        if _WORDS.search(part) and part not in UNTRANSLATED:
            yield part


@pytest.mark.parametrize(
    "path", TEMPLATES, ids=lambda path: path.relative_to(messages.ROOT / messages.TEMPLATES)
)
def test_every_text_of_a_template_is_marked(path: Path) -> None:
    assert list(unmarked(path.read_text(encoding="utf-8"))) == []


def test_an_unmarked_text_is_found() -> None:
    html = '{% load i18n %}<p title="One">Two {{ three }}{% translate "Four" %}</p><b>Five</b>'
    assert list(unmarked(html)) == ["One", "Two", "Five"]
