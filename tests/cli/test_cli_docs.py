from __future__ import annotations

from pathlib import Path

import typer.main
from cogapp import Cog

from cinemae.app.cli import app

DOCS = Path(__file__).resolve().parents[2] / "docs" / "cli.md"
COMMANDS = typer.main.get_command(app).commands


def test_the_docs_are_what_cog_writes(capsys):
    code = Cog().main(["cog", "--check", str(DOCS)])
    assert code == 0, f"docs/cli.md is stale, run: cog -r docs/cli.md\n{capsys.readouterr().out}"


def test_every_command_and_option_is_documented():
    text = DOCS.read_text(encoding="utf-8")
    for name, command in COMMANDS.items():
        section = text.split(f"### `cinemae {name} ", 1)[1].split("\n### ", 1)[0]
        assert command.help.splitlines()[0] in section
        for parameter in command.params:
            assert parameter.help, f"{name} {parameter.name} has no help"
            assert (parameter.metavar if parameter.param_type_name == "argument" else parameter.opts[0]) in section


def test_every_exit_code_is_documented():
    text = DOCS.read_text(encoding="utf-8")
    for code in (0, 1, 2, 130, 141):
        assert f"| {code} |" in text
