"""Make the regression set, and say who is accused of what, before and now."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.false_positives.page import PAGE, render
from benchmarks.false_positives.pictures import ManifestError, make, read_manifest
from benchmarks.false_positives.record import RECORDS, Record, measure, read_records, save_records, with_record
from benchmarks.false_positives.table import to_markdown
from benchmarks.measure import ROOT, WrongAnswerError
from cinemae.errors import CinemaeError


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except (CinemaeError, ManifestError, WrongAnswerError) as error:
        sys.exit(f"error: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.false_positives", description=__doc__)
    commands = parser.add_subparsers(required=True)
    made = commands.add_parser("make", help="write the pictures and their list")
    made.add_argument("folder", type=Path, help="new, or empty")
    made.set_defaults(run=_make)
    compared = commands.add_parser("compare", help="score them and print the table")
    compared.add_argument(
        "--before",
        help="a file of records, a model directory or a Hub id; without it the newest record, if there is one",
    )
    compared.add_argument(
        "--after", metavar="MODEL", help="a model directory or a Hub id; without it the bundled model"
    )
    compared.add_argument(
        "--pictures", type=Path, help="pictures made before; without it they are made and thrown away"
    )
    compared.add_argument("--out", type=Path, help="where the report of cinemae evaluate goes; without it nowhere")
    compared.add_argument("--save", action="store_true", help=f"keep the record in {RECORDS.relative_to(ROOT)}")
    compared.set_defaults(run=_compare)
    return parser


def _make(options: argparse.Namespace) -> None:
    files = make(options.folder)
    print(f"{len(files)} pictures in {options.folder / 'real'}")


def _compare(options: argparse.Namespace) -> None:
    manifest = read_manifest()
    with tempfile.TemporaryDirectory() as spare, _pictures(options.pictures) as folder:
        before = _before(options.before, folder, Path(spare) / "before")
        after = measure(folder, options.after, options.out or Path(spare) / "after")
    print(to_markdown(after, before, manifest))
    if options.save:
        save_records(with_record(read_records(), after))
        PAGE.write_text(render(), encoding="utf-8")


@contextmanager
def _pictures(folder: Path | None) -> Iterator[Path]:
    """Give made pictures; those that are made here are gone afterwards."""
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory() as made:
        make(Path(made))
        yield Path(made)


def _before(text: str | None, folder: Path, out: Path) -> Record | None:
    """Return the newest of some records, or measure a model."""
    if text is not None and not text.endswith(".json"):
        return measure(folder, text, out)
    records = read_records(RECORDS if text is None else Path(text))
    if text is not None and not records:
        raise ManifestError(f"{text} holds no record: compare --save writes them to {RECORDS.name}.")
    return records[-1] if records else None


if __name__ == "__main__":
    main()
