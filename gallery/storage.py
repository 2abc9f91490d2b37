"""Files in the storage, written whole or not at all."""

from __future__ import annotations

import logging
from typing import Any

from django.core.files import File
from django.core.files.storage import default_storage

logger = logging.getLogger(__name__)


def store_file(name: str, content: File[Any]) -> str:
    """Store `content` under `name`, which nothing has yet, and return the name it got.

    A write that fails midway leaves no part of the file behind.
    """
    try:
        return default_storage.save(name, content, max_length=200)
    except BaseException:
        remove_file(name)
        raise


def remove_file(name: str) -> bool:
    """Remove what turned out not to be needed; whether that worked."""
    try:
        default_storage.delete(name)
    except Exception:
        logger.exception("%s can't be removed now", name)
        return False
    return True
