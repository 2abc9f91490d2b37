from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as BaseUserAdmin
from django.db.models import Count, QuerySet, Sum
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext_lazy as _

from accounts.models import AccessToken, User
from accounts.services import delete_account

if TYPE_CHECKING:
    TypedUserAdmin = BaseUserAdmin[User]
    TypedTokenAdmin = admin.ModelAdmin[AccessToken]
else:
    TypedUserAdmin = BaseUserAdmin
    TypedTokenAdmin = admin.ModelAdmin


@admin.register(User)
class UserAdmin(TypedUserAdmin):
    list_display = (
        "username",
        "email",
        "photos",
        "stored",
        "quota",
        "is_staff",
        "is_active",
        "last_login",
    )
    list_filter = ("is_active", "is_staff", "is_superuser", "date_joined")
    search_fields = ("username", "email", "first_name", "last_name")
    date_hierarchy = "date_joined"
    fieldsets = (
        *(BaseUserAdmin.fieldsets or ()),
        (_("Storage"), {"fields": ("quota_bytes", "photos", "stored")}),
    )
    readonly_fields = ("photos", "stored", "last_login", "date_joined")
    add_fieldsets = (
        (
            None,
            {
                "classes": ("wide",),
                "fields": ("username", "email", "usable_password", "password1", "password2"),
            },
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        return (
            super()
            .get_queryset(request)
            .annotate(
                photo_count=Count("photos"), stored_bytes=Sum("photos__size_bytes", default=0)
            )
        )

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        delete_account(user=obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        for user in queryset.order_by("pk"):
            delete_account(user=user)

    @admin.display(description=_("photos"), ordering="photo_count")
    def photos(self, user: User) -> int:
        return getattr(user, "photo_count", 0)

    @admin.display(description=_("stored"), ordering="stored_bytes")
    def stored(self, user: User) -> str:
        return filesizeformat(getattr(user, "stored_bytes", 0))

    @admin.display(description=_("limit"))
    def quota(self, user: User) -> str:
        return str(_("none")) if user.storage_limit is None else filesizeformat(user.storage_limit)


@admin.register(AccessToken)
class AccessTokenAdmin(TypedTokenAdmin):
    """Whose tokens there are, to revoke one by deleting it. Nobody makes one for another."""

    list_display = ("name", "owner", "prefix", "scopes", "created_at", "expires_at", "last_used_at")
    list_select_related = ("owner",)
    search_fields = ("name", "prefix", "owner__username")
    fields = list_display

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False
