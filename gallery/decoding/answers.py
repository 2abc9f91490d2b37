"""A decoder's answers: written by the child, read with distrust by its parent."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from gallery.decoding.problems import BadPicture, Problem
from gallery.decoding.protocol import Garbled, Header
from gallery.formats import MEDIA_TYPES
from gallery.metadata import EARLIEST, LATEST, MOST_TEXT, Metadata
from gallery.probing import PictureFacts
from gallery.renditions import PREVIEW_SIDE, Renditions

_PLACEHOLDER = re.compile(r"data:image/webp;base64,[A-Za-z0-9+/=]{1,4000}")
_MOST_DETAIL = 300


def facts_as_message(facts: PictureFacts) -> Header:
    return {"facts": asdict(facts)}


def facts_from(header: Header) -> PictureFacts:
    """Raises Garbled."""
    try:
        facts = PictureFacts(**header["facts"])
        _expect(facts.media_type in MEDIA_TYPES.values())
        _expect(_is_count(facts.width) and _is_count(facts.height))
    except (TypeError, KeyError, ValueError) as error:
        raise Garbled(repr(error)) from error
    return facts


def renditions_as_message(renditions: Renditions) -> tuple[Header, list[bytes]]:
    metadata = asdict(renditions.metadata)
    if renditions.metadata.taken_at is not None:
        metadata["taken_at"] = renditions.metadata.taken_at.isoformat()
    header = {
        "thumbnail_size": renditions.thumbnail_size,
        "placeholder": renditions.placeholder,
        "metadata": metadata,
    }
    return header, [renditions.thumbnail, renditions.preview]


def renditions_from(header: Header, parts: Sequence[bytes]) -> Renditions:
    """Raises Garbled."""
    try:
        thumbnail, preview = parts
        width, height = header["thumbnail_size"]
        placeholder = header["placeholder"]
        _expect(all(part.startswith(b"\xff\xd8\xff") for part in parts))  # a JPEG's first bytes
        _expect(all(_is_count(side) and side <= PREVIEW_SIDE for side in (width, height)))
        _expect(_PLACEHOLDER.fullmatch(placeholder) is not None)
        return Renditions(
            thumbnail=thumbnail,
            thumbnail_size=(width, height),
            preview=preview,
            placeholder=placeholder,
            metadata=_metadata_from(**header["metadata"]),
        )
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise Garbled(repr(error)) from error


def problem_as_message(bad: BadPicture) -> Header:
    return {"problem": bad.problem.value, "detail": bad.detail[:_MOST_DETAIL]}


def problem_from(header: Header) -> BadPicture | None:
    """Raises Garbled."""
    if "problem" not in header:
        return None
    try:
        detail = str(header.get("detail", ""))[:_MOST_DETAIL]
        return BadPicture(Problem(header["problem"]), detail)
    except (ValueError, TypeError) as error:
        raise Garbled(repr(error)) from error


def _metadata_from(*, taken_at: str | None, camera: str, lens: str, **numbers: Any) -> Metadata:
    moment = None if taken_at is None else datetime.fromisoformat(taken_at)
    # One without a zone can't be compared with these, which is a TypeError.
    _expect(moment is None or EARLIEST <= moment < LATEST)
    for text in (camera, lens):
        _expect(len(text) <= MOST_TEXT and "\x00" not in text)
    for number in numbers.values():
        _expect(number is None or (type(number) in {int, float} and math.isfinite(number)))
    _expect(numbers["iso"] is None or _is_count(numbers["iso"]))
    return Metadata(taken_at=moment, camera=camera, lens=lens, **numbers)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 < value < 2**31


def _expect(fine: bool) -> None:
    if not fine:
        raise ValueError
