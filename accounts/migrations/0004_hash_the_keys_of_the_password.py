import hashlib
from datetime import timedelta

from django.db import migrations
from django.utils import timezone

BATCH = 1000
# As `accounts.tokens` makes them.
NAME = "Signed in with the password"
SCOPES = ["photos:read", "photos:write", "search"]
LIFETIME = timedelta(days=90)
# Less is shown than of others: these keys are shorter.
SHOWN = 8


def hash_the_keys(apps, schema_editor):
    """Keys stood in the clear and had no end. They go on working until they are over.

    Those of people with a second step do not: a password alone got them.
    """
    Token = apps.get_model("authtoken", "Token")
    AccessToken = apps.get_model("accounts", "AccessToken")
    Authenticator = apps.get_model("mfa", "Authenticator")
    two_steps = Authenticator.objects.filter(type__in=["totp", "webauthn"])
    tokens = Token.objects.exclude(user__in=two_steps.values("user"))
    expires_at = timezone.now() + LIFETIME
    AccessToken.objects.bulk_create(
        (
            AccessToken(
                owner_id=token.user_id,
                name=NAME,
                by_password=True,
                secret_sha256=hashlib.sha256(token.key.encode()).hexdigest(),
                prefix=token.key[:SHOWN],
                scopes=SCOPES,
                created_at=token.created,
                expires_at=expires_at,
            )
            for token in tokens.iterator(BATCH)
        ),
        batch_size=BATCH,
    )
    Token.objects.all().delete()


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0003_sessions_and_tokens_end'),
        ('authtoken', '0004_alter_tokenproxy_options'),
        ('mfa', '0003_authenticator_type_uniq'),
    ]

    operations = [
        migrations.RunPython(hash_the_keys, migrations.RunPython.noop, elidable=True),
    ]
