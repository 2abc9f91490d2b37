from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
    extend_schema_view,
)
from rest_framework import exceptions, mixins, parsers, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.generics import get_object_or_404
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import Scope
from gallery.albums import add_to_album, delete_album, remove_from_album
from gallery.api.serializers import (
    AlbumSerializer,
    ChangedSerializer,
    HashesSerializer,
    KnownPhotosSerializer,
    PhotoIdsSerializer,
    PhotoKeysSerializer,
    PhotoSerializer,
    TrashedIdsSerializer,
    TrashedPhotoSerializer,
    UploadedPhotoSerializer,
    UploadSerializer,
)
from gallery.models import Album, Photo
from gallery.querysets import AlbumQuerySet, PhotoQuerySet
from gallery.services import add_photo, known_photos, retry_failed
from gallery.trash import delete_at_once, delete_for_good, ensure_trashed, move_to_trash, restore
from gallery.uploadhandler import check_received
from gallery.validators import RejectedUpload
from t2isearch.api_errors import SIGNED_IN, errors
from t2isearch.requests import positive_ints, signed_in


class NewestFirst(CursorPagination):
    ordering = "-id"
    page_size = 50
    page_size_query_param = "limit"
    max_page_size = 200

    def get_page_size(self, request: Request) -> int:
        limit = str(request.query_params.get("limit", self.page_size))
        match positive_ints(limit):
            case [number] if number <= self.max_page_size:
                return number
        raise exceptions.ValidationError(
            {"limit": [_("A number from 1 to %(most)d is wanted.") % {"most": self.max_page_size}]}
        )

    def decode_cursor(self, request: Request) -> Cursor | None:
        cursor: Cursor | None = super().decode_cursor(request)
        # Rest framework checks the form of a cursor, but not that its position is a key.
        if cursor is not None and cursor.position and not positive_ints(str(cursor.position)):
            raise exceptions.NotFound(self.invalid_cursor_message)
        return cursor

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        parameters: list[dict[str, Any]] = super().get_schema_operation_parameters(view)
        for parameter in parameters:
            if parameter["name"] == "limit":
                parameter["schema"] |= {"minimum": 1, "maximum": self.max_page_size}
        return parameters


KEY = OpenApiParameter("id", OpenApiTypes.INT64, OpenApiParameter.PATH)


@extend_schema_view(
    list=extend_schema(
        summary="One's photos, newest first",
        responses={200: PhotoSerializer(many=True), **SIGNED_IN, **errors(400, 404)},
    ),
    retrieve=extend_schema(
        summary="One photo",
        parameters=[KEY],
        responses={200: PhotoSerializer, **SIGNED_IN, **errors(404)},
    ),
    partial_update=extend_schema(
        summary="Change a photo's file name, time or caption, or make it a favourite",
        parameters=[KEY],
        responses={200: PhotoSerializer, **SIGNED_IN, **errors(400, 404, 415)},
    ),
    destroy=extend_schema(
        summary="Delete a photo for good",
        description="It does not go to the trash: see `POST /photos/{id}/trash/`.",
        parameters=[KEY],
        responses={204: None, **SIGNED_IN, **errors(404)},
    ),
    trash=extend_schema(
        summary="Move a photo to the trash",
        parameters=[KEY],
        request=None,
        responses={204: None, **SIGNED_IN, **errors(404)},
    ),
    check=extend_schema(
        summary="Ask which files are there already, by their SHA-256",
        description="Before an upload of many: what is found need not be sent. At most 1,000.",
        request=HashesSerializer,
        responses={200: KnownPhotosSerializer, **SIGNED_IN, **errors(400, 415)},
    ),
    retry=extend_schema(
        summary="Try again what failed, of all one's photos",
        description="Answers with how many photos that concerns. In the trash nothing is tried.",
        request=None,
        responses={200: ChangedSerializer, **SIGNED_IN},
    ),
    delete_many=extend_schema(
        summary="Move many photos to the trash",
        description=(
            "At most 1,000. It can be repeated: what is in the trash already counts as moved. "
            "Keys that are none of one's own photos are named and change nothing."
        ),
        request=PhotoIdsSerializer,
        responses={200: TrashedIdsSerializer, **SIGNED_IN, **errors(400, 415)},
    ),
)
class PhotoViewSet(
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    mixins.UpdateModelMixin,
    mixins.DestroyModelMixin,
    viewsets.GenericViewSet[Photo],
):
    """The signed-in person's own photos. Another person's photo does not exist here."""

    queryset = Photo.objects.none()
    serializer_class = PhotoSerializer
    pagination_class = NewestFirst
    http_method_names = ["get", "post", "patch", "delete", "head", "options"]
    # Whatever is no key is answered here, as JSON, and not by the page for unknown addresses.
    lookup_value_regex = "[^/]+"
    required_scopes = {
        "list": Scope.PHOTOS_READ,
        "retrieve": Scope.PHOTOS_READ,
        "create": Scope.PHOTOS_WRITE,
        "partial_update": Scope.PHOTOS_WRITE,
        "destroy": Scope.PHOTOS_WRITE,
        "trash": Scope.PHOTOS_WRITE,
        # It says no more than the answers of uploads do.
        "check": Scope.PHOTOS_WRITE,
        "delete_many": Scope.PHOTOS_WRITE,
        "retry": Scope.PHOTOS_WRITE,
    }

    @property
    def throttle_scope(self) -> str | None:
        return "upload" if self.action == "create" else None

    def get_queryset(self) -> PhotoQuerySet:
        return Photo.objects.owned_by(self.request.user).for_display()

    def get_parsers(self) -> list[parsers.BaseParser]:
        # An upload is a form with a file and nothing else. The schema is drawn without a request.
        uploading = getattr(self, "action_map", {}).get("post") == "create"
        if uploading and getattr(self.request, "method", None) == "POST":
            return [parsers.MultiPartParser()]
        return super().get_parsers()

    @extend_schema(
        request={"multipart/form-data": UploadSerializer},
        responses={
            201: UploadedPhotoSerializer,
            200: OpenApiResponse(UploadedPhotoSerializer, "The same bytes were there already."),
            **SIGNED_IN,
            **errors(400, 415, 503, 507),
        },
    )
    def create(self, request: Request) -> Response:
        """Upload a photo."""
        upload = UploadSerializer(data=request.data)
        try:
            check_received(request._request)
            upload.is_valid(raise_exception=True)
            file = upload.validated_data["file"]
            added = add_photo(owner=signed_in(request), file=file, filename=file.name)
        except RejectedUpload as rejected:
            raise serializers.ValidationError(
                {"file": rejected.messages}, code=rejected.code
            ) from rejected
        added.photo.duplicate = added.duplicate  # type: ignore[attr-defined]
        return Response(
            UploadedPhotoSerializer(added.photo, context=self.get_serializer_context()).data,
            status=status.HTTP_200_OK if added.duplicate else status.HTTP_201_CREATED,
        )

    def perform_destroy(self, instance: Photo) -> None:
        delete_at_once(instance)

    @action(detail=True, methods=["post"])
    def trash(self, request: Request, pk: str) -> Response:
        move_to_trash(owner=signed_in(request), photo_ids=[self.get_object().pk])
        return Response(status=status.HTTP_204_NO_CONTENT)

    @action(detail=False, methods=["post"], pagination_class=None)
    def check(self, request: Request) -> Response:
        sent = HashesSerializer(data=request.data)
        sent.is_valid(raise_exception=True)
        known = known_photos(owner=signed_in(request), sha256s=sent.validated_data["sha256"])
        found = [
            {"sha256": each.sha256, "id": each.pk, "trashed": each.trashed_at is not None}
            for each in known
        ]
        return Response({"found": found})

    @action(detail=False, methods=["post"], pagination_class=None)
    def retry(self, request: Request) -> Response:
        return Response({"changed": retry_failed(owner=signed_in(request))})

    @action(detail=False, methods=["post"], url_path="delete", pagination_class=None)
    def delete_many(self, request: Request) -> Response:
        sent = PhotoIdsSerializer(data=request.data)
        sent.is_valid(raise_exception=True)
        ids = set(sent.validated_data["ids"])
        trashed = ensure_trashed(owner=signed_in(request), photo_ids=ids)
        return Response({"trashed": sorted(trashed), "not_found": sorted(ids - trashed)})


@extend_schema_view(
    list=extend_schema(
        summary="One's photos in the trash, newest first",
        responses={200: TrashedPhotoSerializer(many=True), **SIGNED_IN, **errors(400, 404)},
    ),
    retrieve=extend_schema(
        summary="One photo in the trash",
        parameters=[KEY],
        responses={200: TrashedPhotoSerializer, **SIGNED_IN, **errors(404)},
    ),
    destroy=extend_schema(
        summary="Delete a photo in the trash for good",
        parameters=[KEY],
        responses={204: None, **SIGNED_IN, **errors(404)},
    ),
    restore=extend_schema(
        summary="Take a photo out of the trash",
        parameters=[KEY],
        request=None,
        responses={200: PhotoSerializer, **SIGNED_IN, **errors(404)},
    ),
)
class TrashViewSet(
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    mixins.DestroyModelMixin,
    viewsets.GenericViewSet[Photo],
):
    """What the signed-in person has in the trash."""

    queryset = Photo.objects.none()
    serializer_class = TrashedPhotoSerializer
    pagination_class = NewestFirst
    http_method_names = ["get", "post", "delete", "head", "options"]
    lookup_value_regex = "[^/]+"
    required_scopes = {
        "list": Scope.PHOTOS_READ,
        "retrieve": Scope.PHOTOS_READ,
        "destroy": Scope.PHOTOS_WRITE,
        "restore": Scope.PHOTOS_WRITE,
    }

    def get_queryset(self) -> PhotoQuerySet:
        return Photo.objects.trashed_of(self.request.user).for_display()

    def perform_destroy(self, instance: Photo) -> None:
        delete_for_good(owner=signed_in(self.request), photo_ids=[instance.pk])

    @action(detail=True, methods=["post"])
    def restore(self, request: Request, pk: str) -> Response:
        owner, photo = signed_in(request), self.get_object()
        restore(owner=owner, photo_ids=[photo.pk])
        restored = get_object_or_404(Photo.objects.owned_by(owner).for_display(), pk=photo.pk)
        return Response(PhotoSerializer(restored, context=self.get_serializer_context()).data)


@extend_schema_view(
    list=extend_schema(
        summary="One's albums, newest first",
        responses={200: AlbumSerializer(many=True), **SIGNED_IN, **errors(400, 404)},
    ),
    create=extend_schema(
        summary="Make an album",
        responses={201: AlbumSerializer, **SIGNED_IN, **errors(400, 415)},
    ),
    retrieve=extend_schema(
        summary="One album",
        parameters=[KEY],
        responses={200: AlbumSerializer, **SIGNED_IN, **errors(404)},
    ),
    partial_update=extend_schema(
        summary="Give an album another title",
        parameters=[KEY],
        responses={200: AlbumSerializer, **SIGNED_IN, **errors(400, 404, 415)},
    ),
    destroy=extend_schema(
        summary="Delete an album; its photos stay",
        parameters=[KEY],
        responses={204: None, **SIGNED_IN, **errors(404)},
    ),
    photos=extend_schema(
        summary="The photos of an album, newest first",
        parameters=[KEY],
        responses={200: PhotoSerializer(many=True), **SIGNED_IN, **errors(400, 404)},
    ),
    add=extend_schema(
        summary="Put photos into an album",
        parameters=[KEY],
        request=PhotoKeysSerializer,
        responses={200: ChangedSerializer, **SIGNED_IN, **errors(400, 404, 415)},
    ),
    remove=extend_schema(
        summary="Take photos out of an album; they stay in the gallery",
        parameters=[KEY],
        request=PhotoKeysSerializer,
        responses={200: ChangedSerializer, **SIGNED_IN, **errors(400, 404, 415)},
    ),
)
class AlbumViewSet(
    mixins.ListModelMixin,
    mixins.CreateModelMixin,
    mixins.RetrieveModelMixin,
    mixins.UpdateModelMixin,
    mixins.DestroyModelMixin,
    viewsets.GenericViewSet[Album],
):
    """The signed-in person's own albums."""

    queryset = Album.objects.none()
    serializer_class = AlbumSerializer
    pagination_class = NewestFirst
    http_method_names = ["get", "post", "patch", "delete", "head", "options"]
    lookup_value_regex = "[^/]+"
    required_scopes = {
        "list": Scope.PHOTOS_READ,
        "retrieve": Scope.PHOTOS_READ,
        "photos": Scope.PHOTOS_READ,
        "create": Scope.PHOTOS_WRITE,
        "partial_update": Scope.PHOTOS_WRITE,
        "destroy": Scope.PHOTOS_WRITE,
        "add": Scope.PHOTOS_WRITE,
        "remove": Scope.PHOTOS_WRITE,
    }

    def get_queryset(self) -> AlbumQuerySet:
        return Album.objects.owned_by(self.request.user).for_display()

    def perform_create(self, serializer: serializers.BaseSerializer[Album]) -> None:
        serializer.save(owner=signed_in(self.request))

    def perform_destroy(self, instance: Album) -> None:
        delete_album(instance)

    @action(detail=True, methods=["get"])
    def photos(self, request: Request, pk: str) -> Response:
        own = Photo.objects.owned_by(request.user).in_album(self.get_object())
        page = self.paginate_queryset(own.for_display())  # type: ignore[arg-type]
        context = self.get_serializer_context()
        return self.get_paginated_response(
            PhotoSerializer(page, many=True, context=context).data  # type: ignore[arg-type]
        )

    @action(detail=True, methods=["post"])
    def add(self, request: Request, pk: str) -> Response:
        changed = add_to_album(self.get_object(), photo_ids=self._keys(request))
        return Response({"changed": changed})

    @action(detail=True, methods=["post"])
    def remove(self, request: Request, pk: str) -> Response:
        changed = remove_from_album(self.get_object(), photo_ids=self._keys(request))
        return Response({"changed": changed})

    def _keys(self, request: Request) -> list[int]:
        sent = PhotoKeysSerializer(data=request.data)
        sent.is_valid(raise_exception=True)
        keys: list[int] = sent.validated_data["photos"]
        return keys
