from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView

from t2isearch import health
from t2isearch.api_docs import api_docs
from t2isearch.languages import language
from t2isearch.metrics import metrics

urlpatterns = [
    path("", include("gallery.urls")),
    path("search/", include("search.urls")),
    path("accounts/", include("accounts.urls")),
    path("accounts/", include("allauth.urls")),
    path("admin/", admin.site.urls),
    path("api/v1/", include("t2isearch.api_urls")),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", api_docs, name="api-docs"),
    path("healthz", health.healthz, name="healthz"),
    path("language/", language, name="set_language"),
    path("metrics", metrics, name="metrics"),
    path("readyz", health.readyz, name="readyz"),
]

handler400 = "t2isearch.problems.bad_request"
handler404 = "t2isearch.problems.not_found"
handler500 = "t2isearch.outages.server_error"
