"""cinemae export --precision int8, and what the other commands make of it."""

import json
import shutil
from pathlib import Path

from tests.cli.in_process import invoke

from cinemae.models.directory import read_model_config
from cinemae.models.export_int8 import quantize_graph


def test_an_int8_graph_from_export_to_verdict(splits: Path, tiny_model: Path, tmp_path: Path):
    model = shutil.copytree(tiny_model, tmp_path / "model")
    check = ("--check-real", splits / "val" / "real", "--check-fake", splits / "val" / "fake")
    result = invoke("export", model, "--precision", "int8", *check)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    size = (model / "model.int8.onnx").stat().st_size
    assert lines[0] == f"{model / 'model.int8.onnx'}: {size / 1e6:.1f} MB"
    assert lines[1] == "  against float32 on 6 photographs and 6 generated images"
    assert [line.split(":")[0].strip() for line in lines[2:]] == ["prob_fake", "verdicts", "AUC"]
    scores = {}
    for precision in ("auto", "int8"):
        done = invoke("detect", splits / "val", "--model", model, "--precision", precision, "--format", "jsonl")
        assert done.exit_code == 0, done.output
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        scores[precision] = {row["model"] for row in rows}, [row["prob_fake"] for row in rows]
    (plain,), (name,) = scores["auto"][0], scores["int8"][0]
    assert name == f"{plain}+int8"
    apart = [abs(a - b) for a, b in zip(scores["auto"][1], scores["int8"][1], strict=True)]
    assert 0 < max(apart) < 0.02


def test_a_model_names_the_precision_of_its_thresholds(splits: Path, tiny_model: Path, tmp_path: Path):
    model = shutil.copytree(tiny_model, tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "precision": "int8"}))
    refused = invoke("detect", splits / "val", "--model", model)
    assert refused.exit_code == 2
    assert (
        f"int8 scores with model.int8.onnx, {model} holds none: run cinemae export --precision int8" in refused.stderr
    )
    quantize_graph(model, model)
    done = invoke("detect", splits / "val", "--model", model, "--format", "jsonl")
    assert done.exit_code == 0, done.output
    assert {json.loads(line)["model"] for line in done.stdout.splitlines()} == {f"{config_id(model)}+int8"}
    plain = invoke("detect", splits / "val", "--model", model, "--precision", "fp32", "--format", "jsonl")
    assert {json.loads(line)["model"] for line in plain.stdout.splitlines()} == {config_id(model)}
    assert "int8 on a processor" in invoke("info", "--model", model).stdout


def config_id(model: Path) -> str:
    return read_model_config(model).model_id


def test_a_missing_float32_graph_is_made_first(splits: Path, tiny_model: Path, tmp_path: Path, monkeypatch):
    model = shutil.copytree(tiny_model, tmp_path / "model")
    graph = (model / "model.onnx").read_bytes()
    (model / "model.onnx").unlink()
    monkeypatch.setattr("cinemae.models.export.export_onnx", lambda model: (model / "model.onnx").write_bytes(graph))
    check = ("--check-real", splits / "val" / "real", "--check-fake", splits / "val" / "fake")
    result = invoke("export", model, "--precision", "int8", *check)
    assert result.exit_code == 0, result.output
    assert (model / "model.int8.onnx").is_file()


def test_what_does_not_go_together_is_said(splits: Path, tiny_model: Path):
    real = splits / "val" / "real"
    for arguments, sentence in (
        (("--precision", "fp16"), "a graph is exported in fp32 or int8, got 'fp16'"),
        (("--precision", "int8", "--check-real", real), "give --check-real and --check-fake"),
        (("--check-real", real), "leave --check-real and --check-fake out"),
    ):
        result = invoke("export", tiny_model, *arguments)
        assert result.exit_code == 2
        assert sentence in result.stderr
    result = invoke("detect", real, "--model", tiny_model, "--precision", "int8")
    assert result.exit_code == 2
    assert "int8 scores with model.int8.onnx" in result.stderr
