"""Fixtures: a tiny model with random weights, and pictures drawn in code."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from cinemae.config import (
    BackboneInfo,
    DecisionConfig,
    ExtractorConfig,
    GlobalFeatureConfig,
    HeadConfig,
    ImageConfig,
    LcasConfig,
    LcasReference,
    MaskConfig,
    ModelConfig,
    ViewPooling,
)
from cinemae.pretrain_config import PretrainConfig

if TYPE_CHECKING:
    import onnx
    from playwright.sync_api import Browser, Page

    from cinemae.core.model import CinemaeModel

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # some tests use onnxruntime itself, which would report on them
os.environ.pop("COLUMNS", None)  # readline sets it in workers of xdist, and a table would be broken there

TINY = PretrainConfig(
    image_size=32,
    patch_size=8,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    decoder_hidden_size=16,
    decoder_num_hidden_layers=1,
    decoder_num_attention_heads=2,
)
TINY_IMAGE = ImageConfig(size=32, resize_to=40)
TINY_DECISION = DecisionConfig(
    threshold=0.6, real_below=0.4, platt_scale=1.5, platt_offset=-0.1, rule="drawn from a hat, for tests"
)

VERDICT_KEYS = (
    "path", "status", "verdict", "prob_fake", "logit", "threshold", "false_positive_rate", "reasons",
    "variability", "overall", "sensitivity", "ood_score", "warnings", "redeliveries", "provenance",
    "width", "height", "format", "content_hash", "model", "examined", "reason_kinds", "schema_version",
)  # fmt: skip


@pytest.fixture(scope="session")
def verdict_keys() -> list[str]:
    """The keys of a verdict in JSON, in their order."""
    return list(VERDICT_KEYS)


def write_tiny_model(
    directory: Path,
    *,
    image: ImageConfig = TINY_IMAGE,
    decision: DecisionConfig = TINY_DECISION,
    reference: LcasReference | None = None,
    view_pooling: ViewPooling = "logit",
    backbone: PretrainConfig = TINY,
    global_feature: GlobalFeatureConfig | None = None,
    head: Mapping[str, Any] | None = None,
    backbone_folder: Path | None = None,
) -> Path:
    """Write config.json, backbone and head with random weights: everything but the ONNX graph.

    With `backbone_folder` the backbone is a copy of that folder; `backbone` names its sizes.
    """
    import torch
    from safetensors.torch import save_file

    from cinemae.core.backbone import FrozenMAE
    from cinemae.core.checkpoint import load_pretrained_folder, new_mae
    from cinemae.core.head import CinemaeHead, pooled_dim
    from cinemae.models.directory import BACKBONE_DIR, CONFIG_FILE, HEAD_FILE

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        mae = new_mae(backbone) if backbone_folder is None else load_pretrained_folder(str(backbone_folder))
        extractor = ExtractorConfig(
            image=image, mask=MaskConfig(num_passes=2), global_feature=global_feature or GlobalFeatureConfig()
        )
        dim = pooled_dim(extractor.global_feature.dim(backbone.hidden_size), view_pooling, image.num_views)
        widths = {"agg_hidden": 8, "cls_hidden": (8,), **(head or {})}
        trained = CinemaeHead(HeadConfig(global_dim=dim, view_pooling=view_pooling, **widths))
    directory.mkdir(parents=True, exist_ok=True)
    if backbone_folder is None:
        mae.save_pretrained(directory / BACKBONE_DIR)
    else:
        shutil.copytree(backbone_folder, directory / BACKBONE_DIR)
    save_file(trained.state_dict(), directory / HEAD_FILE)
    frozen = FrozenMAE(mae)
    config = ModelConfig(
        name="tiny",
        backbone=BackboneInfo(frozen.content_hash, backbone.patch_size, frozen.num_patches, backbone.hidden_size),
        extractor=extractor,
        lcas=LcasConfig(),
        head=trained.config,
        decision=decision,
        reference=reference or LcasReference(levels=(0.0, 0.5, 1.0), values=(-2.0, 0.0, 2.0)),
        provenance={"made_for": "tests"},
    )
    (directory / CONFIG_FILE).write_text(json.dumps(config.to_dict(), indent=2), encoding="utf-8")
    return directory


@pytest.fixture(scope="session")
def one_trace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[CinemaeModel], onnx.ModelProto]]:
    """A graph is traced once in a run, by the process that needs it first: that takes seconds even for tiny models.

    The others read what it wrote, for a model of the very same backbone and settings, and put the values of their own
    head in: the exporter folds what depends on the backbone, and leaves those as they are. The value traces each time.
    """
    import onnx
    import torch
    from filelock import FileLock

    from cinemae.models import export

    base, trace = tmp_path_factory.getbasetemp(), export._trace
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "graphs"
    folder.mkdir(exist_ok=True)

    def traced_once(model: CinemaeModel) -> onnx.ModelProto:
        path, head = folder / f"{_digest(model)}.onnx", model.head.state_dict()
        with FileLock(f"{path}.lock"):
            if not path.exists():
                drawn = copy.deepcopy(model)  # its head of values that no two layers share, and none is 0 or 1
                generator = torch.Generator().manual_seed(0)
                drawn.head.load_state_dict({name: torch.rand(v.shape, generator=generator) for name, v in head.items()})
                path.write_bytes(trace(drawn).SerializeToString())
        graph = onnx.load(path)
        own = {f"head.{name}": value.contiguous().numpy() for name, value in head.items()}
        found = [weight for weight in graph.graph.initializer if weight.name in own]
        if len(found) < len(own):
            return trace(model)
        for weight in found:
            weight.CopyFrom(onnx.numpy_helper.from_array(own[weight.name], weight.name))
        return graph

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export, "_trace", traced_once)
        yield trace


@pytest.fixture(scope="session", autouse=True)
def one_probe() -> Iterator[None]:
    """A format probe of the same files and labels grows its forests once in a process: they take half a second.

    Which files and labels, which forest and which folds is all that its answer depends on.
    """
    from cinemae.statistics import format_probe

    judge, known = format_probe.cross_val_predict, dict[tuple[object, ...], Any]()

    def judge_once(forest: Any, encoded: Any, labels: Any, *, cv: Any) -> Any:
        key = (encoded.shape, encoded.tobytes(), labels.tobytes(), repr(forest), repr(cv))
        if key not in known:
            known[key] = judge(forest, encoded, labels, cv=cv)
        return known[key].copy()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(format_probe, "cross_val_predict", judge_once)
        yield


@pytest.fixture
def no_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the graph out of models that are built, where a test does not score with it: torch scores without one."""
    monkeypatch.setattr("cinemae.training.build_model.write_graph", lambda model, directory, folder: None)


def _digest(model: CinemaeModel) -> str:
    """Return a hash of all that a graph is made of, but for the values of the head."""
    settings = (model, model.extractor.config, model.lcas, model.head.config)
    digest = hashlib.sha256("\n".join(map(repr, settings)).encode())
    for name, tensor in chain(model.extractor.named_parameters(), model.extractor.named_buffers()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory, one_trace: None) -> Path:
    """A complete model directory: 32x32 images, 16 patches, random weights; its graph made by ``cinemae export``."""
    from typer.testing import CliRunner

    from cinemae.app.cli import app

    directory = write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")
    result = CliRunner().invoke(app, ["export", str(directory)])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"{directory / 'model.onnx'}: ")
    return directory


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The backbone of `tiny_model` alone, where no graph is needed."""
    return write_tiny_model(tmp_path_factory.mktemp("models") / "bare") / "backbone"


@pytest.fixture(scope="session")
def tiny_model_tiles(tmp_path_factory: pytest.TempPathFactory, one_trace: None) -> Path:
    """The same weights with four tiles of each image."""
    from cinemae.models.export import export_onnx

    image = dataclasses.replace(TINY_IMAGE, views="tiles", resize_to=64)
    directory = write_tiny_model(tmp_path_factory.mktemp("models") / "tiles", image=image)
    export_onnx(directory)
    return directory


@pytest.fixture(scope="session")
def tiny_model_pooled(tmp_path_factory: pytest.TempPathFactory, one_trace: None) -> Path:
    """The same backbone with four tiles of each image, joined by mean and deviation before the head."""
    from cinemae.models.export import export_onnx

    image = dataclasses.replace(TINY_IMAGE, views="tiles", resize_to=64)
    directory = tmp_path_factory.mktemp("models") / "pooled"
    write_tiny_model(directory, image=image, view_pooling="mean_std")
    export_onnx(directory)
    return directory


@pytest.fixture(scope="session")
def tiny_model_whole(tmp_path_factory: pytest.TempPathFactory, one_trace: None) -> Path:
    """Three layers, two views: the whole and the native centre, statistics of two layers' tokens side by side."""
    from cinemae.models.export import export_onnx

    directory = write_tiny_model(
        tmp_path_factory.mktemp("models") / "whole",
        image=dataclasses.replace(ImageConfig.of_size(32), views="whole_native"),
        view_pooling="concat",
        backbone=dataclasses.replace(TINY, num_hidden_layers=3),
        global_feature=GlobalFeatureConfig(cls_layers=(1, 2), token_statistics=("cls", "mean", "std")),
        head={"cls_hidden": (), "clip_global": 5.0},
    )
    export_onnx(directory)
    return directory


@pytest.fixture(scope="session")
def tiny_model_five(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights with five views of each image; without a graph, so torch scores it."""
    image = dataclasses.replace(TINY_IMAGE, views="five")
    return write_tiny_model(tmp_path_factory.mktemp("models") / "five", image=image)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Torch on one thread: models this small are not worth sharing out, and two runs of them compute alike."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def draw(seed: int, width: int = 60, height: int = 50) -> Image.Image:
    """A picture of smooth colour and some noise, another for each seed."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (4, 5, 3), np.uint8))
    smooth = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), np.float64)
    noisy = smooth + rng.normal(0, 4 * (seed % 5), smooth.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def picture() -> Callable[..., Image.Image]:
    """`draw` itself."""
    return draw


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with three readable files, one of them in a folder below, and three that are not."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    draw(1).save(folder / "a.png")
    draw(2).save(folder / "b.jpg", quality=90)
    draw(3).save(folder / "sub" / "a.png")
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("not a picture")
    whole = (folder / "b.jpg").read_bytes()
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    return folder


BROWSER_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real Chromium with an empty profile; it ends with the module, and with it Playwright's event loop.

    Where none is installed the tests are skipped, unless CINEMAE_REQUIRE_BROWSER=1.
    """
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        message = f"no browser: none of {', '.join(BROWSERS)} is installed"
        if os.environ.get("CINEMAE_REQUIRE_BROWSER") == "1":
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=BROWSER_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def screenshot(tmp_path: Path) -> Callable[[Page, str], None]:
    """``screenshot(page, name)`` writes PNGs into the folder CINEMAE_SCREENSHOTS, if that is set."""
    folder = Path(os.environ.get("CINEMAE_SCREENSHOTS") or tmp_path)

    def take(page: Page, name: str) -> None:
        page.screenshot(path=folder / f"{name}.png", full_page=True)

    return take


@pytest.fixture
def open_file(browser: Browser) -> Iterator[Callable[..., Page]]:
    """``open_file(path, dark=True, width=360)`` shows a page from the disk; it may ask for nothing, and not fail."""
    opened: list[tuple[Page, list[str]]] = []

    def open_one(path: Path, *, width: int = 1280, height: int = 800, dark: bool = False) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
        )
        page = context.new_page()
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text))
        page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
        context.on("request", lambda request: request.url.startswith(("file:", "data:")) or wrong.append(request.url))
        page.goto(path.as_uri())
        opened.append((page, wrong))
        return page

    yield open_one
    for page, wrong in opened:
        page.context.close()
        assert wrong == []
