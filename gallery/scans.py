"""How often a JPEG goes over its pixels, without decoding it.

A progressive one says each pixel in several scans. Those that cameras and editors make have some
ten; a file of 100 KB can have thousands, each of which costs as much as a whole picture.
"""

from __future__ import annotations

import re

START_OF_SCAN = 0xDA
END_OF_IMAGE = 0xD9
# Without a length: TEM, SOI.
ALONE = {0x01, 0xD8}
# In the data of a scan 0xFF is followed by 0 or by a restart marker. Before a marker there may be
# more of it, and decoders go over whatever else is there.
MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])", re.DOTALL)


def count_scans(content: bytes) -> int:
    """The scans of the first picture in the file; 0 where it is no JPEG."""
    if not content.startswith(b"\xff\xd8"):
        return 0
    scans, at = 0, 2
    while found := MARKER.search(content, at):
        (marker,) = found.group(1)
        at = found.end()
        if marker == END_OF_IMAGE:
            break
        if marker == START_OF_SCAN:
            scans += 1
        if marker not in ALONE:
            at += int.from_bytes(content[at : at + 2], "big")
    return scans
