"""The bucket that photos are kept in, as the environment names it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import environ


def read_bucket(env: environ.Env, problems: list[str]) -> dict[str, Any] | None:
    """The options of `gallery.bucket.PhotoBucket`, or None when photos are kept as files."""
    bucket = env.str("S3_BUCKET", default="")
    if not bucket:
        return None
    key, secret = (
        env.str("S3_ACCESS_KEY_ID", default=""),
        env.str("S3_SECRET_ACCESS_KEY", default=""),
    )
    if bool(key) != bool(secret):
        problems.append("S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY must be set together.")
    return {
        "bucket_name": bucket,
        "endpoint_url": _address("S3_ENDPOINT_URL", env, problems),
        "public_endpoint_url": _address("S3_PUBLIC_ENDPOINT_URL", env, problems),
        "region_name": env.str("S3_REGION", default="") or None,
        "access_key": key or None,
        "secret_key": secret or None,
    }


def _address(name: str, env: environ.Env, problems: list[str]) -> str | None:
    address: str = env.str(name, default="").rstrip("/")
    if not address:
        return None
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path or parts.query:
        problems.append(f"{name} must be http://host:port or https://host, not {address!r}.")
    return address


def addressing_style(bucket: str, endpoint_url: str | None) -> str:
    """Whether the bucket's name is part of the host name or of the path.

    Amazon redirects from its global host name to the region's, which a signature does not survive,
    so the region's is used; a name with dots fits no certificate there.
    """
    return "path" if endpoint_url or "." in bucket else "virtual"


def origin_of_links(options: dict[str, Any]) -> str:
    """The origin (`https://host:port`) of the links that browsers are sent to."""
    # Takes a second to load, and only who keeps photos in S3 needs it.
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config

    bucket = options["bucket_name"]
    endpoint_url = options["public_endpoint_url"] or options["endpoint_url"]
    client = boto3.session.Session().client(
        "s3",
        region_name=options["region_name"],
        endpoint_url=endpoint_url,
        config=Config(
            signature_version=UNSIGNED,
            s3={"addressing_style": addressing_style(bucket, endpoint_url)},
        ),
    )
    parts = urlsplit(
        client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "photo"})
    )
    return f"{parts.scheme}://{parts.netloc}"
