"""Whether the encoder can read what was typed: a text in a script it never saw finds noise."""

from __future__ import annotations

import unicodedata

from django.utils.translation import gettext, gettext_noop

from search.encoders import EncoderInfo, reads_beyond_english

# What could be searched for, where nothing was yet.
EXAMPLES = (
    gettext_noop("a dog playing outside"),
    gettext_noop("something to drink from"),
    gettext_noop("mountains and a lake"),
    gettext_noop("musical instruments"),
    gettext_noop("a car on the road"),
    gettext_noop("birds near the water"),
)

# Encoders whose names say that they read more than the Latin script, for those whose files are not
# on this machine (yet).
_READS_MORE = (
    "multilingual", "chinese", "siglip2", "siglip-2", "xlm", "altclip", "nllb", "m-clip", "mclip",
    "jina-clip-v2", "i18n",
)  # fmt: skip


def unreadable_share(text: str) -> float:
    """How much of the letters are of another script than Latin, 0 to 1."""
    letters = [character for character in text if character.isalpha()]
    if not letters:
        return 0.0
    others = sum(not _is_latin_letter(character) for character in letters)
    return others / len(letters)


def is_latin(text: str) -> bool:
    """Whether the text is, by and large, in the script that every encoder reads."""
    return unreadable_share(text) <= 0.5


def reads_every_script(encoder: EncoderInfo) -> bool:
    """Whether the encoder was trained on more than English, as far as its files or its name say."""
    told = reads_beyond_english(encoder)
    if told is not None:
        return told
    name = encoder.name.lower()
    return any(part in name for part in _READS_MORE)


def is_readable(text: str, encoder: EncoderInfo) -> bool:
    """Whether `encoder` can be expected to understand `text`."""
    return is_latin(text) or reads_every_script(encoder)


def example_queries(encoder: EncoderInfo | None) -> list[str]:
    """What could be searched for, in the reader's language or else in one that `encoder` reads."""
    translated = [gettext(example) for example in EXAMPLES]
    if encoder is not None and not is_readable(" ".join(translated), encoder):
        return list(EXAMPLES)
    return translated


def wants_english(encoder: EncoderInfo | None) -> bool:
    """Whether the reader's own language is one that `encoder` can't read."""
    return encoder is not None and not is_readable(gettext(EXAMPLES[0]), encoder)


def _is_latin_letter(character: str) -> bool:
    return character.isascii() or unicodedata.name(character, "").startswith(
        ("LATIN", "FULLWIDTH LATIN", "FEMININE ORDINAL", "MASCULINE ORDINAL", "MODIFIER LETTER")
    )
