"""What must not lie in a log, taken out of every line: keys, what people searched for, embeddings.

A shared link, a key to reset a password and one that confirms an address are parts of paths, which
many a library writes down. An error of Milvus may hold a whole vector, one of PostgreSQL the row
that it refused. A line is bounded as well: no error fills the disk.
"""

from __future__ import annotations

import logging
import re
import traceback

HIDDEN = "[…]"
LONGEST = 8_192

_SLASH = r"(?:/|%2F)"
_NUMBER = r"(?<![\d.])[-+]?\d{0,9}\.\d{1,40}(?:e[-+]?\d+)?"
# Names of values that are keys, or that people typed into the search.
_NAMES = (
    r"(?:[\w-]{0,40}(?:token|secret|password|passwd|signature|sessionid|apikey|api_key)[\w-]{0,40}"
    r"|dsn|q|query|X-Amz-Credential)"
)

_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), replacement)
    for pattern, replacement in (
        # /s/TOKEN/…, also as the value of ?next= and in a referrer
        (rf"({_SLASH}s{_SLASH})(?!{_SLASH})[^\s/?#%&\"'<>]{{8,}}", rf"\1{HIDDEN}"),
        (rf"(password{_SLASH}reset{_SLASH}key{_SLASH})[^\s/?#%&\"'<>]+", rf"\1{HIDDEN}"),
        (rf"(confirm-email{_SLASH})[^\s/?#&\"'<>]{{8,}}", rf"\1{HIDDEN}"),
        # ?token=…, X-Api-Key: …, {'password': '…'}
        (rf"([?&;\s]{_NAMES}=)[^\s&;#\"']+", rf"\1{HIDDEN}"),
        (rf"([\"']{_NAMES}[\"']:\s*[bru]?[\"'])[^\"']+", rf"\1{HIDDEN}"),
        (r"((?:Authorization|Cookie|Set-Cookie)[\"']?\s*[:=]\s*).*", rf"\1{HIDDEN}"),
        (r"\b((?:Token|Bearer|Basic)\s+)[\w.~+/=-]{16,}", rf"\1{HIDDEN}"),
        # user:password@host
        (r"(://[^\s:/@]*:)[^\s:/@]+@", rf"\1{HIDDEN}@"),
        # What PostgreSQL adds to an error: the key, the row, the statement with its values
        (r"\b(DETAIL|CONTEXT|STATEMENT|QUERY):.*", rf"\1: {HIDDEN}"),
        # Embeddings: as numbers in a list or an array, as a protobuf's fields, as bytes
        (rf"(?:{_NUMBER}[\s,;]+){{2,}}{_NUMBER}", HIDDEN),
        (rf"(?:\b\w{{1,40}}:\s*{_NUMBER}\s+){{2,}}\w+:\s*{_NUMBER}", HIDDEN),
        (r"(?:\\{1,2}(?:x[0-9a-f]{2}|[0-7]{3})[^\s\\]{0,3}){8,}", HIDDEN),
        (r"\\x[0-9a-f]{64,}", HIDDEN),
    )
)


def redacted(text: str, *, longest: int = LONGEST) -> str:
    """The text without secrets and vectors, at most about `longest` characters of it."""
    # First, as the rules are slow on megabytes; the ends say most.
    if len(text) > longest:
        head, tail = longest * 2 // 3, longest // 3
        left_out = len(text) - head - tail
        text = f"{text[:head]} [… {left_out} characters …] {text[-tail:]}"
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text


class Redacting(logging.Filter):
    """For a handler: makes each record's message, exception and stack what may be written down."""

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            message = record.getMessage()
        except Exception as error:  # a wrong format must not let the values through
            message = f"{record.msg} ({type(error).__name__} in its arguments)"
        record.msg, record.args = redacted(message), None
        if record.exc_info and not record.exc_text:
            record.exc_text = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
        if record.exc_text:
            record.exc_text = redacted(record.exc_text)
        if record.stack_info:
            record.stack_info = redacted(record.stack_info)
        return True
