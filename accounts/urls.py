from __future__ import annotations

from django.urls import path

from accounts import token_views, views

app_name = "accounts"

urlpatterns = [
    path("profile/", views.profile, name="profile"),
    path("delete/", views.delete, name="delete"),
    path("tokens/", token_views.tokens, name="tokens"),
    path("tokens/new/", token_views.new_token, name="new-token"),
    path("tokens/<int:pk>/revoke/", token_views.revoke, name="revoke-token"),
]
