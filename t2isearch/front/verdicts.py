"""What the front asks Django about a request, and what Django says to it.

It goes by the WSGI environ, which no client can write to under these names.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

QUESTION = "t2isearch.front.question"


class Refusal(Enum):
    """Why a request is not taken in: the name is the `code` of the problem."""

    TOO_LARGE = 413
    TOO_SLOW = 408
    NO_ROOM = 507


@dataclass(slots=True)
class WhoIsIt:
    """Whose is it? `person` is set where somebody is signed in, else the answer says so."""

    sign_in: bool  # whether that would help
    person: int | None = None
