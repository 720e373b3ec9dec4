"""From pictures to stored features: deliveries, views, the encoder's tokens, and a run that goes on."""

import csv
import hashlib
import io
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks import starter_features
from benchmarks.starter_deliveries import deliver, is_lossless
from benchmarks.starter_store import FeatureStore
from benchmarks.starter_views import SIDE, cut_views
from PIL import Image
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from cinemae.core.block_spectrum import block_spectrum
from cinemae.core.texture import texture

VIEWS = ("ws", "wc", "e0", "e1", "m1", "m2", "m3", "m4", "c0", "c1", "c2", "c3", "c4", "th", "tl", "zz", "rr")
SHA = hashlib.sha256(b"picture").hexdigest()


def _picture(width: int, height: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def test_deliveries_follow_from_hash_and_number_alone() -> None:
    picture = _picture(320, 240)
    pixels = [np.asarray(deliver(picture, SHA, number, lossless=True)) for number in (0, 1, 2, 3)]
    again = [np.asarray(deliver(picture, SHA, number, lossless=True)) for number in (0, 1, 2, 3)]
    for one, other in zip(pixels, again, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len({values.tobytes() for values in pixels}) == 4
    assert np.asarray(deliver(picture, SHA[::-1], 0, lossless=True)).tobytes() != pixels[0].tobytes()


@pytest.mark.parametrize(("options", "expected"), [({}, False), ({"lossless": True}, True)])
def test_lossless_webp_is_told_from_lossy(options: dict, expected: bool) -> None:
    buffer = io.BytesIO()
    _picture(64, 64).save(buffer, "WEBP", **options)
    assert is_lossless(buffer.getvalue()) is expected


def test_views_have_one_size_and_a_small_picture_has_fewer() -> None:
    of_large = dict(cut_views(_picture(800, 600), VIEWS))
    assert set(of_large) == set(VIEWS)
    assert {view.shape for view in of_large.values()} == {(SIDE, SIDE, 3)}
    assert set(dict(cut_views(_picture(120, 160), VIEWS))) == {*VIEWS} - {"c1", "c2", "c3", "c4", "th", "tl"}
    assert set(dict(cut_views(_picture(240, 600), ("c1", "c2", "c3", "c4")))) == {"c1", "c2"}


def test_native_views_hold_the_pictures_own_pixels_and_quarters_all_of_it() -> None:
    picture = _picture(800, 600)
    pixels = np.asarray(picture)
    views = dict(cut_views(picture, VIEWS))
    np.testing.assert_array_equal(views["c0"], pixels[188 : 188 + SIDE, 288 : 288 + SIDE])
    np.testing.assert_array_equal(views["c4"], pixels[338 : 338 + SIDE, 518 : 518 + SIDE])
    whole = np.block([[[views["m1"]], [views["m2"]]], [[views["m3"]], [views["m4"]]]])
    np.testing.assert_array_equal(whole, np.asarray(picture.resize((448, 448), Image.Resampling.BICUBIC)))


def test_the_textured_window_is_where_the_texture_is() -> None:
    pixels = np.full((600, 800, 3), 128, np.uint8)
    pixels[-224:, :224] = np.random.default_rng(0).integers(0, 256, (224, 224, 3))
    views = dict(cut_views(Image.fromarray(pixels), ("th", "tl")))
    np.testing.assert_array_equal(views["th"], pixels[-224:, :224])
    assert views["tl"].std() == 0


def test_token_statistics_of_a_stripe() -> None:
    tokens = torch.zeros(1, 257, 1)
    tokens[:, 0] = 7
    tokens[0, 1:, 0] = (torch.arange(256) % 16 % 2).float()  # columns 0 1 0 1: neighbours differ across, not down
    statistics = starter_features.token_statistics(tokens)[0, :, 0]
    torch.testing.assert_close(statistics, torch.tensor([7, 0.5, 256**0.5 / 255**0.5 / 2, 0.5**0.5]))


@pytest.fixture
def backbone(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    size = {"hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 16}
    decoder = {f"decoder_{name}": value for name, value in size.items()}
    model = ViTMAEForPreTraining(ViTMAEConfig(**size, **decoder, image_size=SIDE, patch_size=14))
    model.save_pretrained(tmp_path / "backbone")
    return tmp_path / "backbone"


def test_a_run_stores_what_the_encoder_says_and_goes_on_where_it_stopped(
    tmp_path: Path, backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = []
    for number in range(5):
        file = tmp_path / f"{number}.png"
        _picture(320, 240, number).save(file)
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        rows.append({"file": file.name, "sha256": sha256, "class": "fake", "group": "g", "family": "f", "fold": 0})
    (tmp_path / "4.png").write_bytes(b"no picture")
    table = tmp_path / "list.csv"
    with table.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    out = tmp_path / "features"
    command = [str(path) for path in (table, tmp_path, backbone, out)]
    command += ["--layers", "1-2", "--views", "ws,c0,c1", "--deliveries", "0,2", "--spectra"]
    monkeypatch.setattr(sys, "argv", ["starter_features", *command])
    monkeypatch.setattr(starter_features, "PART", 3)
    starter_features.main()
    parts = {file: file.read_bytes() for file in out.iterdir()}
    starter_features.main()
    assert {file: file.read_bytes() for file in out.iterdir()} == parts
    assert len(parts) == 2

    store = FeatureStore.open([out], table)
    assert len(store.pictures) == 4
    assert store.has(("ws",), 2).all()
    assert not store.has(("ws",), 1).any()
    stored = store.mean_of(("ws",), (1, 2), ("cls",), 0)
    model = ViTMAEForPreTraining.from_pretrained(backbone).vit.eval()
    model.config.mask_ratio = 0.0
    for place, sha256 in enumerate(store.pictures.sha256):
        file = next(row["file"] for row in rows if row["sha256"] == sha256)
        delivered = deliver(Image.open(tmp_path / file).convert("RGB"), sha256, 0, lossless=True)
        view = dict(cut_views(delivered, ("ws",)))["ws"].astype(np.float32) / 255
        values = (torch.from_numpy(view).permute(2, 0, 1) - starter_features.MEAN) / starter_features.STD
        with torch.no_grad():
            states = model(values[None].float(), output_hidden_states=True).hidden_states
        expected = torch.cat([states[1][0, 0], states[2][0, 0]])
        np.testing.assert_allclose(stored[place], expected.numpy(), atol=5e-3)
        for name, measure in (("spectrum", block_spectrum), ("texture", texture)):
            found = measure(values[None].float(), starter_features.MEAN.flatten(), starter_features.STD.flatten())
            np.testing.assert_allclose(store.of_pixels(name, ("ws",), 0)[place], found[0], atol=2e-3)


def test_half_of_the_generated_images_and_sixty_photographs_a_source_have_poor_copies() -> None:
    rows = [
        {"sha256": hashlib.sha256(f"{group} {number}".encode()).hexdigest(), "class": kind, "group": group}
        for kind, group, count in (("real", "a", 100), ("real", "b", 20), ("fake", "sd1", 400))
        for number in range(count)
    ]
    chosen = starter_features.with_poor_copies(rows)
    counts = Counter(row["group"] for row in chosen)
    assert (counts["a"], counts["b"]) == (60, 20)
    assert 150 < counts["sd1"] < 250
    assert starter_features.with_poor_copies(rows[::-1]) == chosen  # whatever the order of the list
