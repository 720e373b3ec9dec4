"""``cinemae train`` and ``cinemae export``: stores in, a model out; a model's ONNX graph."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cinemae.config import HeadConfig, LcasConfig, TrainConfig
from cinemae.errors import ConfigError

if TYPE_CHECKING:
    from cinemae.jobs.train import EpochLine, TrainReport

_HEAD, _LCAS, _TRAIN = HeadConfig(), LcasConfig(), TrainConfig()


def train(
    stores: Annotated[
        list[Path],
        typer.Argument(metavar="STORE", help="Feature stores that cinemae extract wrote.", show_default=False),
    ],
    out: Annotated[Path, typer.Option(metavar="MODEL", help="Model directory to write.", show_default=False)],
    backbone: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The backbone that made the stores; copied into the model.",
            show_default="the bundled model's",
        ),
    ] = None,
    val: Annotated[
        list[Path] | None,
        typer.Option(metavar="STORE", help="Store to validate on; may be given several times.", show_default=False),
    ] = None,
    val_generators: Annotated[
        str | None,
        typer.Option(
            metavar="A,B", help="Generators to hold out where no --val is given.", show_default="a quarter of them"
        ),
    ] = None,
    allow_overlap: Annotated[
        bool, typer.Option("--allow-overlap", help="Accept files that are both trained and validated on.")
    ] = False,
    name: Annotated[str, typer.Option(help="Of the model.")] = "cinemae",
    epochs: Annotated[int, typer.Option(help="Passes over the training images.")] = _TRAIN.epochs,
    batch_size: Annotated[int, typer.Option(help="Images a step.")] = _TRAIN.batch_size,
    learning_rate: Annotated[float, typer.Option(help="Of Adam.")] = _TRAIN.learning_rate,
    weight_decay: Annotated[float, typer.Option(help="Of Adam.")] = _TRAIN.weight_decay,
    class_balance: Annotated[
        str, typer.Option(metavar="none|class|generator", help="What gets equal weight in the loss.")
    ] = _TRAIN.class_balance,
    seed: Annotated[int, typer.Option(help="Of the first run, whose head is kept.")] = _TRAIN.seed,
    num_seeds: Annotated[int, typer.Option(help="Runs to measure the spread over.")] = _TRAIN.num_seeds,
    target_fpr: Annotated[
        float, typer.Option(help='Share of validation photographs that may be called "ai".')
    ] = _TRAIN.target_fpr,
    target_fnr: Annotated[
        float, typer.Option(help='Share of validation fakes that may be called "real".')
    ] = _TRAIN.target_fnr,
    fidelity_weight: Annotated[float, typer.Option(help="Lambda of Eq. 4.")] = _LCAS.fidelity_weight,
    reduction: Annotated[
        str, typer.Option(metavar="mean|sum|literal", help="How a patch's values are summed in Eqs. 4 and 5.")
    ] = _LCAS.reduction,
    view_pooling: Annotated[
        str,
        typer.Option(
            metavar="logit|mean|mean_std",
            help="How the views of an image are joined: their logits averaged, or their features by mean, or by mean "
            "and deviation, before the head.",
        ),
    ] = _HEAD.view_pooling,
    views_drawn: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Views joined in training, drawn anew at each step.", show_default="all of them"
        ),
    ] = _TRAIN.views_drawn,
    fusion: Annotated[
        str, typer.Option(metavar="add|concat|gate", help="How global and anomaly feature are joined.")
    ] = _HEAD.fusion,
    fusion_level: Annotated[
        str, typer.Option(metavar="early|late", help="Whether features or decisions are joined.")
    ] = _HEAD.fusion_level,
    statistics: Annotated[str, typer.Option(metavar="A,B", help="Which of the three enter; none for none.")] = ",".join(
        _HEAD.statistics
    ),
    use_global: Annotated[bool, typer.Option(help="Whether the global feature enters.")] = _HEAD.use_global,
    agg_hidden: Annotated[int, typer.Option(help="Width of MLP_agg.")] = _HEAD.agg_hidden,
    cls_hidden: Annotated[str, typer.Option(metavar="N,N", help="Widths of MLP_cls.")] = ",".join(
        map(str, _HEAD.cls_hidden)
    ),
    dropout: Annotated[float, typer.Option(help="Share of values dropped in the MLPs.")] = _HEAD.dropout,
    standardize_global: Annotated[
        bool, typer.Option(help="Whether the global feature is scaled to the training images' spread.")
    ] = _HEAD.standardize_global,
    standardize_statistics: Annotated[
        bool, typer.Option(help="Whether the statistics are scaled to the training images' spread.")
    ] = _HEAD.standardize_statistics,
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
) -> None:
    """Train a head on stored features and write a model.

    The thresholds are chosen on validation images only; the model card holds every figure.
    """
    head = HeadConfig.from_dict(
        {
            "view_pooling": view_pooling,
            "fusion": fusion,
            "fusion_level": fusion_level,
            "statistics": () if statistics == "none" else _split(statistics),
            "use_global": use_global,
            "agg_hidden": agg_hidden,
            "cls_hidden": _widths(cls_hidden),
            "dropout": dropout,
            "standardize_global": standardize_global,
            "standardize_statistics": standardize_statistics,
        }
    )
    training = TrainConfig.from_dict(
        {
            "epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "weight_decay": weight_decay,
            "class_balance": class_balance,
            "seed": seed,
            "num_seeds": num_seeds,
            "views_drawn": views_drawn,
            "target_fpr": target_fpr,
            "target_fnr": target_fnr,
        }
    )
    from cinemae.jobs.build_model import ModelRecipe

    recipe = ModelRecipe(
        stores=stores,
        backbone=backbone or _bundled_backbone(stores[0]),
        val_stores=val or (),
        val_generators=None if val_generators is None else _split(val_generators),
        name=name,
        head=head,
        lcas=LcasConfig.from_dict({"fidelity_weight": fidelity_weight, "reduction": reduction}),
        train=training,
        allow_overlap=allow_overlap,
        provenance=_read_json(provenance) if provenance else {},
    )
    typer.echo(_summary(_run(recipe, out), out))


def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model directory.", show_default=False)],
) -> None:
    """Write a model's ONNX graph, for use without torch."""
    from cinemae.jobs.export import export_onnx

    path = export_onnx(model)
    typer.echo(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


def _run(recipe: Any, out: Path) -> TrainReport:  # noqa: ANN401 - its class needs torch
    from cinemae.app.progress import ProgressBar
    from cinemae.jobs.build_model import build_model

    config = recipe.train
    with ProgressBar("training", config.epochs * config.num_seeds, unit="epochs") as bar:

        def tell(line: EpochLine) -> None:
            done = (line.seed - config.seed) * config.epochs + line.epoch
            bar.update(done, note=f"seed {line.seed}, loss {line.train_loss:.3f}, validation AUC {line.val_auc:.3f}")

        return build_model(recipe, out, progress=tell)


def _summary(report: TrainReport, out: Path) -> str:
    results, decision = report.results, report.decision
    seeds = results["mean_generator_auc_over_seeds"]
    spread = (
        "" if seeds["std"] is None else f", {seeds['mean']:.3f} ± {seeds['std']:.3f} over {len(seeds['values'])} seeds"
    )
    return (
        f"{out}: validation AUC {results['mean_generator_auc']:.3f} (mean over generators{spread})\n"
        f'"ai" from {decision.threshold:.3f}, "real" below {decision.real_below:.3f}: {decision.rule}\n'
        f"{results['split']}\n"
        f"every figure: {out / 'README.md'}"
    )


def _bundled_backbone(store: Path) -> Path:
    from cinemae.data.model_dir import BACKBONE_DIR, STARTER, read_model_config
    from cinemae.data.store import FeatureStore

    made_by = FeatureStore.open(store).backbone.content_hash
    if read_model_config(STARTER).backbone.content_hash != made_by:
        raise ConfigError(
            f"{store} was made with another backbone than the bundled model's ({made_by[:16]}): name its folder with "
            "--backbone."
        )
    return STARTER / BACKBONE_DIR


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in _split(text))
    except ValueError as error:
        raise ConfigError(f"--cls-hidden is a list of whole numbers such as 256,64, got {text!r}.") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path} must hold a JSON object: {error}.") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold a JSON object, it holds a {type(values).__name__}.")
    return values
