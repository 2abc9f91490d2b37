"""Photos in S3, the whole way: a real client, a real protocol, and links fetched over HTTP."""

from __future__ import annotations

import hashlib
import re
import shutil
import tracemalloc
from io import StringIO
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.exceptions import ClientError
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import SimpleUploadedFile, TemporaryUploadedFile
from django.core.management import CommandError, call_command
from django.test import Client
from pytest_django import Settings

from accounts.models import User
from gallery.models import Photo
from gallery.processing import process_due_photos, remove_discarded_files
from gallery.services import add_photo
from gallery.serving import LINK_CACHE_SECONDS, LINK_SECONDS
from t2isearch.settings.bucket import origin_of_links
from tests import s3
from tests.conftest import draw_picture
from tests.fetching import fetch

MEGABYTE = 1024 * 1024
VARIANTS = ["thumbnail", "preview", "original"]


@pytest.fixture(autouse=True)
def _redirect(settings: Settings) -> None:
    settings.SERVE_FILES_WITH = "redirect"


@pytest.fixture
def client(client: Client, ann: User) -> Client:
    client.force_login(ann)
    return client


@pytest.fixture
def photo(bucket: str, client: Client) -> Photo:
    """Uploaded as a browser does, with a name and a type that lie, and rendered by the worker."""
    file = SimpleUploadedFile("été.html", draw_picture(1), content_type="text/html")
    assert client.post("/api/v1/photos/", {"file": file}).status_code == 201
    process_due_photos(for_seconds=30)
    return Photo.objects.get(state=Photo.State.READY)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_owner_is_led_to_the_file(client: Client, photo: Photo, variant: str) -> None:
    response = client.get(f"/photos/{photo.pk}/{variant}/")
    assert response.status_code == 302
    assert response["Cache-Control"] == f"private, max-age={LINK_CACHE_SECONDS}"
    assert LINK_CACHE_SECONDS < LINK_SECONDS
    assert {"Cookie", "Authorization"} <= set(response["Vary"].split(", "))
    assert parse_qs(urlsplit(response["Location"]).query)["X-Amz-Expires"] == [str(LINK_SECONDS)]

    answer = fetch(response["Location"])
    headers, content = answer.headers, answer.body
    assert (answer.status, headers["Content-Type"]) == (200, "image/jpeg")
    assert headers["Content-Disposition"] == "inline; filename*=utf-8''%C3%A9t%C3%A9.html"
    assert headers["Cache-Control"] == (
        "private, no-cache" if variant == "original" else "private, max-age=86400"
    )
    assert content[:2] == b"\xff\xd8"
    if variant == "original":
        assert content == draw_picture(1)


def test_a_link_is_for_its_method(client: Client, photo: Photo) -> None:
    response = client.head(f"/photos/{photo.pk}/original/")
    assert response.status_code == 302
    answer = fetch(response["Location"], "HEAD")
    assert (answer.status, answer.headers["Content-Length"]) == (200, str(photo.size_bytes))


def test_downloads_have_their_name(client: Client, photo: Photo) -> None:
    response = client.get(f"/photos/{photo.pk}/original/?download=1")
    headers = fetch(response["Location"]).headers
    assert headers["Content-Disposition"].startswith("attachment; ")


def test_what_no_browser_shows_is_a_download(client: Client, photo: Photo) -> None:
    Photo.objects.update(media_type="image/tiff", filename='a "b".tif')
    response = client.get(f"/photos/{photo.pk}/original/")
    headers = fetch(response["Location"]).headers
    assert headers["Content-Disposition"] == 'attachment; filename="a \\"b\\".tif"'


def test_nobody_reads_the_bucket_without_a_link(bucket: str, client: Client, photo: Photo) -> None:
    location = client.get(f"/photos/{photo.pk}/original/")["Location"]
    assert fetch(location).status == 200
    assert fetch(location.split("?", 1)[0]).status == 403
    acl = s3.client(bucket).get_object_acl(Bucket=s3.BUCKET, Key=photo.original.name)
    assert [grant["Grantee"]["Type"] for grant in acl["Grants"]] == ["CanonicalUser"]
    # What a browser makes of an object by itself is not what the upload said it was.
    stored = s3.client(bucket).head_object(Bucket=s3.BUCKET, Key=photo.original.name)
    assert stored["ContentType"] == "image/jpeg"
    assert stored["ContentDisposition"] == "attachment"


@pytest.mark.parametrize("way", ["redirect", "nginx", "django"])
def test_another_persons_is_not_found(
    photo: Photo, ben: User, settings: Settings, way: str
) -> None:
    settings.SERVE_FILES_WITH = way
    other = Client()
    other.force_login(ben)
    for variant in VARIANTS:
        response = other.get(f"/photos/{photo.pk}/{variant}/")
        assert response.status_code == 404
        assert not {"Location", "X-Accel-Redirect"} & set(response.headers)


def test_django_can_send_it_itself(
    bucket: str, client: Client, photo: Photo, settings: Settings
) -> None:
    settings.SERVE_FILES_WITH = "django"
    url = f"/photos/{photo.pk}/original/"
    response = client.get(url)
    assert response.getvalue() == draw_picture(1)
    assert response["Content-Security-Policy"] == "default-src 'none'; sandbox"
    s3.client(bucket).delete_object(Bucket=s3.BUCKET, Key=photo.original.name)
    assert client.get(url).status_code == 404
    # The whole bucket gone is another matter: nothing is said about the photo, nor a ZIP begun.
    s3.empty(bucket)
    for address in (url, f"/photos/{photo.pk}/thumbnail/", "/export/"):
        assert client.get(address).status_code == 503


def test_browsers_may_know_it_by_another_address(
    bucket: str, client: Client, photo: Photo, settings: Settings
) -> None:
    inside = s3.options("http://minio.inside:9000") | {"public_endpoint_url": bucket}
    settings.STORAGES = settings.STORAGES | {
        "default": {"BACKEND": "gallery.bucket.PhotoBucket", "OPTIONS": inside}
    }
    location = client.get(f"/photos/{photo.pk}/thumbnail/")["Location"]
    assert location.startswith(f"{bucket}/{s3.BUCKET}/renditions/")
    assert fetch(location).status == 200
    settings.SERVE_FILES_WITH = "nginx"
    accelerated = client.get(f"/photos/{photo.pk}/thumbnail/")["X-Accel-Redirect"]
    assert accelerated.startswith(f"/private-bucket/{s3.BUCKET}/renditions/")
    assert "X-Amz-Signature=" in accelerated


def test_objects_go_with_the_photo(bucket: str, client: Client, photo: Photo) -> None:
    assert len(s3.names_in(bucket)) == 3
    link = client.get(f"/photos/{photo.pk}/original/")["Location"]
    assert client.delete(f"/api/v1/photos/{photo.pk}/").status_code == 204
    remove_discarded_files()
    assert s3.names_in(bucket) == set()
    # This S3 says of what is not there that it is forbidden; others say 404.
    assert fetch(link).status in {403, 404}


def test_an_upload_that_fails_leaves_nothing(bucket: str, ann: User, settings: Settings) -> None:
    settings.DEFAULT_QUOTA_BYTES = 10
    content = ContentFile(draw_picture(1), name="a.jpg")
    with pytest.raises(Exception, match="no room left"):
        add_photo(owner=ann, file=content, filename="a.jpg")
    assert s3.names_in(bucket) == set()


def test_no_large_file_is_whole_in_memory(bucket: str, ann: User, tmp_path: Path) -> None:
    """Neither on its way in, as several parts, nor when it is read."""
    path = tmp_path / "large.bmp"
    path.write_bytes(draw_picture(1, picture_format="BMP", size=(4000, 3500)))
    size = path.stat().st_size
    assert size > 40 * MEGABYTE
    with path.open("rb") as source:
        # What Django makes of an upload that is larger than FILE_UPLOAD_MAX_MEMORY_SIZE.
        upload = TemporaryUploadedFile("large.bmp", "image/bmp", size, None)
        shutil.copyfileobj(source, upload)
    tracemalloc.start()
    try:
        photo = add_photo(owner=ann, file=upload, filename="large.bmp").photo
        written = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        digest = hashlib.sha256()
        with photo.original.open("rb") as stored:
            for chunk in stored.chunks():
                digest.update(chunk)
        read = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert digest.hexdigest() == photo.sha256
    etag = s3.client(bucket).head_object(Bucket=s3.BUCKET, Key=photo.original.name)["ETag"]
    assert re.search(r'-[1-9]\d*"$', etag), "it came in parts"
    assert max(written, read) < 16 * MEGABYTE, (written, read)


def test_the_bucket_is_made_once(bucket: str, settings: Settings) -> None:
    said = StringIO()
    call_command("prepare_storage", stdout=said)
    assert "is there" in said.getvalue()
    s3.empty(bucket)
    with pytest.raises(ClientError):
        s3.client(bucket).head_bucket(Bucket=s3.BUCKET)
    call_command("prepare_storage", stdout=said)
    assert "was made" in said.getvalue()
    nowhere = s3.options("http://127.0.0.1:9")
    settings.STORAGES = settings.STORAGES | {
        "default": {"BACKEND": "gallery.bucket.PhotoBucket", "OPTIONS": nowhere}
    }
    with pytest.raises(CommandError, match="can't be had"):
        call_command("prepare_storage")


@pytest.mark.parametrize(
    ("changes", "origin"),
    [
        ({}, "http://s3.inside:9000"),
        ({"public_endpoint_url": "https://files.example.org"}, "https://files.example.org"),
        ({"endpoint_url": None}, "https://photos.s3.eu-west-1.amazonaws.com"),
        (
            {"endpoint_url": None, "bucket_name": "my.photos"},
            "https://s3.eu-west-1.amazonaws.com",
        ),
    ],
)
def test_the_origin_of_links(changes: dict[str, str | None], origin: str) -> None:
    assert origin_of_links(s3.options("http://s3.inside:9000") | changes) == origin
