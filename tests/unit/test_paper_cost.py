"""What the paper's tables take, worked out by hand, and the block of a bare backbone."""

from __future__ import annotations

import re

import pytest

from cinemae.errors import EvaluationError
from cinemae.evaluation import frozen_speed
from cinemae.evaluation.frozen_speed import FrozenSpeedConfig, measure_frozen_speed
from cinemae.evaluation.protocols.cost import TABLES, Rates, cost_table, table_cost
from cinemae.evaluation.protocols.protocol import list_protocols, read_protocol

pytestmark = pytest.mark.usefixtures("one_thread")

RATES = Rates(survey=0.0, look=3.6, head=0.0, row_bytes=1000)
GENIMAGE_TRAIN, GENIMAGE_TEST = 2 * 162_000, 2 * (7 * 6_000 + 8_000)


def test_rows_of_stores_are_one_for_each_picture_condition_and_seed_of_the_masks():
    cost = table_cost(read_protocol("table1"), RATES)
    assert cost.images == GENIMAGE_TRAIN + GENIMAGE_TEST
    assert cost.looks == GENIMAGE_TRAIN + GENIMAGE_TEST * (2 + 2)  # raw, aligned; two other seeds
    assert cost.frozen_hours == pytest.approx(cost.looks / 1000)
    assert cost.stored_bytes == 1000 * cost.looks


def test_every_picture_is_opened_once_before():
    seconds = Rates(survey=1.0, look=0.0, head=0.0, row_bytes=0)
    assert table_cost(read_protocol("table3"), seconds).hours == pytest.approx((720_000 + 148_500) / 3600)


@pytest.mark.parametrize(
    ("name", "images_of_heads"),
    [
        ("table1", GENIMAGE_TRAIN),
        ("table4", GENIMAGE_TRAIN + 7 * GENIMAGE_TRAIN + 2 * 166_000),  # on SD v1.4, and on all
        ("table5a", GENIMAGE_TRAIN),  # both frozen
        ("table5b", GENIMAGE_TRAIN),  # ViT-L
        ("table6a", 8 * GENIMAGE_TRAIN),
        ("table6b", 5 * GENIMAGE_TRAIN),
        ("table7", 6 * GENIMAGE_TRAIN),
    ],
)
def test_heads_learn_from_three_quarters_three_times_for_25_epochs(name, images_of_heads):
    cost = table_cost(read_protocol(name), Rates(survey=0.0, look=0.0, head=3600.0, row_bytes=0))
    assert cost.hours == pytest.approx(images_of_heads * 0.75 * 3 * 25)


def test_training_the_backbone_takes_three_looks_a_step():
    """Tab. 5a: encoder, decoder and both free, each trained three times for 25 epochs on three quarters."""
    cost = table_cost(read_protocol("table5a"), RATES)
    steps = 3 * 3 * 25 * 0.75 * GENIMAGE_TRAIN
    assert cost.frozen_hours == pytest.approx((cost.looks + 3 * steps) / 1000)


def test_every_table_has_a_row_and_money_is_hours_by_the_price():
    lines = cost_table(Rates(survey=0.0, look=1.0, head=0.0, row_bytes=0), price=3.6)
    rows = [line for line in lines if line.startswith("| Tab.")]
    assert len(rows) == len(TABLES) == len([name for name in list_protocols() if name.startswith("table")])
    assert rows[0].startswith("| Tab. 1 | 424,000 | 724,000 | 201.1 | 0.0 | 0.0 | 724 |")


@pytest.fixture(scope="module")
def report(tiny_model):
    return measure_frozen_speed(str(tiny_model / "backbone"), FrozenSpeedConfig(batch_sizes=(1, 3), images=4, rounds=1))


def test_a_backbone_is_timed_stage_by_stage(report):
    stages = {(stage.name, stage.batch_size): stage.seconds for stage in report.stages}
    assert list(stages) == [
        ("survey", 1), ("frozen half", 1), ("frozen half", 3), ("row of a store", 3), ("head, an epoch", 32)
    ]  # fmt: skip
    rates = report.rates
    seconds = (stages["survey", 1], stages["row of a store", 3], stages["head, an epoch", 32])
    assert (rates.survey, rates.look, rates.head) == seconds
    assert min(seconds) > 0
    assert report.precision == "fp32"
    assert report.deviation == 0


def test_a_row_has_the_features_of_one_view_as_float32(report, tiny_model):
    from cinemae.models.directory import read_model_config

    backbone = read_model_config(tiny_model).backbone
    assert report.rates.row_bytes == 4 * (backbone.hidden_size + 2 * 2 * backbone.num_patches)


def test_other_precisions_are_held_against_float32(tiny_model, monkeypatch):
    config = FrozenSpeedConfig(precision="bf16", batch_sizes=(2,), images=4, rounds=1)
    report = measure_frozen_speed(str(tiny_model / "backbone"), config)
    assert 0 < report.deviation < 0.2
    monkeypatch.setitem(frozen_speed.MOST_DEVIATION, "bf16", report.deviation / 2)
    with pytest.raises(
        EvaluationError, match=r"Eq. 5 in bf16 on cpu must be .* differs by [\d.e-]+: speed means nothing"
    ):
        measure_frozen_speed(str(tiny_model / "backbone"), config)


def test_the_command_prints_the_block(tiny_model):
    from typer.testing import CliRunner

    from cinemae.app.cli import app

    options = ["--images", "2", "--rounds", "1", "--batch-size", "2", "--price", "1.5"]
    result = CliRunner().invoke(app, ["bench", "--backbone", str(tiny_model / "backbone"), *options])
    assert result.exit_code == 0, result.output
    assert re.match(r"### backbone, frozen half in fp32, on .+, \d{4}-\d\d-\d\d\n\n\| stage \|", result.stdout)
    assert "| row of a store | 2 |" in result.stdout
    assert "| Tab. 6b | 424,000 | 724,000 |" in result.stdout
    assert "At 1.5 USD an hour" in result.stdout
    result = CliRunner().invoke(app, ["bench", str(tiny_model), "--backbone", str(tiny_model / "backbone")])
    assert result.exit_code != 0
