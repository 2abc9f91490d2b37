"""Photos in an S3 bucket, which nobody but us can read."""

from __future__ import annotations

import threading
from http import HTTPStatus
from typing import Any

from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from s3transfer.exceptions import RetriesExceededError
from storages.backends.s3 import S3Storage

from t2isearch.settings.bucket import addressing_style

PART_BYTES = 8 * 1024 * 1024
SPOOL_BYTES = 1024 * 1024


class PhotoBucket(S3Storage):  # type: ignore[misc]
    """django-storages' S3 with no file whole in memory, and with links that browsers can follow.

    `public_endpoint_url`: the address of the S3 as browsers see it, where that is another one.
    """

    # What S3 answers, or that it does not: see `gallery.storage`.
    faults = (BotoCoreError, ClientError, Boto3Error, RetriesExceededError)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.client_config = self._config(self.endpoint_url)
        self._public_client: BaseClient | None = None
        self._lock = threading.Lock()

    def get_default_settings(self) -> dict[str, Any]:
        defaults: dict[str, Any] = super().get_default_settings()
        return defaults | {
            "public_endpoint_url": None,
            "file_overwrite": False,
            # No ACL: objects are private by themselves, and newer buckets at Amazon refuse any.
            "default_acl": None,
            # Whoever comes upon an object without our link gets no page of it.
            "object_parameters": {"ContentDisposition": "attachment"},
            # What is read is kept on the disk from here on, not in memory.
            "max_memory_size": SPOOL_BYTES,
            # One part at a time: several side by side would all be in memory.
            "transfer_config": TransferConfig(
                multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, use_threads=False
            ),
        }

    def _config(self, endpoint_url: str | None) -> Config:
        return Config(
            signature_version="s3v4",
            s3={"addressing_style": addressing_style(self.bucket_name, endpoint_url)},
            # A person waits.
            connect_timeout=3,
            read_timeout=10,
            retries={"mode": "standard", "total_max_attempts": 2},
        )

    def _get_write_parameters(self, name: str, content: object = None) -> dict[str, Any]:
        # By the name, which we gave it, and not by the type that the upload claimed.
        parameters: dict[str, Any] = super()._get_write_parameters(name, None)
        return parameters

    def _open(self, name: str, mode: str = "rb") -> Any:
        try:
            return super()._open(name, mode)
        except FileNotFoundError:
            # That the bucket itself is gone, which is answered alike, says nothing about the file.
            self.connection.meta.client.head_bucket(Bucket=self.bucket_name)
            raise

    def link(
        self, name: str, *, seconds: int, method: str, public: bool, headers: dict[str, str]
    ) -> str:
        """A link that gives one file for `seconds`, with those `headers`, to whoever has it.

        It is for `method` alone, and for browsers if it is `public`, else for a proxy of ours.
        """
        client = self._browsers_client() if public else self.connection.meta.client
        address: str = client.generate_presigned_url(
            "get_object",
            Params={
                "Bucket": self.bucket_name,
                "Key": self._normalize_name(name),
                "ResponseContentType": headers["Content-Type"],
                "ResponseContentDisposition": headers["Content-Disposition"],
                "ResponseCacheControl": headers["Cache-Control"],
            },
            ExpiresIn=seconds,
            HttpMethod=method,
        )
        return address

    def _browsers_client(self) -> BaseClient:
        """Only signs. One for all threads, since each takes a second to make."""
        with self._lock:
            if self._public_client is None:
                endpoint_url = self.public_endpoint_url or self.endpoint_url
                self._public_client = self._create_session().client(
                    "s3",
                    region_name=self.region_name,
                    endpoint_url=endpoint_url,
                    config=self._config(endpoint_url),
                )
            return self._public_client

    def create(self) -> bool:
        """Make the bucket where there is none; returns whether it was made.

        Raises:
            botocore.exceptions.BotoCoreError, ClientError: S3 can't be reached, or refuses.
        """
        client = self.connection.meta.client
        try:
            client.head_bucket(Bucket=self.bucket_name)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != HTTPStatus.NOT_FOUND:
                raise
        else:
            return False
        region = self.region_name
        place = (
            {"CreateBucketConfiguration": {"LocationConstraint": region}}
            if region and region != "us-east-1"
            else {}
        )
        client.create_bucket(Bucket=self.bucket_name, **place)
        return True
