"""docs/service.md names every option, with its default, every route, status and metric."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main

from cinemae.app.cli import app
from cinemae.app.serve.config import ServeConfig

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "service.md").read_text(encoding="utf-8")


def test_every_option_is_in_the_table_of_limits():
    limits = PAGE.partition("## Limits")[2].partition("\n\n**Memory.**")[0]
    command = typer.main.get_command(app).commands["serve"]
    for parameter in command.params:
        option = parameter.opts[0]
        assert f"`{option}`" in limits, option
        default = getattr(ServeConfig, parameter.name, None)
        if isinstance(default, int | float) and not isinstance(default, bool):
            shown = f"{default:g}" if isinstance(default, float) else str(default)
            assert f"| `{option}` | {shown} |" in limits, option


@pytest.fixture(scope="module")
def server(in_thread):
    with in_thread() as server:
        yield server


def test_every_route_is_in_the_table_and_every_status_explained(server):
    document = server.ask("GET", "/openapi.json").json
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert f"| `{method.upper()} {path}` |" in PAGE
            for status in operation["responses"]:
                assert status in ("200", "500") or re.search(rf"^\| .*\b{status}\b", PAGE, re.MULTILINE), status


def test_every_metric_is_in_the_table(server):
    shown = server.ask("GET", "/metrics").body.decode()
    names = set(re.findall(r"^# TYPE (cinemae_\w+?)(?:_created)? ", shown, re.MULTILINE))
    assert len(names) > 8
    table = PAGE.partition("## Metrics")[2]
    assert [name for name in sorted(names) if f"`{name}" not in table] == []
