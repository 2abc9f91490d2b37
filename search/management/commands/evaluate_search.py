from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.table import Table

from gallery.management.commands.import_photos import owner_named
from search.encoders import EncoderInfo, EncoderUnavailable, choose_encoder
from search.evaluation import (
    EvaluationReport,
    LabelledPhotos,
    LabelledQuery,
    evaluate,
    photos_in,
    photos_of,
    read_queries,
)
from search.models import SearchIndex
from t2isearch.progress import progress_report

K = (1, 5, 10, 20)


class Command(BaseCommand):
    help = (
        "Say how good the search is, for one encoder or several side by side: recall@k, mean "
        "average precision and latency over photos whose right answers are known."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        photos = parser.add_mutually_exclusive_group(required=True)
        photos.add_argument("--photos", type=Path, help="a folder of photos")
        photos.add_argument("--user", help="the photos of this person")
        parser.add_argument(
            "--queries",
            type=Path,
            required=True,
            help="lines of a query, a tab, and the names (without suffix) of the photos it finds",
        )
        parser.add_argument(
            "--encoder",
            action="append",
            default=[],
            help="as for SEARCH_ENCODER; may be repeated (default: the one in use)",
        )
        parser.add_argument("--worst", type=int, default=0, help="list so many queries that fail")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            queries = read_queries(options["queries"])
            if options["user"]:
                photos = photos_of(owner_named(options["user"]))
            else:
                photos = photos_in(options["photos"])
            reports = [
                self._evaluate(info, photos, queries) for info in _encoders(options["encoder"])
            ]
        except KeyboardInterrupt:
            raise CommandError("Interrupted.", returncode=130) from None
        except (ValueError, OSError, EncoderUnavailable) as error:
            raise CommandError(str(error)) from error
        self._print_table(reports)
        for report in reports:
            self._print_worst(report, options["worst"])

    def _evaluate(
        self, info: EncoderInfo, photos: LabelledPhotos, queries: list[LabelledQuery]
    ) -> EvaluationReport:
        with progress_report(f"Embedding with {info.name}", len(photos)) as show:
            return evaluate(info, photos, queries, K, on_progress=lambda done: show(done, None))

    def _print_table(self, reports: list[EvaluationReport]) -> None:
        table = Table(
            "encoder", "photos", "unreadable", "mean AP", *(f"recall@{k}" for k in K),
            "ms/photo", "ms/query",
        )  # fmt: skip
        for column in table.columns[1:]:
            column.justify = "right"
        for report in reports:
            table.add_row(
                f"{report.encoder.name} {report.encoder.revision[:12]}",
                str(report.photos),
                str(len(report.unreadable)),
                f"{report.mean_average_precision:.3f}",
                *(f"{report.mean_recall[k]:.3f}" for k in K),
                f"{report.seconds_per_photo * 1000:.1f}",
                f"{report.seconds_per_query * 1000:.1f}",
            )
        console = Console(width=None if self.stdout.isatty() else 160)
        with console.capture() as printed:
            console.print(table)
        self.stdout.write(printed.get())

    def _print_worst(self, report: EvaluationReport, number: int) -> None:
        for score in sorted(report.scores, key=lambda score: score.average_precision)[:number]:
            self.stdout.write(
                f"{report.encoder.name}: {score.average_precision:.3f} “{score.query.text}”"
            )


def _encoders(names: list[str]) -> list[EncoderInfo]:
    if names:
        return [choose_encoder(name).info for name in names]
    index = SearchIndex.objects.active()
    if index is None:
        raise CommandError("There is no index yet: name an encoder with --encoder.")
    return [index.encoder_info]
