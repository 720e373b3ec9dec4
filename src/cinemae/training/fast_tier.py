"""A model's fast tier: the same weights look at every second tile, under one mask, and are calibrated for that.

What it saves is computation, what it costs is accuracy; both depend on the model, so the price is measured on the very
images that the tier is calibrated on and stands in its card. The paper's settings stay the default of every command.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from cinemae.calibration.images import ScoredImages, score_images
from cinemae.calibration.recalibrate import Recalibration, RecalibrationRecipe, recalibrate
from cinemae.config import ModelConfig
from cinemae.errors import ConfigError, ModelDirError, TrainingError
from cinemae.fit.compare import auc_difference
from cinemae.models.directory import (
    BACKBONE_DIR,
    CONFIG_FILE,
    FAST_DIR,
    HEAD_FILE,
    ONNX_FILE,
    OOD_FILE,
    RESULTS_FILE,
    read_model_config,
    write_model_config,
)
from cinemae.models.export import export_onnx
from cinemae.models.weights import load_model, save_distance
from cinemae.sources.one_class import read_class
from cinemae.statistics.estimate import Estimate
from cinemae.statistics.metrics import auc

_PARTS = (CONFIG_FILE, HEAD_FILE, OOD_FILE)
_CARD = """\
# {name}

The fast tier of the model one folder up: the same weights, {views} of {all_views} views of an image, {passes} of \
{all_passes} masked passes. `cinemae detect --fast` uses it; a model directory of its own, it has its own thresholds.
Written by `cinemae fast`.

On {n_real} photographs and {n_fake} generated images, those that its thresholds were chosen on:

| figure | fast tier | the whole model |
|---|---|---|
| AUC, all images pooled | {fast} | {whole} |
| the latter less the former | {difference} | |
| photographs called "ai", held out | {fpr} | |
| generated images called "ai", held out | {tpr} | |

"ai" from {threshold:.3f}, "real" below {real_below:.3f}: {rule}.
"""


@dataclass(frozen=True)
class FastTier:
    """What `make_fast` wrote, and its price.

    Attributes:
        directory: The tier's model directory.
        config: Its config.json.
        auc: Area under the ROC curve over all images, of the tier.
        whole_auc: The same of the whole model.
        lost: The latter less the former, paired: each resample holds the same images for both.
        views: Views of an image that are looked at, and of how many.
        passes: Masked passes, and of how many.
        unreadable: A sentence for each image that could not be read.
    """

    directory: Path
    config: ModelConfig
    auc: Estimate
    whole_auc: Estimate
    lost: Estimate
    views: tuple[int, int]
    passes: tuple[int, int]
    unreadable: tuple[str, ...]


def fast_config(config: ModelConfig) -> ModelConfig:
    """Return the settings of a model's fast tier: every second tile, one masked pass.

    Raises:
        ConfigError: If the model looks at one view under one mask, so that nothing can be left out.
    """
    image, mask = config.extractor.image, config.extractor.mask
    tiled = image.views == "tiles" and image.num_views > 1
    if not tiled and mask.num_passes == 1:
        raise ConfigError(
            f"a fast tier looks at fewer tiles or under fewer masks, and {config.name} looks at {image.num_views} "
            "view(s) that are no tiles, under one mask: there is nothing to leave out."
        )
    extractor = replace(
        config.extractor,
        image=replace(image, views="checkered") if tiled else image,
        mask=replace(mask, num_passes=1),
    )
    return replace(config, name=f"{config.name}-fast", extractor=extractor)


def make_fast(recipe: RecalibrationRecipe, *, progress: Callable[[int, int], None] | None = None) -> FastTier:
    """Write ``MODEL/fast``: settings, graph and card, calibrated on labelled images. It appears whole or not at all.

    Args:
        recipe: Model, images and target rates, as for `recalibrate`; the model is left as it is.
        progress: Called with (images done, images in all); every image is done twice, by the tier and by the model.

    Raises:
        ConfigError: If there is nothing to leave out.
        ModelDirError: If the model is incomplete, or has a fast tier.
        SourceError, TrainingError: As `recalibrate` does.
    """
    target, whole_config = recipe.model / FAST_DIR, read_model_config(recipe.model)
    if target.exists():
        raise ModelDirError(f"{recipe.model} has a fast tier: remove the folder {target} first.")
    config = fast_config(whole_config)
    tell = progress or (lambda done, total: None)
    with tempfile.TemporaryDirectory(prefix=".fast-", dir=recipe.model) as folder:
        made = Path(folder) / "whole"
        shutil.copytree(recipe.model / BACKBONE_DIR, made / BACKBONE_DIR)
        for name in _PARTS:
            if (recipe.model / name).is_file():
                shutil.copy(recipe.model / name, made / name)
        write_model_config(config, made)
        found = recalibrate(replace(recipe, model=made), progress=lambda done, total: tell(done, 2 * total))
        records = [*read_class(recipe.real, 0), *read_class(recipe.fake, 1)]
        model = load_model(recipe.model, whole_config, device=recipe.device)
        whole = score_images(records, model, progress=lambda done, total: tell(total + done, 2 * total))
        tier = _price(found, whole, whole_config, target)
        write_model_config(tier.config, made)
        save_distance(found.distance, made)
        export_onnx(made)
        slim = Path(folder) / FAST_DIR
        slim.mkdir()  # without backbone and head: the graph holds them, and it is all that the tier is run with
        for path in (made / CONFIG_FILE, *made.glob(f"{Path(ONNX_FILE).stem}.*")):
            path.rename(slim / path.name)
        _describe(tier, found, slim)
        slim.rename(target)
    return tier


def _price(found: Recalibration, whole: ScoredImages, whole_config: ModelConfig, target: Path) -> FastTier:
    images = found.images
    if whole.content_hashes != images.content_hashes:
        raise TrainingError("the images changed while they were looked at: run the command again.")
    real, fake = images.labels == 0, images.labels == 1
    image, mask = found.config.extractor.image, found.config.extractor.mask
    before = whole_config.extractor
    return FastTier(
        directory=target,
        config=found.config,
        auc=auc(images.logits[real], images.logits[fake]),
        whole_auc=auc(whole.logits[real], whole.logits[fake]),
        lost=auc_difference(whole.logits, images.logits, images.labels, seed=0),
        views=(image.num_views, before.image.num_views),
        passes=(mask.num_passes, before.mask.num_passes),
        unreadable=images.unreadable,
    )


def _describe(tier: FastTier, found: Recalibration, folder: Path) -> None:
    """Write results.json and the card."""
    report, decision = found.report.to_dict(), tier.config.decision
    estimates = {"auc": tier.auc, "whole_auc": tier.whole_auc, "auc_lost": tier.lost}
    figures = {name: asdict(estimate) for name, estimate in estimates.items()}
    results = {**figures, "views": tier.views, "passes": tier.passes, "calibration": report}
    (folder / RESULTS_FILE).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    rates = report["rates"]
    (folder / "README.md").write_text(
        _CARD.format(
            name=tier.config.name,
            views=tier.views[0],
            all_views=tier.views[1],
            passes=tier.passes[0],
            all_passes=tier.passes[1],
            n_real=report["n_real"],
            n_fake=report["n_fake"],
            fast=_words(tier.auc),
            whole=_words(tier.whole_auc),
            difference=_words(tier.lost),
            fpr=_share(rates["photographs_called_ai"]),
            tpr=_share(rates["fakes_called_ai"]),
            threshold=decision.threshold,
            real_below=decision.real_below,
            rule=decision.rule,
        ),
        encoding="utf-8",
    )


def _words(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def _share(rate: dict[str, float]) -> str:
    return f"{100 * rate['value']:.1f} % [{100 * rate['low']:.1f}, {100 * rate['high']:.1f}]"
