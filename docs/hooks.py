"""What the site needs beyond mkdocs: files of the repository that pages link to, and parts of the navigation.

On a code host a page may link to any file of the repository. The site holds the pages of docs/ alone, so that the files
they link to are published beside them, below ``repository/``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
LINK = re.compile(r"(?<=\]\()([^)#\s:]+)(?=[)#])")
IN_TABLE = re.compile(r"(?<=<code>)[^<]+(?=</code>)")
LINKED = "#links"


def on_config(config: MkDocsConfig) -> None:
    """Write out the entries of the navigation that stand for a page and the pages it links to."""
    config.nav = _written_out(config.nav)


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add what pages link to outside of docs/, and what is linked to from there."""
    waiting = [Path(file.abs_src_path) for file in files.documentation_pages() if file.abs_src_path]
    seen = set(waiting)
    while waiting:
        for target in set(_targets(waiting.pop())) - seen:
            seen.add(target)
            if target.is_relative_to(DOCS):
                continue
            page = target.suffix == ".md"
            inclusion = InclusionLevel.NOT_IN_NAV if page else InclusionLevel.INCLUDED
            files.append(File.generated(config, _place(target), abs_src_path=str(target), inclusion=inclusion))
            waiting += [target] if page else []


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Turn links into those that hold on the site."""
    source = Path(page.file.abs_src_path or "")
    here = os.path.dirname(page.file.src_uri)  # noqa: PTH120 - of an address

    def rewrite(match: re.Match[str]) -> str:
        target = _target(source, match[1])
        return os.path.relpath(_place(target), here) if target.is_file() else match[1]

    return LINK.sub(rewrite, markdown)


def on_page_content(html: str, **_: object) -> str:
    """Let names in tables break at their joints."""
    joints = lambda code: re.sub(r"([./_]|::)(?=\w)", r"\1<wbr>", code[0])  # noqa: E731
    return re.sub(r"<td.*?</td>", lambda cell: IN_TABLE.sub(joints, cell[0]), html, flags=re.DOTALL)


def _written_out(entry: Any) -> Any:  # noqa: ANN401 - YAML
    if isinstance(entry, dict):
        return {title: _written_out(below) for title, below in entry.items()}
    if isinstance(entry, list):
        return [one for part in entry for one in (_linked(part) if _is_linked(part) else [_written_out(part)])]
    return entry


def _is_linked(entry: object) -> bool:
    return isinstance(entry, str) and entry.endswith(LINKED)


def _linked(entry: str) -> list[str | dict[str, str]]:
    index = DOCS / entry.removesuffix(LINKED)
    targets = dict.fromkeys(_targets(index))
    if index.name == "README.md":
        below = [target for target in targets if target.parent == index.parent]
    else:
        below = [target for target in targets if target.parent.parent == index.parent]
    first = _place(index) if index.name == "README.md" else {"Overview": _place(index)}
    return [first, *map(_place, below)]


def _targets(page: Path) -> Iterator[Path]:
    """Return the files of the repository that a page links to."""
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        target = _target(page, link)
        if target.is_file():
            yield target


def _target(page: Path, link: str) -> Path:
    target = (page.parent / link).resolve()
    return target / "README.md" if target.is_dir() else target


def _place(target: Path) -> str:
    """Return where the site holds a file of the repository."""
    if target.is_relative_to(DOCS):
        return target.relative_to(DOCS).as_posix()
    return "repository/" + target.relative_to(ROOT).as_posix().lstrip(".")
