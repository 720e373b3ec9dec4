"""The issue forms keep to what GitHub documents ("Syntax for issue forms", "Syntax for GitHub's form schema").

A form that breaks a rule is not shown to anybody, and nothing says so outside the web page.
"""

import re
from pathlib import Path

import pytest
import yaml  # comes with transformers

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = ROOT / ".github" / "ISSUE_TEMPLATE"
FORMS = sorted(path for path in TEMPLATES.glob("*.yml") if path.name != "config.yml")
TOP_LEVEL = {"name", "description", "body", "assignees", "labels", "title", "projects", "type"}
ATTRIBUTES = {  # of each type: those that must be there, and those that may be
    "markdown": ({"value"}, set()),
    "textarea": ({"label"}, {"description", "placeholder", "value", "render"}),
    "input": ({"label"}, {"description", "placeholder", "value"}),
    "dropdown": ({"label", "options"}, {"description", "multiple", "default"}),
    "checkboxes": ({"label", "options"}, {"description"}),
}


def load(path: Path) -> dict:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


@pytest.fixture(params=FORMS, ids=lambda path: path.stem)
def form(request) -> dict:
    return load(request.param)


def test_both_directions_have_a_form():
    assert [path.stem for path in FORMS] == ["false-accusation", "missed-fake"]
    assert len({load(path)["name"] for path in FORMS}) == len(FORMS)


def test_the_chooser():
    found = load(TEMPLATES / "config.yml")
    assert found.keys() <= {"blank_issues_enabled", "contact_links"}
    assert isinstance(found["blank_issues_enabled"], bool)
    for link in found.get("contact_links", ()):
        assert link.keys() == {"name", "url", "about"}


def test_top_level(form):
    assert {"name", "description", "body"} <= form.keys() <= TOP_LEVEL
    assert all(is_text(form[key]) for key in ("name", "description", "title"))
    assert all(is_text(label) for label in form["labels"])
    assert any(element["type"] != "markdown" for element in form["body"])


def test_elements(form):
    for element in form["body"]:
        must, may = ATTRIBUTES[element["type"]]
        attributes = element["attributes"]
        assert must <= attributes.keys() <= must | may, element
        assert all(is_text(attributes[key]) for key in attributes.keys() - {"options", "multiple", "default"}), element
        if element["type"] == "markdown":
            assert element.keys() == {"type", "attributes"}
            continue
        assert element.keys() <= {"type", "id", "attributes", "validations"}
        assert re.fullmatch(r"[A-Za-z0-9_-]+", element["id"])
        checks = element.get("validations", {})
        assert checks.keys() <= ({"required"} if element["type"] != "checkboxes" else set())
        assert all(isinstance(value, bool) for value in checks.values())


def test_options(form):
    for element in form["body"]:
        options = element["attributes"].get("options")
        if element["type"] == "dropdown":
            assert all(is_text(option) for option in options)  # YAML reads a bare yes as a boolean
            assert len({option.casefold() for option in options}) == len(options)
            assert "none" not in {option.casefold() for option in options}  # GitHub's own word for no choice
        elif element["type"] == "checkboxes":
            assert all({"label"} <= option.keys() <= {"label", "required"} for option in options)
            assert all(is_text(option["label"]) for option in options)
            assert len({option["label"] for option in options}) == len(options)


def test_names_of_fields_are_distinct(form):
    fields = [element for element in form["body"] if element["type"] != "markdown"]
    for values in ([one["id"] for one in fields], [one["attributes"]["label"] for one in fields]):
        assert len(set(values)) == len(values)


def test_permission_to_keep_a_picture_is_never_demanded(form):
    statements = next(one for one in form["body"] if one["type"] == "checkboxes")["attributes"]["options"]
    assert [bool(one.get("required")) for one in statements if "may be" in one["label"]] == [False]
    assert sum(bool(one.get("required")) for one in statements) >= 1


def test_what_a_report_needs_is_asked_for(form):
    required = {one["id"] for one in form["body"] if one.get("validations", {}).get("required")}
    assert {"evidence", "file", "verdict", "version", "edits"} <= required
