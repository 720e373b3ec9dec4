"""``cinemae reproduce``: the paper's tables and figures on the images at hand, its figures beside ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cinemae.app.options import (
    BatchSizeOption,
    DeviceOption,
    Dtype,
    DtypeOption,
    FollowLinksOption,
    ModelOption,
    PresetOption,
)
from cinemae.app.progress import ProgressBar
from cinemae.errors import ConfigError

ALL = "all"


def reproduce(
    protocols: Annotated[
        list[str],
        typer.Argument(
            metavar="PROTOCOL",
            help="table1 ... table7, figure2 ... figure10, ablation_k, ablation_reduction, a .toml file, or all.",
            show_default=False,
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="ROOT",
            help="The paper's data set, or a folder with train/ and val/ (or test/) of real/ and fake/GENERATOR/. "
            'Without it every cell says "not measured".',
            show_default=False,
        ),
    ] = None,
    train_data: Annotated[
        Path | None,
        typer.Option(metavar="ROOT", help="Training images, where they lie elsewhere.", show_default="--data"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for results.", show_default="printed only")
    ] = None,
    work: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for stores and fine-tuned models, used again.")
    ] = Path("cinemae-work"),
    model: ModelOption = None,
    backbone: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]DIR",
            help="A bare backbone with our defaults: in place of the model's, or for the rows that name it, as "
            "in facebook/vit-mae-large=DIR.",
            show_default=False,
        ),
    ] = None,
    preset: PresetOption = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME,OPTION=VALUE",
            help="How a baseline is trained, as in npr,epochs=8,crop=96; univfd runs only where its backbone is named.",
            show_default="as published",
        ),
    ] = None,
    detector: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Measure the rows of this detector alone, such as cinemae; may be given several times.",
            show_default="all",
        ),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Trainings.", show_default="the protocol's")
    ] = None,
    mask_seeds: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Seeds of the masks that the first training is scored under, the model's own among them.",
            show_default="the protocol's",
        ),
    ] = None,
    finetune_steps: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Steps of fine-tuning.", show_default="the head's epochs")
    ] = None,
    finetune_seeds: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Runs of fine-tuning.", show_default="as --seeds")
    ] = None,
    follow_links: FollowLinksOption = False,
    device: DeviceOption = "auto",
    dtype: DtypeOption = Dtype.FLOAT32,
    batch_size: BatchSizeOption = None,
) -> None:
    """Run protocols of the paper's tables and figures; the paper's figures stand beside what is measured.

    With --preset paper heads are trained as the paper states, but for what a row of a protocol changes. On other images
    than the paper's the same rows and metrics are measured on the generators at hand, and the result
    says so. Started again after a stop, it goes on where it was.
    """
    from cinemae.evaluation.protocols.finetuning import FinetuneOptions
    from cinemae.evaluation.protocols.protocol import list_protocols
    from cinemae.evaluation.protocols.reproduce import ReproduceOptions, Reproducer, save
    from cinemae.features.extract_job import DEFAULT_BATCH_SIZE

    options = ReproduceOptions(
        data=data,
        train_data=train_data,
        work=work,
        model=model,
        backbones=dict(_named_backbone(text) for text in backbone or ()),
        paper=preset is not None,
        baselines={text.partition(",")[0]: text for text in baseline or ()},
        seeds=seeds,
        mask_seeds=mask_seeds,
        finetune=FinetuneOptions(finetune_steps, finetune_seeds),
        detectors=tuple(detector or ()),
        device=device,
        follow_links=follow_links,
        dtype=dtype.value,
        batch_size=batch_size or DEFAULT_BATCH_SIZE,
        tell=lambda line: typer.echo(line, err=True),
        progress=_Extraction().update,
    )
    reproducer = Reproducer(options)
    names = list_protocols() if ALL in protocols else protocols
    for name in names:
        reproduced = reproducer.run(name)
        if out is None:
            typer.echo(reproduced.to_markdown())
        else:
            typer.echo(save(reproduced, out))


class _Extraction:
    """A bar for each store that is made."""

    def __init__(self) -> None:
        self._bar: ProgressBar | None = None

    def update(self, store: str, done: int, total: int) -> None:
        """Say how much of a store is made; the last call ends its bar."""
        if self._bar is None:
            self._bar = ProgressBar(store, total, log_every=60)
        self._bar.update(done)
        if done == total:
            self._bar.close()
            self._bar = None


def _named_backbone(text: str) -> tuple[str, str]:
    name, equals, path = text.rpartition("=")
    if equals and not (name and path):
        raise ConfigError(f"--backbone is DIR or NAME=DIR, got {text!r}.")
    return name, path
