"""What can go wrong with a call of the API, as its schema describes it."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiResponse

from t2isearch.problems import MEDIA_TYPE

_MEMBERS: dict[str, Any] = {
    "type": {"type": "string", "format": "uri-reference", "enum": ["about:blank"]},
    "title": {"type": "string", "description": "What the status is called."},
    "status": {"type": "integer", "description": "The HTTP status."},
    "detail": {"type": "string", "description": "What is wrong, in a sentence for people."},
    "instance": {
        "type": "string",
        "format": "uri-reference",
        "description": "The path that was asked.",
    },
    "code": {"type": "string", "description": "What is wrong, in a word for programs."},
}
_ERRORS = {
    "type": "object",
    "description": "For each field its errors.",
    "additionalProperties": {"type": "array", "items": {"type": "string"}},
}
# Put among the schema's components by `t2isearch.api_schema.add_problems`.
COMPONENTS: dict[str, Any] = {
    "Problem": {
        "type": "object",
        "description": "What went wrong (RFC 9457).",
        "properties": _MEMBERS,
        "required": list(_MEMBERS),
    },
    "InvalidProblem": {
        "type": "object",
        "description": (
            "What went wrong (RFC 9457). `errors` is missing where the body can't be read at all. "
            "The errors of a field stand under its own name as well, as in earlier versions."
        ),
        "properties": _MEMBERS | {"errors": _ERRORS},
        "required": list(_MEMBERS),
    },
}
DESCRIPTIONS = {
    400: "Something that was sent can't be used.",
    401: "Nobody is signed in, or the token is no longer valid.",
    403: "The token lacks the scope, or a session's CSRF token is missing.",
    404: "There is no such thing, or it is another person's.",
    406: "Only JSON is answered, and `Accept` asks for something else.",
    409: "It does not go together with what is there: `code` says why.",
    410: "What it was about is over.",
    411: "The length of the body must be said.",
    412: "Another version of the protocol is asked for.",
    413: "It is larger than what can be taken in.",
    415: "The body is of a type that is not read here.",
    423: "Another request is writing at the moment; try again.",
    460: "The bytes are not those of the checksum; none of them were kept.",
    429: "Too many requests; `Retry-After` says how many seconds to wait.",
    507: "The storage is full; `Retry-After` says when to try again.",
    503: "What it takes is not there for the moment; `Retry-After` says when to try again.",
}

# What every change can end with, as it stands in the schema (`t2isearch.conflicts`).
CONFLICT = {
    "description": "Another change was made at the same moment; try again.",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}

Responses = dict[tuple[int, str], OpenApiResponse]


def errors(*statuses: int) -> Responses:
    """These errors, as `extend_schema` takes them."""
    return {
        (status, MEDIA_TYPE): OpenApiResponse(
            {"$ref": f"#/components/schemas/{'Invalid' if status == 400 else ''}Problem"},
            DESCRIPTIONS[status],
        )
        for status in statuses
    }


# What every call can end with that needs a signed-in person.
SIGNED_IN = errors(401, 403, 406, 429)
