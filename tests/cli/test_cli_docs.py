from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer.main
from cogapp import Cog

from cinemae.app.cli import app

DOCS = Path(__file__).resolve().parents[2] / "docs" / "cli.md"


def leaves(commands: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, command in commands.items():
        if hasattr(command, "commands"):
            yield from ((f"{name} {leaf}", below) for leaf, below in leaves(command.commands))
        else:
            yield name, command


COMMANDS = dict(leaves(typer.main.get_command(app).commands))


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


def test_commands_below_a_group_are_among_them():
    assert {"detect", "data check", "data align", "data manifest"} <= set(COMMANDS)


def test_every_exit_code_is_documented():
    text = DOCS.read_text(encoding="utf-8")
    for code in (0, 1, 2, 130, 141):
        assert f"| {code} |" in text
