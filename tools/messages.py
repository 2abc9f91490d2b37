"""The texts of the site and their translations: `python -m tools.messages` updates the catalogues.

Reads the texts that are marked for gettext in the Python sources and the templates, takes them over
into each `locale/*/LC_MESSAGES/django.po`, new ones without a translation, and compiles what is
there. Only Babel is needed, no gettext tools, so that it runs on any machine and in the tests.
Scripts have no texts of their own: templates hand them over in data attributes.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import django
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract
from babel.messages.mofile import read_mo, write_mo
from babel.messages.pofile import read_po, write_po
from django.conf import settings

ROOT = Path(__file__).resolve().parent.parent
LOCALE = ROOT / "locale"
PYTHON = ("accounts", "gallery", "search", "t2isearch")
TEMPLATES = "templates"

_KEYWORDS = {
    "_": None,
    "gettext": None,
    "gettext_lazy": None,
    "gettext_noop": None,
    "ngettext": (1, 2),
    "ngettext_lazy": (1, 2),
    "pgettext": ((1, "c"), 2),
    "pgettext_lazy": ((1, "c"), 2),
    "npgettext": ((1, "c"), 2, 3),
    "npgettext_lazy": ((1, "c"), 2, 3),
}
# What stands for something in a text: %(name)s, %d, {name}, and marks such as <strong>.
_PLACEHOLDER = re.compile(r"%\(\w+\)[sd]|%[sd%]|\{\w+\}|</?\w+>")


def catalogues() -> list[Path]:
    """The .po files, one a language."""
    return sorted(LOCALE.glob("*/LC_MESSAGES/django.po"))


def locale_of(path: Path) -> str:
    """The locale that a .po file is for, as Django names it: zh_Hans."""
    return path.parent.parent.name


def extracted() -> Catalog:
    """The texts in the sources."""
    template = Catalog(project="t2isearch", charset="utf-8", fuzzy=False)
    for path, source in _sources():
        for _line, text, _comments, context in extract("python", BytesIO(source), _KEYWORDS):
            # The file alone: with line numbers every change of a source would be one here.
            template.add(text, locations=[(path, 0)], context=context)
    return template


def _sources() -> Iterator[tuple[str, bytes]]:
    """Each source's path and what of it is read as Python."""
    from django.utils.translation.template import templatize

    for folder in PYTHON:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), path.read_bytes()
    for path in sorted((ROOT / TEMPLATES).rglob("*.*")):
        # Django turns a template into calls of gettext; in brackets, its indentation means nothing.
        calls = templatize(path.read_text(encoding="utf-8"))
        yield path.relative_to(ROOT).as_posix(), f"(\n{calls}\n)".encode()


def read(path: Path) -> Catalog:
    """A .po file."""
    with path.open("rb") as file:
        return read_po(file, locale=locale_of(path))


def updated(catalogue: Catalog, template: Catalog) -> Catalog:
    """`catalogue` with the texts of `template` and no others; its translations are kept."""
    catalogue.update(template, no_fuzzy_matching=True, update_creation_date=False)
    catalogue.obsolete.clear()
    return catalogue


def as_po(catalogue: Catalog) -> bytes:
    """What belongs into the .po file."""
    file = BytesIO()
    write_po(file, catalogue, width=100, sort_output=True, include_lineno=False)
    return file.getvalue()


def as_mo(catalogue: Catalog) -> bytes:
    """What belongs into the .mo file."""
    file = BytesIO()
    write_mo(file, catalogue)
    return file.getvalue()


def texts(message: Message) -> tuple[str, ...]:
    """A message's text, or its singular and plural."""
    return (message.id,) if isinstance(message.id, str) else tuple(message.id)


def translations(message: Message) -> tuple[str, ...]:
    """A message's translation, or one for each plural form of the language."""
    if isinstance(message.string, str):
        return (message.string,)
    return tuple(message.string or ("",))


def problems(path: Path, template: Catalog) -> list[str]:
    """What is wrong with a .po file and its .mo file, a sentence each."""
    catalogue = read(path)
    found = []
    wanted = {(message.context, message.id) for message in template if message.id}
    there = {(message.context, message.id) for message in catalogue if message.id}
    found += [f"not in the file: {key}" for key in sorted(wanted - there, key=str)]
    found += [f"no longer in the sources: {key}" for key in sorted(there - wanted, key=str)]
    for message in catalogue:
        if not message.id:
            continue
        if message.fuzzy:
            found.append(f"fuzzy: {message.id!r}")
        forms = catalogue.num_plurals if message.pluralizable else 1
        translated = translations(message)
        if len(translated) != forms or not all(translated):
            found.append(f"not translated: {message.id!r}")
        # The singular may leave the number out, so the plural says what is needed.
        expected = sorted(_PLACEHOLDER.findall(texts(message)[-1]))
        found += [
            f"other placeholders than in {message.id!r}: {text!r}"
            for text in translated
            if text and sorted(_PLACEHOLDER.findall(text)) != expected
        ]
    compiled = path.with_suffix(".mo")
    if not compiled.exists():
        found.append("there is no .mo file")
    else:
        with compiled.open("rb") as file:
            if _compiled_texts(read_mo(file)) != _compiled_texts(catalogue):
                found.append("the .mo file is not this .po file compiled")
    return found


def _compiled_texts(catalogue: Catalog) -> dict[object, object]:
    """What a compiled file holds: by context and text, the translations that there are."""

    def decoded(context: str | bytes | None) -> str | None:
        # Babel leaves the contexts of a .mo file as they are in it.
        return context.decode() if isinstance(context, bytes) else context

    return {
        (decoded(message.context), texts(message)): translations(message)
        for message in catalogue
        if message.id and all(translations(message))
    }


def main() -> int:
    """Update and compile all catalogues; 1 when something is left to translate or to mend."""
    settings.configure(USE_I18N=True)
    django.setup()
    template = extracted()
    found = []
    for path in catalogues():
        catalogue = updated(read(path), template)
        path.write_bytes(as_po(catalogue))
        path.with_suffix(".mo").write_bytes(as_mo(catalogue))
        found += [f"{path.relative_to(ROOT)}: {problem}" for problem in problems(path, template)]
        sys.stdout.write(f"{path.relative_to(ROOT)}: {len(catalogue)} texts\n")
    sys.stdout.write("".join(f"{problem}\n" for problem in found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
