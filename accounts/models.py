"""The people who have an account."""

from __future__ import annotations

from typing import Any, Self

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.contrib.postgres.fields import ArrayField
from django.db import models, transaction
from django.db.models import Q
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from t2isearch.saving import StaysDeleted


class User(StaysDeleted, AbstractUser):
    """A person. The e-mail address signs in as well as the user name, so it is unique."""

    email = models.EmailField(_("e-mail address"), unique=True)
    quota_bytes = models.PositiveBigIntegerField(
        _("quota in bytes"),
        null=True,
        blank=True,
        help_text=_("How much this person may store. Empty: the site's default."),
    )
    # Goes into the hash that each session carries: counting up ends all that are open.
    session_epoch = models.PositiveIntegerField(default=0, db_default=0, editable=False)

    class Meta(AbstractUser.Meta):
        constraints = [
            models.UniqueConstraint(
                Lower("username"),
                name="accounts_user_username_ci_unique",
                violation_error_message=_("A user with that username already exists."),
            ),
            models.UniqueConstraint(
                Lower("email"),
                name="accounts_user_email_ci_unique",
                violation_error_message=_("A user with that e-mail address already exists."),
            ),
        ]

    def clean(self) -> None:
        super().clean()
        self.email = self.email.lower()

    def save(self, *args: Any, **kwargs: Any) -> None:
        # django-allauth looks addresses up in lower case.
        self.email = self.email.lower()
        # Set by `set_password` until it is saved, whichever way the password is changed, and not
        # where its hash alone is made anew.
        new_password = getattr(self, "_password", None) is not None and not self._state.adding
        with transaction.atomic():
            super().save(*args, **kwargs)
            if new_password:
                self.end_tokens()

    def end_tokens(self) -> None:
        """Make programs ask anew. Who changes a password means to lock others out."""
        AccessToken.objects.owned_by(self).delete()

    def _get_session_auth_hash(self, secret: str | None = None) -> str:
        # As Django's, with the number of times that the person's sessions were ended.
        before: str = super()._get_session_auth_hash(secret)  # type: ignore[misc]
        return f"{before}-{self.session_epoch}" if self.session_epoch else before

    @property
    def storage_limit(self) -> int | None:
        """Bytes of originals this person may store; None for no limit."""
        if self.quota_bytes is not None:
            return self.quota_bytes
        limit: int | None = settings.DEFAULT_QUOTA_BYTES
        return limit


class Scope(models.TextChoices):
    """What an access token may be used for."""

    PHOTOS_READ = "photos:read", _("See photos, albums and the trash, and download files")
    PHOTOS_WRITE = "photos:write", _("Upload, change and delete photos and albums")
    SEARCH = "search", _("Search")


class AccessTokenQuerySet(models.QuerySet["AccessToken"]):
    def owned_by(self, user: User) -> Self:
        """The person's own tokens."""
        return self.filter(owner=user)

    def by_password(self) -> Self:
        """Those that a program got for the password alone."""
        return self.filter(by_password=True)

    def valid(self) -> Self:
        """Those that still open something: not expired, and of somebody who may sign in."""
        unexpired = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
        return self.filter(unexpired, owner__is_active=True)


class AccessToken(StaysDeleted):
    """A secret by which a program uses the API as a person, within some scopes.

    Of the secret only the SHA-256 is kept: it has 256 random bits, so that no slow hash is needed
    to keep it from being guessed. `prefix` is its beginning, by which the person knows it again. A
    revoked token is deleted.

    A person gives each a name of its own, save those that programs get for the password.
    """

    owner = models.ForeignKey(
        User, models.CASCADE, related_name="access_tokens", verbose_name=_("owner")
    )
    name = models.CharField(_("name"), max_length=100)
    secret_sha256 = models.CharField(max_length=64, unique=True, editable=False)
    prefix = models.CharField(_("begins with"), max_length=12, editable=False)
    by_password = models.BooleanField(
        _("for the password alone"), default=False, db_default=False, editable=False
    )
    scopes = ArrayField(models.CharField(max_length=20, choices=Scope), verbose_name=_("scopes"))
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    last_used_at = models.DateTimeField(_("last used"), null=True, blank=True, editable=False)

    objects = AccessTokenQuerySet.as_manager()

    class Meta:
        verbose_name = _("access token")
        verbose_name_plural = _("access tokens")
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(
                "owner",
                Lower("name"),
                condition=Q(by_password=False),
                name="accounts_accesstoken_name_once_per_owner",
                violation_error_message=_("You have a token of this name already."),
            ),
            models.CheckConstraint(condition=~Q(scopes=[]), name="accounts_accesstoken_has_scopes"),
        ]

    def __str__(self) -> str:
        # Those of the password were named by the site, in English.
        return gettext(self.name) if self.by_password else self.name

    @property
    def is_expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= timezone.now()

    @property
    def scope_labels(self) -> list[str]:
        """The scopes in words, in the order of `Scope`."""
        return [str(scope.label) for scope in Scope if scope.value in self.scopes]
