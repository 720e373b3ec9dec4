import dataclasses
import re
import subprocess
import sys

import numpy as np
import pytest

from cinemae.errors import ConfigError, EvaluationError
from cinemae.evaluation import speed
from cinemae.evaluation.speed import SpeedConfig, SpeedReport, Stage, measure_speed
from cinemae.models.scorers import OnnxScorer, TorchScorer

pytestmark = pytest.mark.usefixtures("one_thread")
QUICK = SpeedConfig(batch_sizes=(1, 3), images=4, rounds=2, width=60, height=50)


def test_memory_is_the_processs_own_however_much_its_parent_holds():
    held = b"x" * 500_000_000  # the parent's pages, which count for the child until it is another program
    program = "from cinemae.evaluation.speed import peak_memory; print(peak_memory())"
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert 10 < float(child.stdout) < len(held) / 2e6


@pytest.fixture(scope="module")
def report(tiny_model):
    return measure_speed(str(tiny_model), QUICK)


def test_every_stage_and_batch_size_is_timed(report):
    assert [(stage.name, stage.batch_size) for stage in report.stages] == [
        ("decode", 1), ("preprocess", 1), ("model", 1), ("model", 3), ("whole", 3)
    ]  # fmt: skip
    assert all(stage.seconds > 0 for stage in report.stages)


def test_the_report_says_what_was_measured_on_what(report):
    assert report.model_id.startswith("tiny@")
    assert report.engine == "ONNX Runtime"
    assert report.exact == "torch in float32 on the processor"
    assert report.deviation < 1e-5
    assert report.peak_memory > 50
    assert report.peak_device_memory is None


def test_the_block_holds_rates_that_are_one_over_the_seconds():
    stages = (Stage("decode", 1, 0.004), Stage("model", 8, 0.5))
    values = {
        "engine": "torch on cuda, compiled",
        "exact": "torch",
        "deviation": 2e-7,
        "peak_memory": 100.0,
        "when": "2026-01-02",
    }
    report = SpeedReport(
        "m@1",
        "Card",
        config=dataclasses.replace(QUICK, compiled=True),
        stages=stages,
        peak_device_memory=20.0,
        **values,
    )
    block = report.to_markdown()
    assert block.startswith("### m@1 on Card, 2026-01-02\n\n| stage | batch size | images/s | ms/image |\n")
    assert "| decode | 1 | 250.0 | 4.00 |\n| model | 8 | 2.0 | 500.00 |\n" in block
    assert "Computed by torch on cuda, compiled. prob_fake differs from torch by 2.0e-07 at most." in block
    assert "Peak memory: 100 MB of the process, 20 MB on the GPU. 4 drawn JPEGs of 60x50" in block


def test_a_model_that_runs_with_torch_is_said_to(tiny_model):
    report = measure_speed(str(tiny_model), dataclasses.replace(QUICK, precision="bf16", batch_sizes=(2,), rounds=1))
    assert report.engine == "torch on cpu"
    assert report.model_id.endswith("+bf16")
    assert 0 < report.deviation < 0.1


def test_float32_that_differs_from_the_exact_path_is_refused(tiny_model, monkeypatch):
    run = OnnxScorer._run

    def wrong(self, *inputs):
        logit, *rest = run(self, *inputs)
        return logit + 1, *rest

    monkeypatch.setattr(OnnxScorer, "_run", wrong)
    with pytest.raises(EvaluationError, match=r"prob_fake differs from torch in float32 on the processor by 0\.\d+"):
        measure_speed(str(tiny_model), QUICK)


def test_without_torch_the_graph_is_the_exact_path(tiny_model, monkeypatch):
    def refuse(*arguments, **settings):
        raise speed.MissingDependencyError("no torch")

    monkeypatch.setattr(TorchScorer, "__init__", refuse)
    report = measure_speed(str(tiny_model), QUICK)
    assert report.exact == "ONNX Runtime in float32"
    assert report.deviation == 0


def test_the_pictures_are_the_same_for_everybody_and_differ_from_each_other():
    first, again, other = (
        speed.draw_photograph(QUICK, 0),
        speed.draw_photograph(QUICK, 0),
        speed.draw_photograph(QUICK, 1),
    )
    assert first == again != other
    assert np.asarray(speed.load_image(first).image).std() > 10


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"batch_sizes": ()}, "at least one batch size must be given"),
        ({"batch_sizes": (4, 0)}, "batch sizes must be at least 1, got 0"),
        ({"rounds": 0}, "rounds must be at least 1, got 0"),
    ],
)
def test_settings_that_measure_nothing_are_refused(settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        SpeedConfig(**settings)


def test_the_median_leaves_the_first_run_out():
    ticks = iter([0.0, 1.0, 10.0, 13.0, 20.0, 22.0])
    calls = []
    assert speed.median_seconds(lambda: calls.append(None), 3, lambda: next(ticks)) == 2.0
    assert len(calls) == 4


def test_the_command_prints_the_block(tiny_model):
    from typer.testing import CliRunner

    from cinemae.app.cli import app

    result = CliRunner().invoke(app, ["bench", str(tiny_model), "--batch-size", "2", "--images", "2", "--rounds", "1"])
    assert result.exit_code == 0, result.output
    assert re.match(r"### tiny@\w+ on .+, \d{4}-\d\d-\d\d\n\n\| stage \|", result.stdout)
    assert "| model | 2 |" in result.stdout
