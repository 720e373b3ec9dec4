"""Run as a script, this file is the run that `test_killed_by_the_system...` kills."""

import dataclasses
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from cinemae.backbones import pretrain as pretrain_module
from cinemae.backbones import pretrain_start
from cinemae.backbones.pretrain import Budget, learning_rate, masked_mse, pretrain
from cinemae.backbones.pretrain_start import Start
from cinemae.core.backbone import FrozenMAE
from cinemae.core.checkpoint import (
    load_pretrained_folder,
    new_mae,
    save_pretrained_folder,
    sincos_position_embedding,
)
from cinemae.core.masking import mask_noise, patchify
from cinemae.errors import CheckpointError, ConfigError, SourceError, StoreError
from cinemae.pretrain_config import PretrainConfig

pytestmark = pytest.mark.usefixtures("one_thread")  # this process must compute as the killed ones do

CONFIG = PretrainConfig(
    image_size=32,
    patch_size=8,
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    decoder_hidden_size=16,
    decoder_num_hidden_layers=1,
    decoder_num_attention_heads=2,
    batch_size=8,
    learning_rate=1e-2,
    warmup_steps=5,
    ema_decay=0.8,
    min_scale=0.9,
    recompress=0.25,
)
LOG_EVERY = 7


def draw_ramp(seed):
    """Dark above, bright below: whoever knows where a patch lies can redraw it."""
    rng = np.random.default_rng(seed)
    dark, bright = rng.integers(0, 60, 3), rng.integers(190, 256, 3)
    share = np.linspace(0, 1, 40)[:, None, None] * np.ones((1, 44, 1))
    return Image.fromarray((dark + share * (bright - dark)).astype(np.uint8))


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    for index in range(8):
        draw_ramp(index).save(folder / f"{index}.png")
    return sorted(map(str, folder.iterdir()))


@pytest.fixture(autouse=True)
def short_intervals(monkeypatch):
    monkeypatch.setattr(pretrain_module, "LOG_EVERY", LOG_EVERY)
    monkeypatch.setattr(pretrain_module, "EVALUATE_EVERY", 2 * LOG_EVERY)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, paths):
    """An undisturbed run of 30 steps."""
    out = tmp_path_factory.mktemp("finished") / "backbone"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrain_module, "LOG_EVERY", LOG_EVERY)
        patch.setattr(pretrain_module, "EVALUATE_EVERY", 2 * LOG_EVERY)
        pretrain(paths, out, CONFIG, Budget(steps=30))
    return out


def read_log(out):
    """The log without what the clock decides."""
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [
        {name: value for name, value in line.items() if name not in ("hours", "images_per_second")} for line in lines
    ]


def assert_same_run(found, expected):
    assert (found / "model.safetensors").read_bytes() == (expected / "model.safetensors").read_bytes()
    assert read_log(found) == read_log(expected)
    tensors, others = load_file(found / "checkpoint.safetensors"), load_file(expected / "checkpoint.safetensors")
    assert tensors.keys() == others.keys()
    assert [name for name in tensors if not torch.equal(tensors[name], others[name])] == []


class _Stop(Exception):
    pass


def _stop_at(step):
    def progress(line):
        if line.step >= step:
            raise _Stop

    return progress


class TestPositionEmbeddings:
    """A decoder that cannot tell positions redraws the mean of the visible patches for ever (decision 0005)."""

    @staticmethod
    def _formula(grid, dim):
        """He et al. 2022 position by position: sine and cosine of the column, then of the row; zeros for [CLS]."""
        rows = [[0.0] * dim]
        for row, column in itertools.product(range(grid), range(grid)):
            angles = [[place / 10_000 ** (i / (dim // 4)) for i in range(dim // 4)] for place in (column, row)]
            rows.append([wave(angle) for place in angles for wave in (math.sin, math.cos) for angle in place])
        return torch.tensor(rows)[None]

    @pytest.mark.parametrize(("grid", "dim"), [(4, 16), (14, 64), (3, 8)])
    def test_ours_equal_the_formula(self, grid, dim):
        torch.testing.assert_close(sincos_position_embedding(grid, dim), self._formula(grid, dim))

    def test_a_new_model_has_them_in_encoder_and_decoder(self):
        model = new_mae(dataclasses.replace(CONFIG, hidden_size=32))
        encoder, decoder = model.vit.embeddings.position_embeddings, model.decoder.decoder_pos_embed
        torch.testing.assert_close(encoder.data, self._formula(4, 32))
        torch.testing.assert_close(decoder.data, self._formula(4, 16))
        assert encoder.any()
        assert decoder.any()

    def test_upstream_leaves_them_at_zero_or_sets_what_we_set(self):
        """Zero in encoder and decoder up to transformers 5.23, frozen at that; if that is mended, this still holds."""
        sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        config = ViTMAEConfig(image_size=32, patch_size=8, **sizes, **{f"decoder_{k}": v for k, v in sizes.items()})
        model = ViTMAEForPreTraining(config)
        for embedding in (model.vit.embeddings.position_embeddings, model.decoder.decoder_pos_embed):
            assert not embedding.requires_grad
            assert not embedding.any() or torch.allclose(embedding, self._formula(4, 16))

    def test_without_them_training_stays_at_the_mean_and_with_them_it_does_not(self, paths, tmp_path, monkeypatch):
        def forgetful(config):
            model = new_mae(config)
            model.vit.embeddings.position_embeddings.data.zero_()
            model.decoder.decoder_pos_embed.data.zero_()
            return model

        ours = pretrain(paths, tmp_path / "ours", CONFIG, Budget(steps=60))
        monkeypatch.setattr(pretrain_start, "new_mae", forgetful)
        upstream = pretrain(paths, tmp_path / "upstream", CONFIG, Budget(steps=60))
        assert ours.validation_loss < 0.25
        assert upstream.validation_loss > 0.7

    def test_they_are_written_and_not_trained(self, finished):
        model = load_pretrained_folder(str(finished))
        found = model.vit.embeddings.position_embeddings.data, model.decoder.decoder_pos_embed.data
        for embedding in found:
            torch.testing.assert_close(embedding, self._formula(4, 16), atol=1e-3, rtol=1e-3)  # float16 on disk


class TestRun:
    def test_training_lowers_the_loss_clearly(self, finished):
        losses = [line["loss"] for line in read_log(finished)]
        assert losses[-1] < 0.4 * losses[0]

    def test_the_folder_loads_as_a_backbone(self, finished):
        backbone = FrozenMAE.from_pretrained(finished)
        assert (backbone.image_size, backbone.patch_size, backbone.hidden_size) == (32, 8, 16)
        assert backbone.mask_ratio == 0.75

    def test_the_log_has_a_line_each_interval_and_one_at_the_end(self, finished):
        lines = read_log(finished)
        assert [line["step"] for line in lines] == [7, 14, 21, 28, 30]
        assert [line["images"] for line in lines] == [56, 112, 168, 224, 240]
        assert [line["validation_loss"] is not None for line in lines] == [False, True, False, True, True]
        assert [line["spent"] for line in lines] == pytest.approx([7 / 30, 14 / 30, 21 / 30, 28 / 30, 1])
        assert [line["learning_rate"] for line in lines] == [
            learning_rate(CONFIG, step - 1, (step - 1) / 30) for step in (7, 14, 21, 28, 30)
        ]

    def test_the_last_validation_loss_is_that_of_the_written_weights(self, finished, paths):
        order = np.random.default_rng([CONFIG.seed, 0]).permutation(len(paths))
        held_out = [paths[order[0]]]
        pixel_values = pretrain_module.center_crops(held_out, pretrain_module.PhotoCache(), CONFIG)
        found = masked_mse(load_pretrained_folder(str(finished)).eval(), pixel_values)
        assert found == pytest.approx(read_log(finished)[-1]["validation_loss"], rel=0.02)  # float16 on disk

    def test_the_summary_holds_the_last_line_the_baseline_and_the_settings(self, finished):
        summary = json.loads((finished / "summary.json").read_text())
        assert summary.items() >= read_log(finished)[-1].items()
        assert summary["config"] == CONFIG.to_dict()
        assert summary["gaussian_neighbour_mse"] > 0
        assert summary["validation_images"] == 1

    @pytest.mark.parametrize("name", ["loss.png", "reconstructions.png"])
    def test_pictures_for_people_are_real_pngs(self, finished, name):
        with Image.open(finished / name) as image:
            assert image.format == "PNG"
            image.load()
            assert min(image.size) > 200
            assert len(set(image.convert("L").get_flattened_data())) > 10

    def test_weights_are_stored_in_half_precision(self, finished):
        assert {tensor.dtype for tensor in load_file(finished / "model.safetensors").values()} == {torch.float16}
        assert (finished / "model.safetensors").stat().st_mode & 0o444 == 0o444, "others could not read the weights"

    def test_what_is_written_is_the_moving_average(self, finished):
        written, checkpoint = load_file(finished / "model.safetensors"), load_file(finished / "checkpoint.safetensors")
        raw = load_pretrained_folder(str(finished))
        name = "decoder.mask_token"
        assert torch.equal(written[name], checkpoint[f"average.{name}"].half())
        assert not torch.equal(checkpoint[f"average.{name}"], checkpoint[f"weight.{name}"])
        assert torch.equal(dict(raw.named_parameters())[name], written[name].float())

    def test_global_randomness_does_not_matter_and_is_left_alone(self, finished, paths, tmp_path):
        torch.manual_seed(123)
        torch.rand(5)
        pretrain(paths, tmp_path, CONFIG, Budget(steps=30))
        assert_same_run(tmp_path, finished)

    def test_another_seed_gives_another_model(self, finished, paths, tmp_path):
        pretrain(paths, tmp_path, dataclasses.replace(CONFIG, seed=1), Budget(steps=30))
        assert (tmp_path / "model.safetensors").read_bytes() != (finished / "model.safetensors").read_bytes()

    def test_photographs_to_validate_on_are_never_trained_on(self, tmp_path, paths, monkeypatch):
        seen = {}
        crops, stream = pretrain_module.center_crops, pretrain_module.BatchStream
        monkeypatch.setattr(pretrain_module, "center_crops", lambda p, *a: seen.update(held_out=p) or crops(p, *a))
        monkeypatch.setattr(pretrain_module, "BatchStream", lambda p, *a: seen.update(training=p) or stream(p, *a))
        many = paths * 6
        pretrain(many, tmp_path, CONFIG, Budget(steps=1))
        assert len(seen["held_out"]) == len(many) // 20
        assert sorted([*seen["held_out"], *seen["training"]]) == sorted(many)


class TestResume:
    @pytest.mark.parametrize("stop", [7, 21])
    def test_a_stopped_run_goes_on_to_the_same_bytes_and_the_same_log(self, finished, paths, tmp_path, stop):
        with pytest.raises(_Stop):
            pretrain(paths, tmp_path, CONFIG, Budget(steps=30), checkpoint_minutes=0, progress=_stop_at(stop))
        assert not (tmp_path / "model.safetensors").exists()
        pretrain(paths, tmp_path, CONFIG, Budget(steps=30))
        assert_same_run(tmp_path, finished)

    def test_a_run_stopped_before_its_first_checkpoint_starts_afresh(self, finished, paths, tmp_path):
        with pytest.raises(_Stop):
            pretrain(paths, tmp_path, CONFIG, Budget(steps=30), checkpoint_minutes=1e6, progress=_stop_at(14))
        assert not (tmp_path / "checkpoint.safetensors").exists()
        pretrain(paths, tmp_path, CONFIG, Budget(steps=30))
        assert_same_run(tmp_path, finished)

    @pytest.mark.slow
    def test_killed_by_the_system_it_goes_on_to_the_same_bytes(self, finished, paths, tmp_path):
        command = [sys.executable, __file__, str(Path(paths[0]).parent), str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout:
                if line.startswith("step 14"):
                    os.kill(process.pid, signal.SIGKILL)
                    break
            assert process.wait(60) == -signal.SIGKILL
        assert [line["step"] for line in read_log(tmp_path)] == [7, 14]
        assert not (tmp_path / "model.safetensors").exists()
        pretrain(paths, tmp_path, CONFIG, Budget(steps=30))
        assert_same_run(tmp_path, finished)

    def test_a_last_line_of_the_log_that_was_cut_short_is_dropped(self, finished, paths, tmp_path):
        with pytest.raises(_Stop):
            pretrain(paths, tmp_path, CONFIG, Budget(steps=30), checkpoint_minutes=0, progress=_stop_at(21))
        with (tmp_path / "log.jsonl").open("a") as log:
            log.write('{"step": 22, "ima')
        pretrain(paths, tmp_path, CONFIG, Budget(steps=30))
        assert_same_run(tmp_path, finished)

    def test_a_finished_run_gives_its_last_line_again_and_trains_no_further(self, finished, paths):
        before = (finished / "model.safetensors").read_bytes()
        again = pretrain(paths, finished, CONFIG, Budget(steps=30))
        assert dataclasses.asdict(again).items() >= read_log(finished)[-1].items()
        assert (finished / "model.safetensors").read_bytes() == before

    def test_a_larger_budget_goes_on(self, paths, tmp_path):
        pretrain(paths, tmp_path, CONFIG, Budget(steps=3))
        assert pretrain(paths, tmp_path, CONFIG, Budget(steps=5)).step == 5
        assert [line["step"] for line in read_log(tmp_path)] == [3, 5]

    def test_other_settings_are_refused_naming_both(self, paths, tmp_path):
        pretrain(paths, tmp_path, CONFIG, Budget(steps=1))
        other = dataclasses.replace(CONFIG, learning_rate=0.5)
        sentence = (
            r'written with other settings: .*"learning_rate": 0.01.* there, .*"learning_rate": 0.5.* now. Give the'
        )
        with pytest.raises(StoreError, match=sentence):
            pretrain(paths, tmp_path, other, Budget(steps=2))

    def test_other_photographs_are_refused(self, paths, tmp_path):
        pretrain(paths, tmp_path, CONFIG, Budget(steps=1))
        for others in (paths[:-1], paths[::-1]):
            with pytest.raises(
                StoreError, match="made from other photographs, or from the same in another order: give"
            ):
                pretrain(others, tmp_path, CONFIG, Budget(steps=2))

    def test_the_folder_of_the_photographs_may_have_moved(self, paths, tmp_path):
        pretrain(paths, tmp_path / "out", CONFIG, Budget(steps=1))
        moved = Path(paths[0]).parent.rename(tmp_path / "moved")
        try:
            again = [str(moved / Path(path).name) for path in paths]
            assert pretrain(again, tmp_path / "out", CONFIG, Budget(steps=2)).step == 2
        finally:
            moved.rename(Path(paths[0]).parent)


class TestBudget:
    def test_hours_end_the_run(self, paths, tmp_path):
        started = time.monotonic()
        line = pretrain(paths, tmp_path, CONFIG, Budget(hours=1 / 3600))
        assert line.spent == 1
        assert line.hours >= 1 / 3600
        assert line.hours * 3600 <= time.monotonic() - started
        assert line.validation_loss is not None
        assert load_pretrained_folder(str(tmp_path)).config.hidden_size == 16

    def test_hours_of_earlier_runs_count(self, paths, tmp_path):
        first = pretrain(paths, tmp_path, CONFIG, Budget(steps=3))
        again = pretrain(paths, tmp_path, CONFIG, Budget(hours=first.hours / 2))
        assert (again.step, again.hours) == (first.step, first.hours)

    @pytest.mark.parametrize("budget", [{}, {"steps": 1, "hours": 1.0}])
    def test_exactly_one_is_needed(self, budget):
        with pytest.raises(ConfigError, match="pretraining needs exactly one budget: steps or hours"):
            Budget(**budget)

    @pytest.mark.parametrize("budget", [{"steps": 0}, {"steps": -3}, {"hours": 0.0}, {"hours": -1.0}])
    def test_it_must_be_positive(self, budget):
        with pytest.raises(ConfigError, match=f"the budget must be positive, got {next(iter(budget.values()))}"):
            Budget(**budget)


class TestLearningRate:
    RATE = dataclasses.replace(CONFIG, learning_rate=2.0, min_learning_rate=0.5, warmup_steps=4)

    def test_warm_up_is_a_straight_line_by_steps(self):
        assert [learning_rate(self.RATE, step, 0.0) for step in range(6)] == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]

    def test_the_cosine_falls_to_the_floor(self):
        rates = [learning_rate(self.RATE, 100, share) for share in (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)]
        quarter = 0.75 * math.sqrt(0.5)
        assert rates == pytest.approx([2.0, 1.25 + quarter, 1.25, 1.25 - quarter, 0.5, 0.5])

    def test_constant_stays(self):
        constant = dataclasses.replace(self.RATE, schedule="constant")
        assert [learning_rate(constant, 100, share) for share in (0.0, 0.5, 1.0)] == [2.0, 2.0, 2.0]

    def test_no_warm_up(self):
        assert learning_rate(dataclasses.replace(self.RATE, warmup_steps=0), 0, 0.0) == 2.0


class TestInitFrom:
    def test_begins_with_the_given_weights(self, finished, paths, tmp_path):
        still = dataclasses.replace(CONFIG, learning_rate=1e-12, weight_decay=0.0)
        pretrain(paths, tmp_path, still, Budget(steps=1), start=Start(init_from=finished))
        assert (tmp_path / "model.safetensors").read_bytes() == (finished / "model.safetensors").read_bytes()

    def test_the_mask_ratio_is_that_of_the_new_settings(self, finished, paths, tmp_path):
        half = dataclasses.replace(CONFIG, mask_ratio=0.5)
        pretrain(paths, tmp_path, half, Budget(steps=1), start=Start(init_from=finished))
        assert load_pretrained_folder(str(tmp_path)).config.mask_ratio == 0.5

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ({"hidden_size": 32}, "has hidden_size 16, intermediate_size 64, the settings say hidden_size 32, interme"),
            (
                {"decoder_num_hidden_layers": 2},
                "decoder_num_hidden_layers 1, the settings say decoder_num_hidden_layers 2",
            ),
            ({"num_attention_heads": 4}, "num_attention_heads 2, the settings say num_attention_heads 4"),
        ],
    )
    def test_another_architecture_is_refused_naming_both(self, finished, paths, tmp_path, change, sentence):
        other = dataclasses.replace(CONFIG, **change)
        with pytest.raises(ConfigError, match=sentence):
            pretrain(paths, tmp_path, other, Budget(steps=1), start=Start(init_from=finished))

    def test_a_folder_that_is_no_backbone_is_refused(self, paths, tmp_path):
        with pytest.raises(CheckpointError, match="could not be loaded as one"):
            pretrain(paths, tmp_path / "out", CONFIG, Budget(steps=1), start=Start(init_from=tmp_path))

    def test_it_is_part_of_the_settings(self, finished, paths, tmp_path):
        pretrain(paths, tmp_path, CONFIG, Budget(steps=1))
        with pytest.raises(StoreError, match="written with other settings"):
            pretrain(paths, tmp_path, CONFIG, Budget(steps=2), start=Start(init_from=finished))


DECODER = dataclasses.replace(
    PretrainConfig(), decoder_hidden_size=24, decoder_num_hidden_layers=1, decoder_num_attention_heads=2,
    batch_size=8, learning_rate=1e-2, warmup_steps=5, ema_decay=0.8, min_scale=0.9,
)  # fmt: skip


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """An encoder of float32 values that float16 does not hold, without a decoder, as conversion writes it."""
    folder = tmp_path_factory.mktemp("encoder")
    model = new_mae(CONFIG)
    weights = {name: weight for name, weight in model.state_dict().items() if name.startswith("vit.")}
    assert any(not torch.equal(weight.half().float(), weight) for weight in weights.values())
    save_pretrained_folder(model, folder, weights=weights)
    (folder / "origin.json").write_text('{"source": "drawn from a hat"}')
    return folder


@pytest.fixture(scope="module")
def frozen(tmp_path_factory, paths, encoder):
    out = tmp_path_factory.mktemp("frozen") / "backbone"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrain_module, "LOG_EVERY", LOG_EVERY)
        pretrain(paths, out, DECODER, Budget(steps=60), start=Start(encoder=str(encoder), freeze_encoder=True))
    return out


class TestEncoder:
    """A trained encoder, here the one of an earlier run, gets a fresh decoder."""

    @staticmethod
    def _encoder_of(folder):
        return load_pretrained_folder(str(folder), encoder_only=True).vit.state_dict()

    def test_frozen_it_stays_bit_for_bit_and_the_decoder_learns(self, frozen, encoder):
        before, after = self._encoder_of(encoder), self._encoder_of(frozen)
        assert before.keys() == after.keys()
        assert all(torch.equal(after[name], weight) for name, weight in before.items())
        log = read_log(frozen)
        assert log[-1]["loss"] < 0.6 * log[0]["loss"]
        backbone = FrozenMAE.from_pretrained(frozen)
        assert (backbone.image_size, backbone.patch_size, backbone.model.config.decoder_hidden_size) == (32, 8, 24)
        assert json.loads((frozen / "origin.json").read_text()) == {"source": "drawn from a hat"}

    def test_frozen_it_is_not_in_the_optimiser(self, frozen):
        names = load_file(frozen / "checkpoint.safetensors").keys()
        assert {name.split(".")[0] for name in names} == {"weight", "average", "exp_avg", "exp_avg_sq"}
        assert all(name.split(".")[1] == "decoder" for name in names)

    def test_a_stopped_run_goes_on_to_the_same_weights(self, frozen, encoder, paths, tmp_path):
        start = Start(encoder=str(encoder), freeze_encoder=True)
        with pytest.raises(_Stop):
            pretrain(
                paths, tmp_path, DECODER, Budget(steps=60), start=start, checkpoint_minutes=0,
                progress=_stop_at(21),
            )  # fmt: skip
        pretrain(paths, tmp_path, DECODER, Budget(steps=60), start=start)
        assert (tmp_path / "model.safetensors").read_bytes() == (frozen / "model.safetensors").read_bytes()

    def test_not_frozen_it_learns_too(self, encoder, paths, tmp_path):
        pretrain(paths, tmp_path, DECODER, Budget(steps=3), start=Start(encoder=str(encoder)))
        before, after = self._encoder_of(encoder), self._encoder_of(tmp_path)
        name = "layers.0.mlp.fc1.weight"
        assert not torch.allclose(before[name], after[name], atol=1e-4)

    def test_one_that_float16_holds_is_written_so(self, frozen, paths, tmp_path):
        start = Start(encoder=str(frozen), freeze_encoder=True)
        pretrain(paths, tmp_path / "first", DECODER, Budget(steps=1), start=start)
        weights = load_file(tmp_path / "first" / "model.safetensors")
        of_encoder = {weight.dtype for name, weight in weights.items() if name.startswith("vit.")}
        assert torch.float32 in of_encoder
        assert {weight.dtype for name, weight in weights.items() if name.startswith("decoder.")} == {torch.float16}
        whole = load_pretrained_folder(str(frozen)).half()
        save_pretrained_folder(whole, tmp_path / "half")
        start = Start(encoder=str(tmp_path / "half"), freeze_encoder=True)
        pretrain(paths, tmp_path / "second", DECODER, Budget(steps=1), start=start)
        weights = load_file(tmp_path / "second" / "model.safetensors")
        assert {weight.dtype for weight in weights.values()} == {torch.float16}

    def test_other_weights_or_another_choice_of_what_learns_do_not_go_on(self, frozen, encoder, paths):
        for start in (Start(encoder=str(encoder)), Start(encoder=str(frozen), freeze_encoder=True)):
            with pytest.raises(StoreError, match="written with other settings"):
                pretrain(paths, frozen, DECODER, Budget(steps=61), start=start)

    def test_a_size_that_is_not_its_own_is_refused(self, encoder, paths, tmp_path):
        other = dataclasses.replace(DECODER, image_size=64, patch_size=8)
        with pytest.raises(ConfigError, match="it has image_size 32, the settings say image_size 64. Leave them out"):
            pretrain(paths, tmp_path, other, Budget(steps=1), start=Start(encoder=str(encoder)))

    def test_nothing_to_freeze_and_two_beginnings_are_refused(self, tmp_path):
        with pytest.raises(ConfigError, match="an encoder to freeze needs weights"):
            Start(freeze_encoder=True)
        with pytest.raises(ConfigError, match="give one of the two"):
            Start(init_from=tmp_path, encoder=str(tmp_path))


class TestUnreadable:
    def test_files_are_listed_and_do_not_stop_the_run(self, finished, paths, tmp_path):
        empty, text = tmp_path / "empty.jpg", tmp_path / "text.jpg"
        empty.touch()
        text.write_text("not a picture")
        out = tmp_path / "out"
        pretrain([str(text), *paths, str(empty)], out, CONFIG, Budget(steps=30))
        lines = (out / "unreadable.txt").read_text().splitlines()
        assert [line.split(": ")[0] for line in lines] == [str(empty), str(text)]
        assert "is empty (0 bytes)" in lines[0]
        assert "must be one of JPEG, PNG" in lines[1]
        assert_same_run(out, finished)

    def test_no_list_without_them(self, finished):
        assert not (finished / "unreadable.txt").exists()

    def test_nothing_readable_is_refused(self, tmp_path):
        (tmp_path / "empty.jpg").touch()
        with pytest.raises(SourceError, match="needs readable photographs; none of 1 files could be read"):
            pretrain([str(tmp_path / "empty.jpg")], tmp_path / "out", CONFIG, Budget(steps=1))

    def test_one_photograph_alone_is_refused(self, paths, tmp_path):
        with pytest.raises(SourceError, match="at least two readable photographs: one to train on, one to validate"):
            pretrain(paths[:1], tmp_path / "out", CONFIG, Budget(steps=1))
        assert not (tmp_path / "out").exists()


def test_masked_mse_is_the_mean_square_over_hidden_values():
    model = new_mae(CONFIG).eval()
    pixel_values = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    found = masked_mse(model, pixel_values, batch_size=2)
    pred, mask = FrozenMAE(model).reconstruct(pixel_values, mask_noise(0, 1, 16))
    hidden = mask[:, 0] > 0
    expected = (pred[:, 0] - patchify(pixel_values, 8)).square()[hidden].mean()
    assert found == pytest.approx(expected.item(), rel=1e-5)


if __name__ == "__main__":
    torch.set_num_threads(1)
    pretrain_module.LOG_EVERY, pretrain_module.EVALUATE_EVERY = LOG_EVERY, 2 * LOG_EVERY
    pretrain(
        sorted(str(path) for path in Path(sys.argv[1]).iterdir()),
        Path(sys.argv[2]),
        CONFIG,
        Budget(steps=30),
        checkpoint_minutes=0,
        progress=lambda line: print(f"step {line.step}", flush=True),
    )
