"""``manifest.toml`` → pictures on disk: files that installed packages ship, and what is made of them, by category.

    python -m benchmarks.false_positives make DIR

writes ``DIR/real/CATEGORY/NAME`` and ``DIR/pictures.csv``, which says of each picture where it comes from. The same
versions of the packages make the same bytes; others may differ in a pixel here and there.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import inspect
import io
import tomllib
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.false_positives import art, cameras, paper, screens

MANIFEST = Path(__file__).with_name("manifest.toml")
LIST_FILE = "pictures.csv"
RECIPES: Mapping[str, Callable[..., Image.Image]] = MappingProxyType(
    {
        name: function
        for module in (cameras, screens, paper, art)
        for name, function in vars(module).items()
        if inspect.isfunction(function) and function.__module__ == module.__name__ and not name.startswith("_")
    }
)
"""Every public function of the modules of recipes, by name."""

_SEED = 0


class ManifestError(Exception):
    """The manifest, or a file of a package, is not what it should be."""


@dataclass(frozen=True)
class Source:
    """A file inside an installed package.

    Attributes:
        name: Short, of one word.
        package: As it is imported.
        path: Inside the package's folder.
        sha256: Of the file.
        licence: In words, with the author.
    """

    name: str
    package: str
    path: str
    sha256: str
    licence: str

    def read(self) -> bytes:
        """Return the file.

        Raises:
            ManifestError: If the package is not installed, or its file is another.
        """
        found = importlib.util.find_spec(self.package)
        if found is None or not found.submodule_search_locations:
            raise ManifestError(
                f"{self.name} is a file of {self.package}, which is not installed: pip install '.[dev]'."
            )
        file = Path(found.submodule_search_locations[0]) / self.path
        encoded = file.read_bytes() if file.is_file() else b""
        digest = hashlib.sha256(encoded).hexdigest()
        if digest != self.sha256:
            raise ManifestError(
                f"{file} must have the SHA-256 {self.sha256}, got {digest}: another version ships another."
            )
        return encoded


@dataclass(frozen=True)
class Picture:
    """One picture of the set.

    Attributes:
        category: What it is an example of.
        name: Of its file.
        source: What it is made from; None for a drawing.
        recipe: Name of the function that makes it; None for the source's file itself.
        options: Of the recipe.
        save: "png" or "jpeg=QUALITY"; "" for the file itself.
    """

    category: str
    name: str
    source: Source | None
    recipe: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    save: str = ""

    @property
    def key(self) -> str:
        """What tells pictures apart, and stays from release to release."""
        return f"{self.category}/{self.name}"

    @property
    def origin(self) -> str:
        """Where the picture comes from, in words."""
        made = "" if self.recipe is None else f", through {self.recipe}"
        if self.source is None:
            return f"drawn by {self.recipe}"
        return f"{self.source.package}/{self.source.path}{made}"

    def encode(self) -> bytes:
        """Return the file, the same each time.

        Raises:
            ManifestError: If the source cannot be had.
        """
        encoded = None if self.source is None else self.source.read()
        if self.recipe is None:
            return encoded or b""
        image = None if encoded is None else Image.open(io.BytesIO(encoded))
        rng = np.random.default_rng([_SEED, zlib.crc32(self.key.encode())])
        made = RECIPES[self.recipe](image, rng, **self.options)
        kind, _, quality = self.save.partition("=")
        buffer = io.BytesIO()
        made.save(buffer, kind.upper(), **({"quality": int(quality)} if quality else {}))
        return buffer.getvalue()


@dataclass(frozen=True)
class Manifest:
    """The set as it is written down.

    Attributes:
        sources: By name.
        about: What each category holds, in words.
        pictures: All of them, in the manifest's order.
    """

    sources: Mapping[str, Source]
    about: Mapping[str, str]
    pictures: tuple[Picture, ...]


def read_manifest(path: Path = MANIFEST) -> Manifest:
    """Read and check the manifest.

    Raises:
        ManifestError: If a source or recipe is unknown, an option does not fit, or two pictures share a name.
    """
    values = tomllib.loads(path.read_text(encoding="utf-8"))
    sources = {one["name"]: Source(**one) for one in values["source"]}
    pictures = [
        picture
        for category in values["category"]
        for line in category["pictures"]
        for picture in _pictures_of(category["name"], line, sources)
    ]
    keys = [picture.key for picture in pictures]
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        raise ManifestError(f"each picture needs a name of its own, {', '.join(twice)} stands twice: give it a tag.")
    about = {category["name"]: category["about"] for category in values["category"]}
    return Manifest(sources, about, tuple(pictures))


def _pictures_of(category: str, line: dict[str, Any], sources: Mapping[str, Source]) -> list[Picture]:
    options = dict(line)
    names = options.pop("of", [])
    count, recipe, tag, save = (options.pop(key, None) for key in ("count", "recipe", "tag", "save"))
    if unknown := sorted(set(names) - set(sources)):
        raise ManifestError(f"{category}: there is no source {', '.join(unknown)}: add it to the manifest.")
    if recipe is None:
        return [Picture(category, f"{name}{Path(sources[name].path).suffix}", sources[name]) for name in names]
    if recipe not in RECIPES:
        raise ManifestError(f"{category}: a recipe is one of {', '.join(sorted(RECIPES))}, got {recipe!r}.")
    try:
        inspect.signature(RECIPES[recipe]).bind(None, None, **options)
    except TypeError as error:
        raise ManifestError(f"{category}: the options of {recipe} do not fit: {error}.") from None
    suffix = "png" if save == "png" else "jpg"
    made = "-".join(part for part in (recipe.replace("_", "-"), tag) if part)
    stems = [(f"{name}-{made}", sources[name]) for name in names] or [
        (f"{made}-{number}", None) for number in range(1, (count or 0) + 1)
    ]
    return [Picture(category, f"{stem}.{suffix}", source, recipe, options, save) for stem, source in stems]


def make(folder: Path, pictures: tuple[Picture, ...] | None = None) -> list[Path]:
    """Write pictures and their list.

    Args:
        folder: New, or empty.
        pictures: Which; without them all of the manifest.

    Returns:
        The files, in the order of the pictures.

    Raises:
        ManifestError: If the folder holds something, or a source cannot be had.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ManifestError(f"the pictures need a new or empty folder, {folder} holds something: give another.")
    pictures = read_manifest().pictures if pictures is None else pictures
    files, rows = [], []
    for picture in pictures:
        file = folder / "real" / picture.key
        file.parent.mkdir(parents=True, exist_ok=True)
        encoded = picture.encode()
        file.write_bytes(encoded)
        files.append(file)
        licence = "" if picture.source is None else picture.source.licence
        digest = hashlib.sha256(encoded).hexdigest()
        rows.append([f"real/{picture.key}", "real", picture.category, picture.origin, licence, digest])
    with (folder / LIST_FILE).open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["path", "label", "generator", "origin", "licence", "sha256"])
        writer.writerows(rows)
    return files
