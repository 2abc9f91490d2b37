"""Going on where a page of results ended, while photos come and go.

The order of the first page is kept for some minutes, and a cursor, signed so that it can't be made
up, says how far it was read. When the order is lost, it is made anew and read from behind the last
photo that was shown.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field, replace
from typing import Any

from django.core import signing

from accounts.models import User
from t2isearch.cache import derived

_SALT = "search.snapshots"
_KEEP_S = 15 * 60

# What results are sorted by: weak ones last, then by similarity or by time, then by photo.
Key = tuple[int, int, int]


class BadCursor(Exception):
    """A cursor that this site did not make, or made for another query."""


@dataclass(slots=True)
class Snapshot:
    """The order of the results of one search as it was when its first page was read.

    `keys` sort as the results do. `strong` of them are close to the query; `complete` when no
    others follow, as far as they are wanted.
    """

    ids: list[int]
    scores: list[float]
    keys: list[Key]
    strong: int
    complete: bool
    encoder: str
    index_id: int
    has_weak: bool = False
    # The similarity that chance has, and that of the best result.
    chance: float = 0.0
    best: float = 1.0
    name: str = field(default_factory=lambda: secrets.token_urlsafe(12))

    def keep(self) -> None:
        derived.set(_cache_key(self.name), self, _KEEP_S)

    def closeness(self, score: float) -> float:
        """How far a score is from chance to the best, 0 to 1."""
        span = self.best - self.chance
        return max(0.0, min(1.0, (score - self.chance) / span)) if span > 0 else 1.0

    def behind(self, last: Key) -> Snapshot:
        """What comes after `last`."""
        rest = [place for place, key in enumerate(self.keys) if key > last]
        return replace(
            self,
            ids=[self.ids[place] for place in rest],
            scores=[self.scores[place] for place in rest],
            keys=[self.keys[place] for place in rest],
            strong=sum(place < self.strong for place in rest),
        )


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a search was read: to `position` of the snapshot `name`, just behind `last`."""

    name: str
    position: int
    last: Key
    index_id: int

    def signed(self, scope: str) -> str:
        payload = [self.name, self.position, list(self.last), self.index_id, scope]
        return signing.dumps(payload, salt=_SALT, compress=True)

    def snapshot(self) -> Snapshot | None:
        found: Snapshot | None = derived.get(_cache_key(self.name))
        return found


def read_cursor(text: str, scope: str) -> Cursor:
    """Raises BadCursor."""
    try:
        payload: Any = signing.loads(text, salt=_SALT)
        name, position, last, index_id, made_for = payload
    except (signing.BadSignature, ValueError, TypeError) as error:
        raise BadCursor from error
    if made_for != scope:
        raise BadCursor
    weak, value, photo_id = last
    return Cursor(name, position, (weak, value, photo_id), index_id)


def scope_of(owner: User, *parts: object) -> str:
    """What a cursor is good for: one person's one search."""
    text = "\x1f".join([str(owner.pk), *map(str, parts)])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:22]


def _cache_key(name: str) -> str:
    return f"search:snapshot:{name}"
