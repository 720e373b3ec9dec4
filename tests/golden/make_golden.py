"""Made the files beside it, at commit 98dfb51: what users of that version have on disk.

Do not run it again: files written anew by later code would show nothing about files written then. It stays to say how
they were made. For a new format add a function that writes new files under new names, and leave the old ones alone.

    python tests/golden/make_golden.py tests/golden
"""

# ruff: noqa: I001 - the modules of 98dfb51, some of which are gone
from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from drawn import draw_many
from PIL import Image

from cinemae.config import (
    AugmentConfig,
    BackboneInfo,
    DecisionConfig,
    DeviationConfig,
    ExtractorConfig,
    ImageConfig,
    MaskConfig,
)
from cinemae.core.masking import complementary_noise, mask_noise
from cinemae.data.model_dir import read_model_config, write_model_config
from cinemae.data.results import ResultsHeader
from cinemae.data.store_format import StoreHeader

HASH = "ab" * 32
PRETRAIN = (  # noqa: SIM905 - read as typed
    "--steps 2 --image-size 32 --patch-size 8 --hidden-size 16 --num-layers 2 --num-heads 2 --batch-size 4 "
    "--decoder-hidden-size 16 --decoder-num-layers 1 --decoder-num-heads 2"
).split()
CONFIGS = {
    "default": ExtractorConfig(),
    "tiles": ExtractorConfig(image=ImageConfig(size=64, resize_to=256, views="tiles", jpeg_quality=90)),
    "complementary": ExtractorConfig(mask=MaskConfig(num_passes=4, scheme="complementary", seed=7)),
    "unit": ExtractorConfig(
        image=ImageConfig(resize="stretch", mean=(0.5, 0.5, 0.5)), deviation=DeviationConfig("unit", unbiased=True)
    ),
}


def run(*arguments: object, cwd: Path, codes: tuple[int, ...] = (0,)) -> str:
    """Run a command of cinemae."""
    words = [sys.executable, "-m", "cinemae", *map(str, arguments)]
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode not in codes:
        raise SystemExit(f"{words} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def draw(seed: int, noise: float) -> Image.Image:
    """Smooth colour and noise."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (4, 5, 3), np.uint8))
    smooth = np.asarray(small.resize((40, 36), Image.Resampling.BICUBIC), np.float64)
    return Image.fromarray((smooth + rng.normal(0, noise, smooth.shape)).clip(0, 255).astype(np.uint8))


def draw_set(root: Path, start: int, count: int) -> Path:
    """Write real/camera and fake/painter."""
    for folder, offset, noise in (("real/camera", 0, 3.0), ("fake/painter", 1000, 0.0)):
        (root / folder).mkdir(parents=True)
        for index in range(count):
            draw(start + offset + index, noise).save(root / folder / f"{index}.png")
    return root


def make_pictures(out: Path) -> None:
    """Write five files that can be read, one of them a JPEG with a generator's note, and one that cannot."""
    pictures = draw_set(out / "pictures", 5000, 2)
    exif = Image.Exif()
    exif[0x0131] = "Stable Diffusion"
    draw(6000, 8.0).save(pictures / "real/camera/2.jpg", quality=88, exif=exif)
    (pictures / "real/camera/3.png").write_bytes((pictures / "real/camera/0.png").read_bytes()[:200])


def make_model(out: Path) -> None:
    """Write model/ by pretrain, extract and train."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        for split, start, count in (("train", 0, 8), ("val", 100, 8)):
            draw_set(work / split, start, count)
        run("pretrain", "train", "--out", "backbone", *PRETRAIN, cwd=work)
        for split in ("train", "val"):
            run("extract", split, "--out", f"{split}-store", "--backbone", "backbone", cwd=work)
        run(
            *("train", "train-store", "--val", "val-store", "--out", "model", "--backbone", "backbone"),
            *("--name", "golden", "--epochs", "30", "--learning-rate", "0.01", "--num-seeds", "1"),
            *("--agg-hidden", "8", "--cls-hidden", "8"),
            cwd=work,
        )
        shutil.copytree(work / "model", out / "model")
    (out / "model" / "training.png").unlink()


def make_isotonic(out: Path) -> None:
    """Write isotonic/ as the light install has it: config.json, whose curve is written by hand, and its graph."""
    shutil.copytree(out / "model", out / "isotonic")
    config = read_model_config(out / "isotonic")
    curve = {"knot_logits": (-4.0, -3.3, -2.5, 0.0), "knot_log_odds": (-3.0, -1.0, -0.5, 2.0), "platt_scale": 0.5}
    limits = {"threshold": 0.4, "real_below": 0.1, "rule": "curve and thresholds written by hand"}
    decision = DecisionConfig(calibration="isotonic", **curve, **limits)
    write_model_config(dataclasses.replace(config, name="isotonic", decision=decision), out / "isotonic")
    run("export", "isotonic", cwd=out)
    for path in (out / "isotonic").iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in ("config.json", "model.onnx"):
            path.unlink()


def make_outputs(out: Path) -> None:
    """Write store/, results/, cache.sqlite, and what detect says of the pictures."""
    run("extract", "pictures", "--out", "store", "--model", "model", "--shard-size", "2", cwd=out, codes=(1,))
    for model in ("model", "isotonic"):
        command = ("detect", "pictures", "--model", model, "--format", "jsonl", "--stable")
        more = ("--cache", "cache.sqlite") if model == "model" else ()
        (out / f"verdicts-{model}.jsonl").write_text(run(*command, *more, cwd=out, codes=(1,)))
    draw_many(out / "many")
    run("detect", "many", "--model", "model", "--results", "results", cwd=out)
    shutil.rmtree(out / "many")


def make_expected(out: Path) -> None:
    """Write expected.json: names and numbers that must stay."""
    noises = {"independent": mask_noise, "complementary": complementary_noise}
    store = dict(extractor=CONFIGS["default"], backbone=BackboneInfo(HASH, 16, 196, 1024), dtype="float32")
    store |= dict(fingerprint=CONFIGS["default"].fingerprint(HASH), shard_size=256, num_rows=1000, records_hash=HASH)
    results = dict(model="golden@0123456789ab", fingerprint="0123456789abcdef", threshold=0.75, real_below=0.25)
    results |= dict(stable=True, num_rows=1000, part_size=256, records_hash=HASH)
    values = {
        "model_id": {name: read_model_config(out / name).model_id for name in ("model", "isotonic")},
        "fingerprint": {name: config.fingerprint(HASH) for name, config in CONFIGS.items()},
        "extract_job": {
            "plain": StoreHeader(**store).job,
            "augmented": StoreHeader(**store, augment=AugmentConfig(seed=3), condition="jpeg=50").job,
        },
        "detect_job": ResultsHeader(**results).job,
        "noise_sha256": [
            [scheme, *sizes, hashlib.sha256(noises[scheme](*sizes).astype("<f4").tobytes()).hexdigest()]
            for scheme, sizes in [
                *(("independent", sizes) for sizes in ((0, 2, 196), (0, 1, 16), (1, 4, 256), (12345, 3, 64))),
                *(("complementary", sizes) for sizes in ((0, 4, 196), (7, 2, 16))),
            ]
        ],
    }
    (out / "expected.json").write_text(json.dumps(values, indent=2) + "\n")


def main() -> None:
    """Write everything into a folder."""
    out = Path(sys.argv[1]).resolve()
    if (out / "pictures").exists():
        raise SystemExit(f"{out} holds the golden files already, and they are not made again.")
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    for make in (make_pictures, make_model, make_isotonic, make_outputs, make_expected):
        make(out)


if __name__ == "__main__":
    main()
