"""``cinemae train``: stores in, or images with --unfreeze, a model out."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

import typer

from cinemae.app.finetune_command import (
    UnfreezeOptions,
    finetune_from_images,
    require_stores,
    summarise_model,
)
from cinemae.app.options import PresetOption, given_options, whole_numbers, with_groups, words
from cinemae.backbones.finetune_config import FINETUNE_SEEDS
from cinemae.config import HeadConfig, LcasConfig, Provenance, TrainConfig
from cinemae.errors import ConfigError
from cinemae.preset import PAPER, refuse_other_than_paper

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cinemae.models.results import EpochLine
    from cinemae.training.train import TrainReport

_HEAD, _LCAS, _TRAIN = HeadConfig(), LcasConfig(), TrainConfig()


@dataclass(frozen=True, kw_only=True)
class SetOptions:
    """What is trained and validated on."""

    backbone: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The backbone that made the stores, copied into the model; with --unfreeze the one to begin with, "
            "with the paper's image and mask settings.",
            show_default="the bundled model's",
        ),
    ] = None
    val: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="SOURCE",
            help="What to validate on, of the same kind; may be given several times.",
            show_default=False,
        ),
    ] = None
    val_generators: Annotated[
        str | None,
        typer.Option(
            metavar="A,B", help="Generators to hold out where no --val is given.", show_default="a quarter of them"
        ),
    ] = None
    allow_overlap: Annotated[
        bool, typer.Option("--allow-overlap", help="Accept files that are both trained and validated on.")
    ] = False


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How the head is trained, and its thresholds are chosen."""

    name: Annotated[str, typer.Option(help="Of the model.")] = "cinemae"
    epochs: Annotated[int, typer.Option(help="Passes over the training images.")] = _TRAIN.epochs
    batch_size: Annotated[int, typer.Option(help="Images a step.")] = _TRAIN.batch_size
    learning_rate: Annotated[float, typer.Option(help="Of Adam.")] = _TRAIN.learning_rate
    weight_decay: Annotated[float, typer.Option(help="L2 on the weights.")] = _TRAIN.weight_decay
    optimizer: Annotated[
        str,
        typer.Option(
            metavar="adam|lbfgs", help="Adam in batches, or L-BFGS over all images at once, for a linear MLP_cls."
        ),
    ] = _TRAIN.optimizer
    class_balance: Annotated[
        str, typer.Option(metavar="none|class|generator", help="What gets equal weight in the loss.")
    ] = _TRAIN.class_balance
    seed: Annotated[int, typer.Option(help="Of the first run, whose head is kept.")] = _TRAIN.seed
    num_seeds: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Runs to measure the spread over.",
            show_default=f"{_TRAIN.num_seeds}, or {FINETUNE_SEEDS} with --unfreeze",
        ),
    ] = None
    target_fpr: Annotated[float, typer.Option(help='Share of validation photographs that may be called "ai".')] = (
        _TRAIN.target_fpr
    )
    target_fnr: Annotated[float, typer.Option(help='Share of validation fakes that may be called "real".')] = (
        _TRAIN.target_fnr
    )

    def config(self, *, views_drawn: int | None, unfrozen: bool) -> TrainConfig:
        """Return the settings of training."""
        given = {name: value for name, value in vars(self).items() if name != "name"}
        if self.num_seeds is None:
            given["num_seeds"] = FINETUNE_SEEDS if unfrozen else _TRAIN.num_seeds
        return TrainConfig.from_dict({**given, "views_drawn": views_drawn})


@dataclass(frozen=True, kw_only=True)
class HeadOptions:
    """What the head takes, and how it is built."""

    fidelity_weight: Annotated[float, typer.Option(help="Lambda of Eq. 4.")] = _LCAS.fidelity_weight
    reduction: Annotated[
        str, typer.Option(metavar="mean|sum|literal", help="How a patch's values are summed in Eqs. 4 and 5.")
    ] = _LCAS.reduction
    view_pooling: Annotated[
        str,
        typer.Option(
            metavar="logit|mean|mean_std|concat",
            help="How the views of an image are joined: their logits averaged, or their features by mean, by mean and "
            "deviation, or side by side, before the head.",
        ),
    ] = _HEAD.view_pooling
    views_drawn: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Views joined in training, drawn anew at each step.", show_default="all of them"
        ),
    ] = _TRAIN.views_drawn
    fusion: Annotated[
        str, typer.Option(metavar="add|concat|gate", help="How global and anomaly feature are joined.")
    ] = _HEAD.fusion
    fusion_level: Annotated[
        str, typer.Option(metavar="early|late", help="Whether features or decisions are joined.")
    ] = _HEAD.fusion_level
    statistics: Annotated[str, typer.Option(metavar="A,B", help="Which of the three enter; none for none.")] = ",".join(
        _HEAD.statistics
    )
    use_global: Annotated[bool, typer.Option(help="Whether the global feature enters.")] = _HEAD.use_global
    agg_hidden: Annotated[int, typer.Option(help="Width of MLP_agg.")] = _HEAD.agg_hidden
    cls_hidden: Annotated[str, typer.Option(metavar="N,N", help="Widths of MLP_cls; none for one layer.")] = ",".join(
        map(str, _HEAD.cls_hidden)
    )
    dropout: Annotated[float, typer.Option(help="Share of values dropped in the MLPs.")] = _HEAD.dropout
    standardize_global: Annotated[
        bool, typer.Option(help="Whether the global feature is scaled to the training images' spread.")
    ] = _HEAD.standardize_global
    standardize_statistics: Annotated[
        bool, typer.Option(help="Whether the statistics are scaled to the training images' spread.")
    ] = _HEAD.standardize_statistics
    clip_global: Annotated[
        float | None,
        typer.Option(
            metavar="N", help="Deviations from its mean at which a scaled global feature is cut.", show_default="never"
        ),
    ] = _HEAD.clip_global

    def head(self) -> HeadConfig:
        """Return the settings of the head."""
        names = {field.name for field in fields(_HEAD)}
        given = {name: value for name, value in vars(self).items() if name in names}
        given["statistics"] = () if self.statistics == "none" else words(self.statistics)
        given["cls_hidden"] = () if self.cls_hidden == "none" else whole_numbers("--cls-hidden", self.cls_hidden)
        return HeadConfig.from_dict(given)

    def lcas(self) -> LcasConfig:
        """Return how Eq. 4's terms are joined."""
        return LcasConfig.from_dict({"fidelity_weight": self.fidelity_weight, "reduction": self.reduction})


_Options = TypeVar("_Options", TrainingOptions, HeadOptions)


@with_groups
def train(
    context: typer.Context,
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="SOURCE",
            help="Feature stores that cinemae extract wrote; with --unfreeze the images themselves, as extract takes "
            "them.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="MODEL", help="Model directory to write.", show_default=False)],
    *,
    sets: SetOptions,
    preset: PresetOption = None,
    training: TrainingOptions,
    head: HeadOptions,
    provenance: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="JSON object of what the model card should say of data, licence and recipe.",
            exists=True,
            dir_okay=False,
            show_default=False,
        ),
    ] = None,
    stream: Annotated[
        bool | None,
        typer.Option(
            "--stream/--no-stream",
            help="Keep [CLS] and statistics in a temporary file that is mapped into memory.",
            show_default="for more than 4 GiB of features",
        ),
    ] = None,
    options: UnfreezeOptions,
) -> None:
    """Train a head on stored features, or on images with parts of the backbone unfrozen, and write a model.

    The thresholds are chosen on validation images only; the model card holds every figure. With --preset paper the
    stores must have been extracted with it, or from a bare backbone. Ends with 1 if images were left out because they
    could not be read.
    """
    val, unfrozen = sets.val or (), options.unfreeze is not None
    notes = cast("Provenance", _read_json(provenance)) if provenance else Provenance()
    if preset:
        given = given_options(context)
        training, head = _preset(training, given), _preset(head, given)
        notes = {**notes, "preset": {"name": preset.value, "beside_it": _beside(given, training, head)}}
    shared: dict[str, Any] = {
        "name": training.name,
        "head": head.head(),
        "lcas": head.lcas(),
        "train": training.config(views_drawn=head.views_drawn, unfrozen=unfrozen),
        "allow_overlap": sets.allow_overlap,
        "provenance": notes,
    }
    if unfrozen:
        if sets.val_generators is not None:
            raise ConfigError("--val-generators splits stores: with --unfreeze name the validation images with --val.")
        of_paper = {"extractor": None} if preset else {}
        finetune_from_images(sources, val, sets.backbone, options, shared | of_paper, out)
        return
    require_stores([*sources, *val], options)
    if preset:
        _require_paper(sources)
    typer.echo(_train_on_stores(sources, sets, {**shared, "stream": stream}, out))


def _preset(options: _Options, given: frozenset[str]) -> _Options:
    """Return options at the paper's values, but for those that the user gave."""
    names = {field.name for field in fields(options)} - given
    return replace(options, **{name: value for name, value in PAPER.changed().items() if name in names})


def _beside(given: frozenset[str], *groups: TrainingOptions | HeadOptions) -> dict[str, Any]:
    """Return the settings of training that the user gave beside a preset."""
    return {name: value for group in groups for name, value in vars(group).items() if name in given - {"name"}}


def _require_paper(stores: Sequence[Path]) -> None:
    from cinemae.stores.features import FeatureStore

    for store in stores:
        refuse_other_than_paper(FeatureStore.open(store).config, str(store))


def _train_on_stores(stores: Sequence[Path], sets: SetOptions, shared: dict[str, Any], out: Path) -> str:
    from cinemae.training.build_model import ModelRecipe

    recipe = ModelRecipe(
        stores=stores,
        backbone=sets.backbone or _bundled_backbone(stores[0]),
        val_stores=sets.val or (),
        val_generators=None if sets.val_generators is None else words(sets.val_generators),
        **shared,
    )
    report = _run(recipe, out)
    return summarise_model(report, out)


def _run(recipe: Any, out: Path) -> TrainReport:  # noqa: ANN401 - its class needs torch
    from cinemae.app.progress import ProgressBar
    from cinemae.training.build_model import build_model

    config = recipe.train
    with ProgressBar("training", config.epochs * config.num_seeds, unit="epochs") as bar:

        def tell(line: EpochLine) -> None:
            done = (line.seed - config.seed) * config.epochs + line.epoch
            bar.update(done, note=f"seed {line.seed}, loss {line.train_loss:.3f}, validation AUC {line.val_auc:.3f}")

        return build_model(recipe, out, progress=tell)


def _bundled_backbone(store: Path) -> Path:
    from cinemae.models.directory import BACKBONE_DIR, STARTER, read_model_config
    from cinemae.stores.features import FeatureStore

    made_by = FeatureStore.open(store).backbone.content_hash
    if read_model_config(STARTER).backbone.content_hash != made_by:
        raise ConfigError(
            f"{store} was made with another backbone than the bundled model's ({made_by[:16]}): name its folder with "
            "--backbone."
        )
    return STARTER / BACKBONE_DIR


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path} must hold a JSON object: {error}.") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold a JSON object, it holds a {type(values).__name__}.")
    return values
