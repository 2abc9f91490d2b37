from __future__ import annotations

from django.urls import include, path, re_path

from gallery.serving import VARIANTS
from gallery.views import albums, bulk, download, photos, shared, sharing, timeline, trash
from gallery.views.bulk import ACTIONS

app_name = "gallery"

KEY = r"(?P<pk>\d{1,18})"

shared_patterns = [
    path("", shared.page, name="shared"),
    path("tiles/", shared.tiles, name="shared-tiles"),
    path("download/", shared.download, name="shared-download"),
    path("photos/<int:pk>/", shared.photo, name="shared-photo"),
    re_path(rf"^photos/{KEY}/(?P<variant>{'|'.join(VARIANTS)})/$", shared.file, name="shared-file"),
]

urlpatterns = [
    path("", photos.photos, name="photos"),
    path("favourites/", photos.favourites, name="favourites"),
    path("timeline/days/", timeline.days, name="timeline-days"),
    path("timeline/tiles/", timeline.tiles, name="timeline-tiles"),
    path("timeline/keys/", timeline.keys, name="timeline-keys"),
    path("photos/states/", photos.states, name="states"),
    path("photos/download/", bulk.download, name="download"),
    re_path(rf"^photos/bulk/(?P<action>{'|'.join(ACTIONS)})/$", bulk.act, name="bulk"),
    path("photos/retry/", photos.retry_all, name="retry-all"),
    path("photos/<int:pk>/", photos.photo, name="photo"),
    path("photos/<int:pk>/trash/", photos.trash, name="photo-trash"),
    path("photos/<int:pk>/retry/", photos.retry, name="retry"),
    path("photos/<int:pk>/favourite/", photos.favourite, name="favourite"),
    path("photos/<int:pk>/caption/", photos.caption, name="caption"),
    re_path(rf"^photos/{KEY}/(?P<variant>{'|'.join(VARIANTS)})/$", photos.file, name="file"),
    path("albums/", albums.albums, name="albums"),
    path("albums/choices/", albums.choices, name="album-choices"),
    path("albums/<int:pk>/", albums.album, name="album"),
    path("albums/<int:pk>/rename/", albums.rename, name="album-rename"),
    path("albums/<int:pk>/delete/", albums.delete, name="album-delete"),
    path("albums/<int:pk>/cover/", albums.cover, name="album-cover"),
    path("albums/<int:pk>/download/", albums.download, name="album-download"),
    path("trash/", trash.trash, name="trash"),
    path("trash/empty/", trash.empty, name="trash-empty"),
    re_path(rf"^trash/{KEY}/(?P<variant>thumbnail|preview)/$", trash.file, name="trashed-file"),
    path("links/", sharing.links, name="links"),
    path("links/create/", sharing.create, name="share"),
    path("links/<int:pk>/close/", sharing.close, name="link-close"),
    path("export/", download.account, name="export"),
    path("s/<str:token>/", include(shared_patterns)),
]
