"""What the documents name must be there."""

import ast
import importlib
import json
import re
import sys
from pathlib import Path

import pytest

import cinemae

ROOT = Path(__file__).resolve().parents[2]
NAMED = (
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CODE_OF_CONDUCT.md",
    "benchmarks/README.md",
    "examples/README.md",
)
DOCUMENTS = [*(ROOT / name for name in NAMED), *sorted((ROOT / "docs").rglob("*.md"))]
RECORDS = sorted((ROOT / "docs" / "decisions").glob("0*.md"))


def _test_names(path):
    """Functions of a test file, and of its classes as `Class::function`."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ClassDef):
            names |= {node.name} | {
                f"{node.name}::{part.name}" for part in node.body if isinstance(part, ast.FunctionDef)
            }
    return names


def _resolve(dotted):
    """Return the object that a dotted name below `cinemae` stands for."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(["cinemae", *parts[:length]]))
        except ModuleNotFoundError:
            continue
        for name in parts[length:]:
            value = getattr(value, name)
        return value
    raise AssertionError(f"there is no cinemae.{dotted}")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_to_files_that_are_there(document):
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8"))
    inside = [link for link in links if "://" not in link]
    assert [link for link in inside if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_tests_that_are_named_exist(document):
    for path, name in re.findall(r"`(tests/[\w/]+\.py)(?:::([\w:]+))?`", document.read_text(encoding="utf-8")):
        assert (ROOT / path).is_file(), path
        assert not name or name in _test_names(ROOT / path), f"{path}::{name}"


def test_files_and_names_that_the_steps_for_contributors_take_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    steps = text[text.index("## To add a detector") : text.index("## A release")]
    paths = re.findall(r"`((?:src|tests|benchmarks)/[\w/]+(?:\.\w+)?/?)`", steps)
    assert len(paths) > 10
    assert [path for path in paths if not (ROOT / path).exists()] == []
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    names = re.findall(r"`(_?[A-Z]\w+|\w+_\w+)`", steps)
    assert len(names) > 10
    assert [name for name in names if not re.search(rf"\b{name}\b", code)] == []


def test_functions_in_the_table_of_the_method_exist():
    text = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    rooms = "|".join(path.parent.name for path in (ROOT / "src" / "cinemae").glob("*/__init__.py"))
    names = re.findall(rf"`((?:{rooms})\.[\w.]+)`", text)
    assert len(names) > 15
    for name in names:
        assert callable(_resolve(name)), name


def test_settings_in_the_table_of_readings_exist():
    config = importlib.import_module("cinemae.config")
    text = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    settings = re.findall(r"`(\w+Config)\.(\w+)`", text)
    assert len(settings) > 5
    for owner, field in settings:
        assert field in getattr(config, owner).__dataclass_fields__, f"{owner}.{field}"


def test_every_name_on_the_page_about_python_is_in_the_reference():
    pages = (ROOT / "docs" / "reference").glob("*.md")
    shown = {
        name for page in pages for name in re.findall(r"^::: (\S+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    }
    text = (ROOT / "docs" / "python-api.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `(cinemae[\w.]+)\(", text, flags=re.MULTILINE))
    assert len(named) > 10
    assert {name for name in named if not {name, name.rpartition(".")[0]} & shown} == set()  # a method with its class
    assert {f"cinemae.{name}" for name in cinemae.__all__} - shown <= {"cinemae.CinemaeError", "cinemae.__version__"}


def test_the_page_on_architecture_names_the_rooms_that_are_there():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    package = ROOT / "src" / "cinemae"
    rooms = {f"{path.name}/" for path in package.iterdir() if path.is_dir() and path.name != "__pycache__"}
    table = text[: text.index("## The straight reading")]
    named = set(re.findall(r"^\| `(\w+/)`", table, flags=re.MULTILINE))
    assert named == rooms
    for row in re.findall(r"^\| `(\w+)/` \|[^|]*\|([^|]*)\|", table, flags=re.MULTILINE):
        for module in re.findall(r"`(\w+)(?:\.py)?`", row[1]):
            assert (package / row[0] / f"{module}.py").is_file(), f"{row[0]}/{module}"
    assert len(text.splitlines()) <= 70


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.stem)
def test_a_decision_record_is_short_and_in_the_index(record):
    assert len(record.read_text(encoding="utf-8").splitlines()) <= 30
    assert f"({record.name})" in (record.parent / "README.md").read_text(encoding="utf-8")


def test_decisions_that_the_code_cites_exist():
    cited = {
        number
        for path in (ROOT / "src").rglob("*.py")
        for number in re.findall(r"decisions? (\d{4})", path.read_text(encoding="utf-8"))
    }
    assert cited
    assert cited <= {record.name[:4] for record in RECORDS}


def test_the_pages_on_speed_and_accuracy_are_what_the_records_give(monkeypatch):
    from benchmarks.render import main

    monkeypatch.setattr(sys, "argv", ["render", "--check"])
    main()  # ends with 1 and names the page otherwise


def test_each_page_of_a_protocol_and_its_row_name_the_frozen_half():
    from benchmarks.accuracy_pages import INDEX, PAGES, PROTOCOLS

    index = INDEX.read_text(encoding="utf-8").splitlines()
    for record in PROTOCOLS.glob("*.json"):
        frozen_half = json.loads(record.read_text(encoding="utf-8"))["frozen_half"]
        page = (PAGES / f"{record.stem}.md").read_text(encoding="utf-8")
        row = next(line for line in index if f"/{record.stem}.md)" in line)
        assert f"Frozen half: {frozen_half}." in page
        assert f"| {frozen_half} |" in row
