"""A database and a Milvus Lite of a benchmark's own, thrown away at the end."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any


def start_services(stack: ExitStack) -> None:
    """Start what no variable names, set Django up, migrate, and collect the static files."""
    from t2isearch.embedded.child import Child, python_environment
    from t2isearch.embedded.service import unconfigured_services, wait_for_service
    from t2isearch.embedded.state import Layout, own_secret_key

    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="t2isearch-bench-")))
    directory.chmod(0o711)
    layout = Layout(directory)
    layout.create()
    layout.static.mkdir()
    os.environ["VAR_DIR"] = str(directory)
    own_secret_key(layout)
    for service in unconfigured_services(layout):
        child = Child(service.program(), layout, python_environment(layout))
        child.start()
        stack.callback(child.stop)
        wait_for_service(service, child)
        os.environ[service.variable] = service.address

    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "t2isearch.settings")
    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)


def add_rows(index: Any, count: int, *, owners: int, name: str = "p") -> list[Any]:
    """Photos without pictures, indexed with random embeddings that PostgreSQL keeps.

    The people's names begin with `name`. Statistics are taken, as autovacuum would soon.
    """
    import numpy as np
    from django.db import connection
    from django.utils import timezone

    from accounts.models import User
    from gallery.models import Photo
    from search.models import PhotoIndexing

    people = User.objects.bulk_create(
        [
            User(username=f"{name}{number}", email=f"{name}{number}@example.org")
            for number in range(owners)
        ]
    )
    photos = Photo.objects.bulk_create(
        [
            Photo(
                owner=people[number % owners], sha256=f"{number:064}", filename=f"{number}.jpg",
                media_type="image/jpeg", size_bytes=1, width=4, height=3, state="ready",
                thumbnail="x", preview="x", thumbnail_width=512, thumbnail_height=384,
            )
            for number in range(count)
        ],
        batch_size=2000,
    )  # fmt: skip
    vectors = np.random.default_rng(0).normal(size=(count, index.dimension))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    PhotoIndexing.objects.bulk_create(
        [
            PhotoIndexing(
                photo=photo, index=index, state="done", indexed_at=timezone.now(),
                embedding=vector.astype("<f2").tobytes(),
            )
            for photo, vector in zip(photos, vectors, strict=True)
        ],
        batch_size=2000,
    )  # fmt: skip
    index.backfilled_to = None
    index.save(update_fields=["backfilled_to"])
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    return people
