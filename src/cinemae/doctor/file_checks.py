"""Checks of single files: what cannot be read, and what will be read otherwise than its owner thinks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from cinemae.doctor.file_rows import FileRow
from cinemae.doctor.findings import Finding, Severity, count_of, singles

_MOST_KINDS = 6

_UNREADABLE: dict[str, tuple[str, bool, str, str, str]] = {
    "missing": (
        "missing",
        False,
        "Paths that lead to no file",
        "Every listed image must be there; {n} not (a line of the manifest, or a broken link).",
        "Fetch them again or take them off the list.",
    ),
    "empty": (
        "empty",
        False,
        "Empty files",
        "A picture has bytes; {n} empty (0 bytes), mostly after a download that broke off.",
        "Fetch them again or delete them.",
    ),
    "unlisted": (
        "unlisted",
        False,
        "Folders that cannot be listed",
        "What lies in a folder is examined file by file, and these folders may not be listed.",
        "Make them readable, or leave them out.",
    ),
    "not_a_picture": (
        "unreadable",
        True,
        "Files that are no pictures",
        "A file named as a picture must be one; {n} something else: {kinds}.",
        "Fetch the pictures again; an HTML page is most often an error page, an LFS pointer needs `git lfs pull`.",
    ),
    "damaged": (
        "unreadable",
        False,
        "Damaged pictures",
        "A picture must decode to its last pixel; {n} cut short, damaged or of a kind that is not read.",
        "Fetch them again or delete them: every command leaves them out.",
    ),
}
"""By check: status, whether the file is known to be something else, title, sentence, advice."""

_TRAITS: dict[str, tuple[Severity, str, str, str]] = {
    "wrong_suffix": (
        "warning",
        "Names that end in another format",
        "A name should end as its format does; {n} saved in another format than the name says",
        "Rename them: programs that go by the name will fail or leave them out. cinemae goes by the first bytes.",
    ),
    "animated": (
        "note",
        "Animations",
        "Of an animation only the first frame is looked at; {n} animated",
        "Nothing, if the first frame is what you mean.",
    ),
    "cmyk": (
        "note",
        "CMYK pictures",
        "Pictures for print are converted to RGB, by their colour profile if they have one; {n} CMYK",
        "Nothing, if both classes hold such files; else save all as RGB.",
    ),
    "16-bit": (
        "note",
        "Pictures with 16 bits a channel",
        "Of 16-bit values the high byte is kept; {n} of this kind",
        "Nothing, if both classes hold such files; else save all with 8 bits.",
    ),
}


def check_files(rows: Sequence[FileRow]) -> list[Finding]:
    """Say which files cannot be read and which are out of the ordinary.

    Args:
        rows: Of the data set.
    """
    found = [*_unreadable(rows), *_traits(rows), *_labels(rows)]
    return [finding for finding in found if finding.groups or finding.check == "classes"]


def check_passed_over(pictures: Sequence[str], others: Sequence[str]) -> list[Finding]:
    """Say which files of the folder no command looks at.

    Args:
        pictures: Names of those that are pictures by their first bytes.
        others: Names of the rest.
    """
    found = []
    if pictures:
        found.append(
            Finding(
                "passed_over_pictures",
                "warning",
                "Pictures that no command will read",
                f"Images are found by how their names end; {count_of(len(pictures), 'file')} that "
                f"{'is a picture' if len(pictures) == 1 else 'are pictures'} by the first bytes "
                f"{'has' if len(pictures) == 1 else 'have'} another ending ({_by(pictures, _suffix)}).",
                "Rename them (.jpg, .png, ...), or move them out of the folder.",
                singles(pictures),
            )
        )
    if others:
        found.append(
            Finding(
                "passed_over",
                "note",
                "Other files in the folder",
                f"{count_of(len(others), 'file')} {'is' if len(others) == 1 else 'are'} no image and "
                f"{'was' if len(others) == 1 else 'were'} passed over ({_by(others, _suffix)}).",
                "Nothing, if they belong there.",
                singles(others),
            )
        )
    return found


def check_links(links: Sequence[str]) -> list[Finding]:
    """Say which links to folders outside were not followed.

    Args:
        links: As `cinemae.sources.local_files.Listing` has them.
    """
    if not links:
        return []
    sentence = (
        f"{count_of(len(links), 'link')} to a folder outside of the one named {'was' if len(links) == 1 else 'were'} "
        "not followed; what lies behind was not examined."
    )
    advice = "Nothing, if it is no part of the set; else --follow-links."
    return [Finding("links", "note", "Links that lead out", sentence, advice, singles(links))]


def _unreadable(rows: Sequence[FileRow]) -> list[Finding]:
    found = []
    for check, (status, foreign, title, sentence, advice) in _UNREADABLE.items():
        chosen = [row for row in rows if row.status == status and (row.kind is not None) == foreign]
        kinds = _by(chosen, lambda row: row.kind or "")
        text = sentence.format(n=_so_many(chosen), kinds=kinds)
        found.append(Finding(check, "serious", title, text, advice, singles([row.name for row in chosen])))
    return found


def _traits(rows: Sequence[FileRow]) -> list[Finding]:
    found = []
    for trait, (severity, title, sentence, advice) in _TRAITS.items():
        chosen = [row for row in rows if trait in row.traits]
        classes = _by(chosen, lambda row: {0: "real", 1: "fake"}.get(row.label, "unlabelled"))
        text = f"{sentence.format(n=_so_many(chosen))} ({classes})."
        found.append(Finding(trait, severity, title, text, advice, singles([row.name for row in chosen])))
    return found


def _labels(rows: Sequence[FileRow]) -> list[Finding]:
    unlabelled = [row.name for row in rows if row.label is None and row.status != "unlisted"]
    found = [
        Finding(
            "unlabelled",
            "warning",
            "Images without a label",
            f"Training and evaluation need to know which images are real; nothing tells of "
            f"{count_of(len(unlabelled), 'image')}.",
            "Name folders real/ and fake/, or write the labels into a manifest.",
            singles(unlabelled),
        )
    ]
    counts = Counter(row.label for row in rows if row.status == "ok")
    few, many = min(counts[0], counts[1]), max(counts[0], counts[1])
    word = "photograph" if counts[0] < counts[1] else "generated image"
    if counts[0] + counts[1] and not few:
        found.append(
            Finding(
                "classes",
                "warning",
                "Only one class",
                f"A detector is judged on both classes; there is no {word} that can be read.",
                "Add some. The checks between the classes were left out.",
            )
        )
    elif few and many >= 10 * few:
        found.append(
            Finding(
                "classes",
                "note",
                "One class is rare",
                f"{count_of(few, word)} stand{'s' if few == 1 else ''} against {many:,} of the other class.",
                "Read figures that depend on the share of fakes (accuracy, precision) with care; intervals are wide.",
            )
        )
    return found


def _so_many(rows: Sequence[FileRow]) -> str:
    return f"{count_of(len(rows), 'file')} {'is' if len(rows) == 1 else 'are'}"


def _by(items: Sequence[FileRow] | Sequence[str], key: Callable[..., str]) -> str:
    """Return how many there are of each kind: "3 .txt, 1 .md"."""
    counts = Counter(key(item) for item in items).most_common()
    text = ", ".join(f"{number:,} {name}" for name, number in counts[:_MOST_KINDS])
    return text + (" and others" if len(counts) > _MOST_KINDS else "")


def _suffix(name: str) -> str:
    stem, dot, suffix = name.rpartition("/")[2].rpartition(".")
    return f".{suffix.lower()}" if dot and stem else "without an ending"
