from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from drf_spectacular.utils import extend_schema_field
from rest_framework import exceptions, serializers
from rest_framework.reverse import reverse

from gallery.albums import create_album, rename_album
from gallery.metadata import EARLIEST, LATEST
from gallery.models import Album, PartialUpload, Photo
from gallery.partial_uploads import offset_of
from gallery.services import change_photo
from gallery.serving import VARIANTS
from t2isearch.requests import LARGEST_KEY


class TextField(serializers.CharField):
    """Text, and not a number that could be written as one."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class StrictBooleanField(serializers.BooleanField):
    """True or false, and nothing that could be taken for one of them."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class PhotoUrlsSerializer(serializers.Serializer[Any]):
    """Where the files are; null for a rendition that is not made yet."""

    thumbnail = serializers.URLField(allow_null=True)
    preview = serializers.URLField(allow_null=True)
    original = serializers.URLField()


class PhotoSerializer(serializers.ModelSerializer[Photo]):
    filename = TextField(max_length=255)
    caption = TextField(max_length=2000, allow_blank=True, required=False)
    is_favourite = StrictBooleanField(required=False)
    status = serializers.ChoiceField(choices=Photo.State.choices, read_only=True)
    searchable = serializers.SerializerMethodField()
    error = serializers.CharField(source="problem", read_only=True)
    bytes = serializers.IntegerField(source="size_bytes", read_only=True)
    urls = serializers.SerializerMethodField()

    class Meta:
        model = Photo
        fields = [
            "id", "filename", "status", "searchable", "error", "width", "height", "bytes",
            "media_type", "taken_at", "created_at", "is_favourite", "caption", "urls",
        ]  # fmt: skip
        read_only_fields = ["width", "height", "media_type", "created_at"]

    def get_searchable(self, photo: Photo) -> bool:
        # A photo that was added a moment ago was not read through `for_display`.
        return getattr(photo, "searchable", False)

    @extend_schema_field(PhotoUrlsSerializer)
    def get_urls(self, photo: Photo) -> dict[str, str | None]:
        request = self.context.get("request")
        return {
            variant: reverse("gallery:file", args=[photo.pk, variant], request=request)
            if getattr(photo, variant)
            else None
            for variant in VARIANTS
        }

    def validate_taken_at(self, taken_at: datetime | None) -> datetime | None:
        if taken_at is not None and not EARLIEST <= taken_at < LATEST:
            raise serializers.ValidationError(_("No photo was taken then."))
        return taken_at

    def update(self, instance: Photo, validated_data: dict[str, Any]) -> Photo:
        try:
            return change_photo(instance, **validated_data)
        except Photo.DoesNotExist as error:
            raise exceptions.NotFound from error


class UploadSerializer(serializers.Serializer[Any]):
    file = serializers.FileField(allow_empty_file=True)


class UploadedPhotoSerializer(PhotoSerializer):
    """A photo just uploaded; `duplicate` when the owner had the same bytes already."""

    duplicate = serializers.BooleanField(read_only=True, default=False)

    class Meta(PhotoSerializer.Meta):
        fields = [*PhotoSerializer.Meta.fields, "duplicate"]


class PartialUploadSerializer(serializers.ModelSerializer[PartialUpload]):
    """How far a resumable upload is, and what became of it.

    `photo` is the key of the photo once it is `added`, `duplicate` whether its owner had the same
    bytes already, `error` why it was `rejected`. One that is `finishing` is
    complete, and it is open yet what becomes of it.
    """

    offset = serializers.SerializerMethodField()
    photo = serializers.IntegerField(source="photo_id", allow_null=True, read_only=True)

    class Meta:
        model = PartialUpload
        fields = [
            "id", "filename", "state", "offset", "length", "photo", "duplicate", "error",
            "created_at", "expires_at",
        ]  # fmt: skip
        read_only_fields = fields

    def get_offset(self, upload: PartialUpload) -> int:
        return offset_of(upload)


class TrashedPhotoSerializer(PhotoSerializer):
    """A photo in the trash; its files can't be had before it is restored."""

    purged_at = serializers.DateTimeField(read_only=True)

    class Meta(PhotoSerializer.Meta):
        fields = [
            *(name for name in PhotoSerializer.Meta.fields if name != "urls"),
            "trashed_at", "purged_at",
        ]  # fmt: skip
        read_only_fields = [*PhotoSerializer.Meta.read_only_fields, "trashed_at"]


class AlbumSerializer(serializers.ModelSerializer[Album]):
    title = TextField(max_length=200)
    photo_count = serializers.SerializerMethodField()
    cover = serializers.SerializerMethodField()

    class Meta:
        model = Album
        fields = ["id", "title", "photo_count", "cover", "created_at", "updated_at"]
        read_only_fields = ["created_at", "updated_at"]

    def get_photo_count(self, album: Album) -> int:
        # A new album was not read through `for_display`.
        return getattr(album, "photo_count", 0)

    @extend_schema_field(serializers.IntegerField(allow_null=True))
    def get_cover(self, album: Album) -> int | None:
        """The photo that it is shown by."""
        return getattr(album, "cover_pk", None)

    def create(self, validated_data: dict[str, Any]) -> Album:
        return _refusing(lambda: create_album(**validated_data))

    def update(self, instance: Album, validated_data: dict[str, Any]) -> Album:
        if "title" not in validated_data:
            return instance
        return _refusing(lambda: rename_album(instance, title=validated_data["title"]))


def _refusing(change: Callable[[], Album]) -> Album:
    try:
        return change()
    except ValidationError as error:
        raise serializers.ValidationError({"title": error.messages}) from error


class PhotoKeysField(serializers.ListField):
    """The keys of photos, at most a thousand."""

    def __init__(self, **kwargs: Any) -> None:
        key = serializers.IntegerField(min_value=1, max_value=LARGEST_KEY)
        super().__init__(child=key, allow_empty=False, max_length=1000, **kwargs)


class PhotoKeysSerializer(serializers.Serializer[Any]):
    """Photos by their keys; those that are not one's own, or in the trash, are left out."""

    photos = PhotoKeysField()


class ChangedSerializer(serializers.Serializer[Any]):
    """How many photos were concerned."""

    changed = serializers.IntegerField()


class HashField(TextField):
    """A SHA-256 in hexadecimal digits."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(min_length=64, max_length=64, trim_whitespace=False, **kwargs)
        self.validators.append(
            RegexValidator("^[0-9a-fA-F]{64}$", _lazy("A SHA-256 has 64 hexadecimal digits."))
        )


class HashesSerializer(serializers.Serializer[Any]):
    """The SHA-256 of files that may be uploaded."""

    sha256 = serializers.ListField(child=HashField(), allow_empty=False, max_length=1000)


class KnownPhotoSerializer(serializers.Serializer[Any]):
    """A photo that has one of the hashes; one in the trash comes back when it is uploaded."""

    sha256 = serializers.CharField()
    id = serializers.IntegerField()
    trashed = serializers.BooleanField()


class KnownPhotosSerializer(serializers.Serializer[Any]):
    """Of the hashes that are not among them, one has no photo."""

    found = KnownPhotoSerializer(many=True)


class PhotoIdsSerializer(serializers.Serializer[Any]):
    ids = PhotoKeysField()


class TrashedIdsSerializer(serializers.Serializer[Any]):
    """Which photos are in the trash now, and which keys are none of one's own photos."""

    trashed = serializers.ListField(child=serializers.IntegerField())
    not_found = serializers.ListField(child=serializers.IntegerField())
