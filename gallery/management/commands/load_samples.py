from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from gallery.management.commands.import_photos import ImportCommand, owner_named

# Photos that scikit-image and scikit-learn ship, each in the public domain or free to use: see the
# README.txt beside them.
SAMPLES = {
    "skimage.data": (
        "astronaut.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "grass.png",
        "hubble_deep_field.jpg", "moon.png", "motorcycle_left.png", "rocket.jpg",
    ),
    "sklearn.datasets.images": ("china.jpg", "flower.jpg"),
}  # fmt: skip


class Command(ImportCommand):
    help = "Bring a dozen free photos into someone's gallery, for a first look."

    def handle(self, *args: Any, user: str, **options: Any) -> None:
        paths = [
            Path(str(files(package) / name)) for package, names in SAMPLES.items() for name in names
        ]
        self.import_files(owner_named(user), paths)
