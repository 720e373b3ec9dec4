"""Words for real and fake, wherever they stand: in folder names, manifests, archives and Parquet files."""

from __future__ import annotations

from collections.abc import Sequence

from cinemae.errors import SourceError

REAL_NAMES = frozenset({"real", "nature", "0_real"})
FAKE_NAMES = frozenset({"fake", "ai", "1_fake"})
SPLIT_NAMES = frozenset({"train", "val", "valid", "validation", "test"})
CLASS_NAMES: dict[int | None, str] = {0: "real", 1: "fake", None: ""}
LABEL_WORDS: dict[str, int | None] = {"0": 0, "real": 0, "1": 1, "fake": 1, "": None}


def label_from_folders(folders: Sequence[str], root_name: str) -> tuple[int | None, str | None]:
    """Return the label and generator that the names of folders tell; `read_records` says by which rules.

    Args:
        folders: Below the source and above the image, outermost first.
        root_name: Of the source folder itself.

    Example:
        >>> label_from_folders(["Midjourney", "imagenet_midjourney", "train", "ai"], "GenImage")
        (1, 'Midjourney')
        >>> label_from_folders(["holiday"], "0_real")
        (0, 'holiday')
    """
    for index, folder in enumerate(folders):
        label = label_of_name(folder)
        if label is not None:
            return label, _generator(folders[:index], folders[index + 1 :])
    label = label_of_name(root_name)
    return label, None if label is None else _generator((), folders)


def label_of_name(name: str) -> int | None:
    """Return the label that a folder's name stands for, in any case; None for other names."""
    word = name.casefold()
    return 0 if word in REAL_NAMES else 1 if word in FAKE_NAMES else None


def naming_folder(folders: Sequence[str], root_name: str, label: int) -> str | None:
    """Return the folder that names a label, the outermost of those that do; None where none does.

    Args:
        folders: Below the source and above the image, outermost first.
        root_name: Of the source folder itself.
        label: Which was read.

    Example:
        >>> naming_folder(["Midjourney", "val", "nature"], "GenImage", 0), naming_folder(["a"], "fake", 0)
        ('nature', None)
    """
    return next((name for name in (*folders, root_name) if label_of_name(name) == label), None)


def label_of_value(value: object, where: str) -> int | None:
    """Return the label that a word or number in a file stands for: 0, 1, real, fake or a folder's name; None if empty.

    Args:
        value: As it was read.
        where: The file, for the error.

    Raises:
        SourceError: If it is none of these.

    Example:
        >>> label_of_value("Real", "a.cls"), label_of_value(1, "a.json"), label_of_value("ai", "a.cls")
        (0, 1, 1)
    """
    word = str(value).strip().casefold()
    if word in LABEL_WORDS:
        return LABEL_WORDS[word]
    label = label_of_name(word)
    if label is None:
        raise SourceError(
            f"a label is 0, 1, real, fake or a folder name that stands for one; {where} says "
            f"{str(value).strip()[:80]!r}: correct it."
        )
    return label


def generator_of_value(value: object) -> str | None:
    """Return a generator's name as it was read; where data sets write "real" or "fake" in its place, there is none.

    Example:
        >>> generator_of_value(" sdxl "), generator_of_value("Real"), generator_of_value(None)
        ('sdxl', None, None)
    """
    name = "" if value is None else str(value).strip()
    return name if name and name.casefold() not in REAL_NAMES | FAKE_NAMES else None


def _generator(above: Sequence[str], below: Sequence[str]) -> str | None:
    if below:
        return below[0]
    return next((folder for folder in above if folder.casefold() not in SPLIT_NAMES), None)
