"""The API, version 1."""

from __future__ import annotations

from django.urls import include, path
from rest_framework.routers import SimpleRouter

from accounts.api import TokenView
from gallery.api.uploads import UploadsView, UploadView
from gallery.api.views import AlbumViewSet, PhotoViewSet, TrashViewSet
from search.api.views import SearchView

router = SimpleRouter()
router.register("photos", PhotoViewSet, basename="photo")
router.register("albums", AlbumViewSet, basename="album")
router.register("trash", TrashViewSet, basename="trash")

app_name = "api"

urlpatterns = [
    path("auth/token/", TokenView.as_view(), name="token"),
    path("search/", SearchView.as_view(), name="search"),
    path("uploads/", UploadsView.as_view(), name="upload-list"),
    path("uploads/<uuid:pk>/", UploadView.as_view(), name="upload-detail"),
    path("", include(router.urls)),
]
