from __future__ import annotations

from django.urls import path

from search import duplicate_views, saved_views, views

app_name = "search"

urlpatterns = [
    path("", views.results, name="results"),
    path("details/", views.refine, name="refine"),
    path("picture/", views.picture, name="picture"),
    path("picture/<int:pk>/", views.picture_file, name="picture-file"),
    path("similar/<int:pk>/", views.similar, name="similar"),
    path("suggestions/", saved_views.suggestions, name="suggestions"),
    path("recent/clear/", saved_views.clear_recent, name="clear-recent"),
    path("saved/", saved_views.saved, name="saved"),
    path("saved/new/", saved_views.save, name="save"),
    path("saved/<int:pk>/delete/", saved_views.delete_saved, name="delete-saved"),
    path("duplicates/", duplicate_views.duplicates, name="duplicates"),
    path("duplicates/scan/", duplicate_views.scan_duplicates, name="scan-duplicates"),
    path("duplicates/resolve/", duplicate_views.resolve_duplicates, name="resolve-duplicates"),
]
