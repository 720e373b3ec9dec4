from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.cli.in_process import invoke
from typer.testing import Result

from cinemae.app.output import MirroredFolder


def rows_of(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


# --- what is written --------------------------------------------------------------------------------------------------


def test_the_table_says_all_a_newcomer_needs(tiny_model: Path, photos: Path):
    result = invoke("detect", photos, "--model", tiny_model)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["verdict", "probability", "warnings", "file"]
    assert any(
        line.startswith(("photograph ", "uncertain ", "AI-generated ")) and line.endswith(f"{photos}/sub/a.png")
        for line in lines
    )
    failed = [place for place, line in enumerate(lines) if line.startswith("not read")]
    assert len(failed) == 3
    assert all(str(photos) in lines[place] and lines[place + 1].startswith("    ") for place in failed)
    assert "6 images: " in lines[-4]
    assert "3 could not be read" in lines[-4]
    assert "from 60 % on an image is called AI-generated, below 40 % a photograph" in lines[-3]
    assert "drawn from a hat, for tests" in lines[-2]
    assert "signal, not proof" in lines[-1]
    assert "\x1b" not in result.stdout


def test_jsonl_has_the_keys_in_order(tiny_model: Path, photos: Path, verdict_keys: list[str]):
    result = invoke("detect", photos, "--model", tiny_model, "--format", "jsonl")
    assert result.exit_code == 1
    rows = rows_of(result)
    assert [Path(row["path"]).name for row in rows] == [
        "a.png",
        "b.jpg",
        "empty.jpg",
        "a.png",
        "text.jpg",
        "truncated.jpg",
    ]
    for row in rows:
        if row["status"] == "ok":
            assert list(row) == verdict_keys
        else:
            assert list(row) == [*verdict_keys, "error_message"]
            assert [key for key in verdict_keys if row[key] is not None] == ["path", "status", "schema_version"]
    assert result.stderr == "3 of 6 images could not be read: see error_message.\n"


def test_csv_has_the_same_keys(tiny_model: Path, photos: Path, verdict_keys: list[str]):
    (photos / "text.jpg").unlink()
    (photos / "truncated.jpg").unlink()
    rows = rows_of(invoke("detect", photos, "--model", tiny_model, "--format", "jsonl"))
    result = invoke("detect", photos, "--model", tiny_model, "--format", "csv")
    cells = list(csv.DictReader(result.stdout.splitlines()))
    assert list(cells[0]) == [*verdict_keys, "error_message"]
    for row, cell in zip(rows, cells, strict=True):
        for key in verdict_keys:
            if key == "examined":
                seen = dict(part.split(":") for part in cell[key].split(";")) if row[key] else {}
                assert {name: float(value) for name, value in seen.items()} == pytest.approx(row[key] or {}, rel=1e-5)
                continue
            joined = {"warnings": ";", "reasons": " ", "reason_kinds": ";", "provenance": ";"}
            assert cell[key] == (
                "" if row[key] is None else joined[key].join(row[key]) if key in joined else str(row[key])
            )
        assert cell["error_message"] == row.get("error_message", "")


def test_a_single_image_is_explained_and_many_where_asked(tiny_model: Path, photos: Path):
    sentence = "    The probability of being AI-generated is "
    alone = invoke("detect", photos / "a.png", "--model", tiny_model).stdout
    assert sentence in alone
    assert alone.count("drawn from a hat") == 1
    assert sentence not in invoke("detect", photos / "a.png", "--no-explain", "--model", tiny_model).stdout
    assert sentence not in invoke("detect", photos, "--model", tiny_model).stdout
    assert invoke("detect", photos, "--explain", "--model", tiny_model).stdout.count(sentence) == 3


def test_stable_adds_the_re_deliveries(tiny_model: Path, photos: Path):
    names = ["jpeg=85", "resize=0.75", "mirror", "mask_seed=1", "mask_seed=2"]
    [row] = rows_of(invoke("detect", photos / "a.png", "--stable", "--model", tiny_model, "--format", "jsonl"))
    assert list(row["redeliveries"]) == names
    table = invoke("detect", photos / "a.png", "--stable", "--model", tiny_model, "--format", "csv").stdout
    [cells] = csv.DictReader(table.splitlines())
    assert cells["redeliveries"] == ";".join(f"{name}:{prob!r}" for name, prob in row["redeliveries"].items())


def test_what_the_file_says_stands_below_its_score(tiny_model: Path, tmp_path: Path, picture):
    exif = Image.Exif()
    exif[0x0131] = "Midjourney v6"
    picture(1).save(tmp_path / "a.png", exif=exif)
    said = "the file names Midjourney as its maker (EXIF Software; anyone can write that)"
    assert f"    {said.replace('the', 'The', 1)}.\n" in invoke("detect", tmp_path, "--model", tiny_model).stdout
    [row] = rows_of(invoke("detect", tmp_path, "--model", tiny_model, "--format", "jsonl"))
    assert [signal["sentence"] for signal in row["provenance"]] == [said]
    [cells] = csv.DictReader(invoke("detect", tmp_path, "--model", tiny_model, "--format", "csv").stdout.splitlines())
    assert cells["provenance"] == said


def test_warnings_are_joined_in_csv_and_named_in_the_table(tiny_model: Path, tmp_path: Path, picture):
    picture(1).save(tmp_path / "a.gif", save_all=True, append_images=[picture(2)])
    table = invoke("detect", tmp_path, "--model", tiny_model).stdout
    assert "animated_first_frame" in table
    assert "upscaled" in table
    [row] = rows_of(invoke("detect", tmp_path, "--model", tiny_model, "--format", "jsonl"))
    assert row["warnings"] == ["animated_first_frame", "upscaled"]
    assert (
        ",animated_first_frame;upscaled," in invoke("detect", tmp_path, "--model", tiny_model, "--format", "csv").stdout
    )


def test_a_score_does_not_depend_on_how_it_is_asked_for(tiny_model: Path, photos: Path):
    def scores(*arguments: str | Path, **more: Any) -> dict[str, str]:
        result = invoke("detect", *arguments, "--model", tiny_model, **more)
        if "jsonl" in arguments:
            return {row["path"]: row["prob_fake"] for row in rows_of(result)}
        return {row["path"]: float(row["prob_fake"]) for row in csv.DictReader(result.stdout.splitlines())}

    files = [photos / "a.png", photos / "b.jpg", photos / "sub" / "a.png"]
    expected = scores(*files, "--format", "jsonl")
    assert len(set(expected.values())) == 3
    assert scores(*files[::-1], "--format", "jsonl", "--batch-size", "1") == expected
    assert scores(*files, "--format", "csv", "--batch-size", "2") == expected
    listed = "\n".join(map(str, files[1:] + files[:1]))
    assert scores("-", "--format", "jsonl", "--batch-size", "100", input=listed) == expected


# --- where images come from -------------------------------------------------------------------------------------------


def test_files_folders_and_globs_come_in_the_order_given(tiny_model: Path, photos: Path):
    result = invoke(
        "detect", photos / "sub", photos / "*.png", photos / "b.jpg", "--model", tiny_model, "--format", "jsonl"
    )
    assert result.exit_code == 0
    assert [row["path"] for row in rows_of(result)] == [
        str(photos / "sub" / "a.png"), str(photos / "a.png"), str(photos / "b.jpg")
    ]  # fmt: skip


def test_a_list_on_standard_input(tiny_model: Path, photos: Path):
    listed = f"{photos}/b.jpg\r\n\n{photos}/gone.jpg\n{photos}/sub\n{photos}/a*.png"
    result = invoke("detect", "-", photos / "a.png", "--model", tiny_model, "--format", "jsonl", input=listed)
    assert result.exit_code == 1
    assert [(Path(row["path"]).name, row["status"]) for row in rows_of(result)] == [
        ("b.jpg", "ok"), ("gone.jpg", "error"), ("a.png", "ok"), ("a.png", "ok"), ("a.png", "ok")
    ]  # fmt: skip


def test_names_that_terminals_and_spreadsheets_would_act_on(tiny_model: Path, tmp_path: Path, picture, run):
    names = ["[red]x.png", "=1+1.png", "line\nbreak.png", "\x1b[31m.png", "日本.png", "@a.png", "-b.png"]
    for name in names:
        picture(0).save(tmp_path / name)
    (tmp_path / "[red]x.png").rename(tmp_path / os.fsdecode(b"caf\xe9.png"))
    picture(0).save(tmp_path / "[red]x.png")

    table = run("detect", ".", "--model", tiny_model, cwd=tmp_path)
    assert table.returncode == 0
    lines = table.stdout.splitlines()
    assert len(lines) == 1 + 8 + 1 + 4
    assert {"./[red]x.png", "./line\\nbreak.png", "./\\x1b[31m.png", "./caf\\xe9.png", "./日本.png"} <= {
        line.split("  ")[-1].strip() for line in lines
    }

    rows = run("detect", ".", "--model", tiny_model, "--format", "jsonl", cwd=tmp_path).stdout.splitlines()
    assert {json.loads(row)["path"] for row in rows} == {"./" + name for name in [*names, "caf\\xe9.png"]}

    listed = "=1+1.png\n@a.png\n-b.png\n" + str(tmp_path / "=1+1.png")
    result = run("detect", "-", "--model", tiny_model, "--format", "csv", cwd=tmp_path, stdin=listed)
    assert [row["path"] for row in csv.DictReader(result.stdout.splitlines())] == [
        "./=1+1.png", "./@a.png", "./-b.png", str(tmp_path / "=1+1.png")
    ]  # fmt: skip


def test_a_terminal_that_knows_ascii_only(tiny_model: Path, tmp_path: Path, picture, run):
    picture(0).save(tmp_path / "日本.png")
    for format in ("table", "jsonl", "csv"):
        result = run(
            "detect",
            tmp_path,
            "--model",
            tiny_model,
            "--format",
            format,
            PYTHONIOENCODING="ascii",
            PYTHONUTF8="0",
            LC_ALL="C",
        )
        assert result.returncode == 0, result.stderr
        assert "日本.png" in result.stdout


def test_what_waits_for_ever_is_a_row(tiny_model: Path, tmp_path: Path, picture, run):
    picture(0).save(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.png")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "c.png").symlink_to(tmp_path / "c.png")
    result = run("detect", tmp_path, "--model", tiny_model, "--format", "jsonl")
    assert [json.loads(row)["status"] for row in result.stdout.splitlines()] == ["ok", "error", "error"]
    assert "Traceback" not in result.stderr


# --- triage ---------------------------------------------------------------------------------------------------------


def test_the_highest_score_first_and_failures_last(tiny_model: Path, photos: Path):
    rows = rows_of(invoke("detect", photos, "--model", tiny_model, "--sort", "score", "--json"))
    probabilities = [row["prob_fake"] for row in rows]
    assert probabilities[:3] == sorted(probabilities[:3], reverse=True)
    assert [row["status"] for row in rows] == ["ok"] * 3 + ["error"] * 3


def test_only_some_verdicts_are_written_and_all_are_counted(tiny_model: Path, photos: Path):
    arguments = ("detect", photos, "--model", tiny_model, "--threshold", "0", "--only")
    assert [row["verdict"] for row in rows_of(invoke(*arguments, "AI-generated", "--json"))] == ["ai"] * 3
    table = invoke(*arguments, "uncertain").stdout
    assert "sub/a.png" not in table
    assert "6 images: 3 AI-generated, 0 uncertain, 0 photographs, 3 could not be read." in table
    assert "--only takes ai, uncertain, real and error" in invoke(*arguments, "fake").stderr


def test_paths_go_out_and_come_in_with_a_nul(tiny_model: Path, tmp_path: Path, picture, run):
    for name in ("a\nb.png", "c.png"):
        picture(1).save(tmp_path / name)
    names = [str(tmp_path / "a\nb.png"), str(tmp_path / "c.png")]
    found = invoke("detect", tmp_path, "--model", tiny_model, "-0")
    assert found.stdout.split("\0") == [*names, ""]
    again = run("detect", "-", "--from0", "--model", tiny_model, "--format", "paths", stdin=found.stdout)
    assert again.stdout == "".join(f"{name}\n" for name in names)
    assert "give one of them" in invoke("detect", tmp_path, "--json", "-0").stderr


def test_files_of_what_is_written_are_copied_and_absolute_paths_not_mirrored(
    tiny_model: Path, photos: Path, tmp_path: Path
):
    result = invoke(
        *("detect", photos, "--model", tiny_model, "--threshold", "0", "--only", "ai"),
        *("--copy-to", tmp_path / "copies", "--heatmap", tmp_path / "maps"),
    )
    copies = sorted(path.relative_to(tmp_path / "copies").as_posix() for path in (tmp_path / "copies").rglob("*.*"))
    assert copies == ["photos/a.png", "photos/b.jpg", "photos/sub/a.png"]
    assert (tmp_path / "copies/photos/a.png").read_bytes() == (photos / "a.png").read_bytes()
    assert (tmp_path / "maps/photos/sub/a.png.png").is_file()
    assert f"3 heat maps in {tmp_path / 'maps'}." in result.stderr
    assert f"3 files copied to {tmp_path / 'copies'}." in result.stderr


@pytest.mark.parametrize("columns", ["60", "80", "120"])
def test_the_table_fits_the_terminal(tiny_model: Path, photos: Path, columns: str):
    command = ("detect", photos, "--model", tiny_model, "--stable", "--explain")
    table = invoke(*command, env={"COLUMNS": columns}).stdout
    assert max(map(len, table.splitlines())) <= int(columns)
    assert "copies got the picture's own verdict: saved again as JPEG, made smaller" in " ".join(table.split())


@pytest.mark.parametrize("columns", ["60", "100"])
def test_warnings_stand_below_the_file_where_a_column_would_squeeze_it(
    tiny_model: Path, tmp_path: Path, picture, columns: str
):
    name = tmp_path / "gray.png"
    picture(1, 32, 32).convert("L").save(name)
    lines = invoke("detect", name, name, "--model", tiny_model, env={"COLUMNS": columns}).stdout.splitlines()
    assert lines[0].split()[2:] == (["file"] if columns == "60" else ["warnings", "file"])
    below = [line for line in lines if line.startswith("    warnings: grayscale")]
    assert len(below) == (2 if columns == "60" else 0)


# --- how it ends ------------------------------------------------------------------------------------------------------


def test_what_names_nothing_is_a_row_among_others_and_the_rest_is_counted(
    tiny_model: Path, photos: Path, tmp_path: Path
):
    (tmp_path / "in").mkdir()
    shutil.copy(photos / "a.png", tmp_path / "in" / "plain")
    (tmp_path / "in" / "notes.txt").write_text("x")
    (tmp_path / "in" / "out").symlink_to(photos, target_is_directory=True)
    command = ("detect", tmp_path / "in", tmp_path / "gone.jpg", "--model", tiny_model)
    result = invoke(*command, "--format", "jsonl")
    assert result.exit_code == 1
    assert [(Path(row["path"]).name, row["status"]) for row in rows_of(result)] == [
        ("plain", "ok"),
        ("gone.jpg", "error"),
    ]
    assert "1 file in a folder was left out: no images by suffix or first bytes; 1 link to a folder" in result.stderr
    table = invoke(*command)
    assert "1 file in a folder was left out" in table.stdout
    assert "there is no file, folder or glob" in table.stdout
    followed = invoke(*command, "--format", "jsonl", "--follow-links")
    assert len(rows_of(followed)) == 2 + 6


def test_results_take_a_folder_that_grew(tiny_model: Path, photos: Path, tmp_path: Path):
    folder, results = tmp_path / "in", tmp_path / "results"
    folder.mkdir()
    shutil.copy(photos / "a.png", folder / "m.png")
    command = ("detect", folder, "--model", tiny_model, "--format", "jsonl", "--results", results)
    assert [Path(row["path"]).name for row in rows_of(invoke(*command))] == ["m.png"]
    shutil.copy(photos / "b.jpg", folder / "a.jpg")
    (folder / "m.png").write_bytes(b"another")
    grown = invoke(*command, tmp_path / "gone")
    assert grown.exit_code == 1
    assert [(Path(row["path"]).name, row["status"]) for row in rows_of(grown)] == [
        ("m.png", "ok"), ("a.jpg", "ok"), ("gone", "error")
    ]  # fmt: skip
    assert "1 image has changed since scored" in grown.stderr
    report = json.loads((results / "report.json").read_text())
    assert (report["num_rows"], report["num_failed"], report["num_scored"]) == (3, 1, 1)
    assert invoke(*command).exit_code == 0
    assert invoke("detect", tmp_path / "gone", "--results", results, "--model", tiny_model).exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nothing.jpg"], "error: there is no file, folder or glob 'nothing.jpg'"),
        (["*.nothing"], "error: *.nothing holds no image"),
        (["{empty}"], "holds no image"),
        (["{photo}", "--model", "nothing"], "error: a model is a directory that holds config.json"),
        (["{photo}", "--threshold", "2"], "error: threshold must lie in [0, 1], got 2.0"),
        (["{photo}", "--threshold", "nan"], "error: threshold must lie in [0, 1], got nan"),
        (["{photo}", "--device", "tpu"], "error: device must be auto, cpu, cuda or mps"),
        (["{photo}", "--format", "xml"], "'xml' is not one of"),
        (["{photo}", "--batch-size", "0"], "batch-size"),
        (["{photo}", "--output", "{empty}"], "is a directory"),
        (["{photo}", "--output", "{empty}/none/x.csv"], "none/x.csv.partial: No such file or directory"),
        (["{photo}", "--heatmap", "{photo}"], "is a file"),
        (["{photo}", "--frobnicate"], "No such option"),
        ([], "Missing argument"),
        (["-"], "error: the list on standard input names no image"),
    ],
)
def test_wrong_usage_ends_with_2_and_a_sentence(
    tiny_model: Path, photos: Path, tmp_path: Path, arguments: list[str], sentence: str
):
    (tmp_path / "empty").mkdir()
    filled = [text.format(photo=photos / "a.png", empty=tmp_path / "empty") for text in arguments]
    model = [] if "--model" in arguments else ["--model", str(tiny_model)]
    result = invoke("detect", *filled, *model)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
    assert len([line for line in result.stderr.splitlines() if line.startswith("error: ")]) <= 1


def test_all_scored_is_0_and_says_nothing_on_stderr(tiny_model: Path, photos: Path):
    result = invoke("detect", photos / "sub", "--model", tiny_model)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "1 image: " in result.stdout


def test_fail_fast_stops_at_the_first_bad_file(tiny_model: Path, photos: Path):
    result = invoke("detect", photos, "--model", tiny_model, "--fail-fast", "--format", "jsonl", "--batch-size", "1")
    assert result.exit_code == 1
    assert [row["status"] for row in rows_of(result)] == ["ok", "ok", "error"]


def test_output_appears_when_it_is_complete(tiny_model: Path, photos: Path, tmp_path: Path):
    target = tmp_path / "out.jsonl"
    target.write_text("old")
    result = invoke("detect", photos, "--model", tiny_model, "--format", "jsonl", "--output", target)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert len(target.read_text().splitlines()) == 6
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out.jsonl"]
    assert invoke("detect", photos / "a.png", "--model", tiny_model, "--output", os.devnull).exit_code == 0
    table = tmp_path / "table.txt"
    invoke("detect", photos / "a.png", "--model", tiny_model, "--output", table)
    assert table.read_text().startswith("verdict ")


def test_an_early_end_leaves_the_old_output_alone(tiny_model: Path, photos: Path, tmp_path: Path):
    target = tmp_path / "out.jsonl"
    target.write_text("old")
    assert invoke("detect", "-", "--model", tiny_model, "--output", target, input="").exit_code == 2
    assert target.read_text() == "old"
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out.jsonl"]


@contextmanager
def started(*arguments: str | Path, stdin: Any) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "cinemae", *map(os.fspath, arguments)]
    pipes = {"stdin": stdin, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, preexec_fn=heed_interrupts) as process:
        try:
            yield process
        finally:
            process.kill()


def heed_interrupts() -> None:
    """A shell's background jobs ignore Ctrl-C, and so would what they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_interrupted_work_ends_quietly_and_keeps_its_rows(tiny_model: Path, photos: Path, tmp_path: Path):
    target, partial, listed = tmp_path / "out.jsonl", tmp_path / "out.jsonl.partial", tmp_path / "list"
    listed.write_text(f"{photos / 'a.png'}\n" * 100_000)
    arguments = ("detect", "-", "--model", tiny_model, "--format", "jsonl", "--output", target)
    with listed.open() as stdin, started(*arguments, stdin=stdin) as process:
        deadline = time.monotonic() + 120
        while not (partial.exists() and partial.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130
    assert stderr.decode() == f"the rows so far are in {partial}\n"
    assert not target.exists()
    assert all(json.loads(line)["status"] == "ok" for line in partial.read_text().splitlines())


@pytest.mark.slow
def test_ctrl_c_keeps_the_finished_parts_and_the_same_command_goes_on(tiny_model: Path, tmp_path: Path, picture):
    folder, results = tmp_path / "in", tmp_path / "results"
    folder.mkdir()
    for index in range(300):
        picture(index, 32, 24).save(folder / f"{index:03d}.png")
    command = ("detect", folder, "--model", tiny_model, "--format", "jsonl", "--results", results)
    with started(*command, stdin=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not (results / "part-000000.parquet").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=120)
    assert (process.returncode, stdout) == (130, b"")
    assert stderr.decode() == "interrupted: run the same command again to go on.\n"
    kept = {file.name: file.stat().st_mtime_ns for file in results.glob("part-*")}
    assert "part-000000.parquet" in kept
    assert len(kept) < 8, "it was stopped before the end"
    with started(*command, stdin=subprocess.DEVNULL) as process:
        stdout, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    assert [Path(json.loads(line)["path"]).name for line in stdout.splitlines()] == [f"{i:03d}.png" for i in range(300)]
    assert {name: (results / name).stat().st_mtime_ns for name in kept} == kept
    report = json.loads((results / "report.json").read_text())
    assert (report["num_rows"], report["num_skipped_parts"]) == (300, len(kept))


def test_rows_come_while_the_list_is_open_and_a_reader_may_go_away(tiny_model: Path, photos: Path):
    arguments = ("detect", "-", "--model", tiny_model, "--format", "jsonl", "--batch-size", "1")
    with started(*arguments, stdin=subprocess.PIPE) as process:
        process.stdin.write(f"{photos / 'a.png'}\n".encode() * 20)
        process.stdin.flush()
        first = process.stdout.readline()
        process.stdout.close()
        process.stdin.close()
        stderr = process.stderr.read()
        assert process.wait(120) == 141
    assert json.loads(first)["status"] == "ok"
    assert stderr == b""


# --- heat maps --------------------------------------------------------------------------------------------------------


def test_heat_maps_keep_the_folders(tiny_model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    maps = tmp_path / "maps"
    monkeypatch.chdir(tmp_path)
    result = invoke("detect", "photos", "--model", tiny_model, "--heatmap", maps)
    assert result.exit_code == 1
    assert sorted(str(path.relative_to(maps)) for path in maps.rglob("*.png")) == [
        "photos/a.png.png", "photos/b.jpg.png", "photos/sub/a.png.png"
    ]  # fmt: skip
    with Image.open(maps / "photos" / "a.png.png") as sheet:
        assert sheet.size[0] == 512


def test_heat_map_names_never_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    folder = MirroredFolder(tmp_path / "maps")
    inside = f"{tmp_path}/work{tmp_path}/x.jpg"
    paths = ["a.jpg", "a.png", "./a.jpg", "../a.jpg", f"{tmp_path}/x.jpg", inside, "sub/../a.jpg", "n" * 255]
    names = [folder.path_for(path) for path in paths]
    assert len(set(names)) == len(paths)
    assert all(tmp_path / "maps" in name.parents for name in names)
    assert all(len(name.name) <= 255 for name in names)
    assert names[0].name == "a.jpg.png"
    assert MirroredFolder(tmp_path / "maps").path_for("a.jpg") == names[0]  # a second run writes the same names


def test_a_model_without_reference_is_refused_before_the_work(tiny_model: Path, photos: Path, tmp_path: Path):
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    config = json.loads((model / "config.json").read_text())
    config["reference"] = {"levels": [], "values": []}
    (model / "config.json").write_text(json.dumps(config))
    result = invoke("detect", photos, "--model", model, "--heatmap", tmp_path / "maps")
    assert result.exit_code == 2
    assert "reference quantiles" in result.stderr
    assert result.stdout == ""


def test_the_bundled_model_scores_a_folder(photos: Path):
    result = invoke("detect", photos, "--format", "jsonl")
    assert result.exit_code == 1
    assert [row["status"] for row in rows_of(result)] == ["ok", "ok", "error", "ok", "error", "error"]
