from __future__ import annotations

import subprocess
import sys
from typing import Any

import psutil
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.template.defaultfilters import filesizeformat

from search.encoders import (
    EncoderInfo,
    EncoderUnavailable,
    choose_encoder,
    describe,
    describe_runtime,
    load_image_encoder,
    load_text_encoder,
)
from search.models import SearchIndex
from t2isearch.embedded.state import BASE_DIR

LOADERS = {"image": load_image_encoder, "text": load_text_encoder}


class Command(BaseCommand):
    help = (
        "Show an encoder (the active index's, or --encoder NAME), what its towers run on here and "
        "why, and how much memory a process with each takes."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--encoder", help="a hub name, a folder, or “starter”")
        parser.add_argument(
            "--no-memory", action="store_true", help="do not load the towers to measure them"
        )
        parser.add_argument(
            "--load",
            choices=LOADERS,
            help="load one tower in this process, and say how many bytes the process then takes",
        )

    def handle(
        self,
        *args: Any,
        encoder: str | None,
        no_memory: bool,
        load: str | None,
        **options: Any,
    ) -> None:
        try:
            info = _asked_for(encoder)
            if load:
                LOADERS[load](info)
                self.stdout.write(str(psutil.Process().memory_info().rss))
                return
            report = describe_runtime(info)
        except EncoderUnavailable as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"encoder: {info.name}")
        self.stdout.write(f"revision: {info.revision}")
        self.stdout.write(f"dimension: {info.dimension}")
        self.stdout.write(f"family: {report.family}")
        self.stdout.write(f"languages: {', '.join(report.languages) or 'see the checkpoint'}")
        for part, tower in (("image", report.image), ("text", report.text)):
            runtime = tower.runtime
            self.stdout.write(
                f"{part} tower: {runtime.name} {runtime.precision} on {runtime.device}, "
                f"{runtime.threads} threads"
            )
            self.stdout.write(f"  why: {runtime.reason}")
            if tower.kept_at is not None:
                state = "" if tower.kept_at.is_dir() else " (made when first needed)"
                self.stdout.write(f"  kept in: {tower.kept_at}{state}")
            if not no_memory:
                self.stdout.write(f"  memory of a process with it: {_resident(part, encoder)}")


def _asked_for(encoder: str | None) -> EncoderInfo:
    if encoder is not None:
        return describe(encoder)
    index = SearchIndex.objects.active()
    return index.encoder_info if index else choose_encoder(settings.SEARCH_ENCODER).info


def _resident(part: str, encoder: str | None) -> str:
    """Measured in a process of its own, which holds nothing else."""
    command = [sys.executable, "manage.py", "encoder_info", "--load", part]
    if encoder is not None:
        command += ["--encoder", encoder]
    # The first may convert the tower, which takes memory that later ones do not need.
    for _try in range(2):
        result = subprocess.run(  # noqa: S603 - this very program
            command, capture_output=True, text=True, check=False, cwd=BASE_DIR
        )
        if result.returncode != 0:
            return (result.stderr.strip().splitlines() or ["?"])[-1]
    return filesizeformat(int(result.stdout))
