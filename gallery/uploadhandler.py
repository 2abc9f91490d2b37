"""What comes in with a form: not more than may, and no error of ours where the disk has no room."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import (
    FileUploadHandler,
    SkipFile,
    TemporaryFileUploadHandler,
)
from django.http import HttpRequest

from gallery.storage import StorageUnavailable, storage_faults
from gallery.validators import too_large


class BoundedUploadHandler(FileUploadHandler):
    """Drops a file once it has more than `MAX_UPLOAD_BYTES` bytes.

    The rest of the request is still read, so that the browser gets the answer and not a broken
    connection; `check_received` then says why the file is missing.
    """

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        self.received = 0

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes:
        self.received += len(raw_data)
        if self.received > settings.MAX_UPLOAD_BYTES:
            self.request.upload_problem = too_large()  # type: ignore[union-attr]
            raise SkipFile
        return raw_data

    def file_complete(self, file_size: int) -> UploadedFile[bytes] | None:
        return None


class DiskUploadHandler(TemporaryFileUploadHandler):
    """Django's, which drops a file that can't be written; see `BoundedUploadHandler`."""

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        with self._dropping():
            super().new_file(*args, **kwargs)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        with self._dropping():
            super().receive_data_chunk(raw_data, start)

    def file_complete(self, file_size: int) -> UploadedFile[bytes] | None:
        with suppress(SkipFile), self._dropping():  # the last bytes are written only now
            return super().file_complete(file_size)
        return None

    def upload_interrupted(self) -> None:
        with suppress(OSError):
            super().upload_interrupted()

    @contextmanager
    def _dropping(self) -> Iterator[None]:
        try:
            with storage_faults():
                yield
        except StorageUnavailable as fault:
            self.request.upload_problem = fault  # type: ignore[union-attr]
            with suppress(AttributeError, OSError):
                self.file.close()  # it fails once, as there are bytes left to write
            raise SkipFile from fault


def check_received(request: HttpRequest) -> None:
    """Before a form's files are used.

    Raises:
        RejectedUpload: there was more of one than may come in.
        StorageUnavailable: one could not be kept while it came in.
    """
    if (problem := getattr(request, "upload_problem", None)) is not None:
        raise problem
