"""``cinemae extract``: a data set in, a feature store out."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from cinemae.app.bulk_run import EngineChoice, run_in_parts
from cinemae.app.options import (
    AddressOption,
    BatchSizeOption,
    DeviceOption,
    Dtype,
    DtypeOption,
    EngineName,
    EngineOption,
    FollowLinksOption,
    MaxFailuresOption,
    ModelOption,
    PresetOption,
    WorkersOption,
    tell_left_out,
    whole_numbers,
    words,
)
from cinemae.config import AugmentConfig
from cinemae.errors import ConfigError, MissingDependencyError


def _of_model(metavar: str, text: str) -> Any:  # noqa: ANN401 - typer's own type
    return typer.Option(metavar=metavar, help=text, show_default="the model's")


def extract(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A folder tree (real/ and fake/GENERATOR/ label what is below), a glob, or a CSV file with the "
            "columns path, label, generator.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="STORE", help="Folder of the feature store; begun before, it is gone on with.", show_default=False
        ),
    ],
    model: ModelOption = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|FILE|HUB_ID",
            help="A backbone in place of a model: folder in Hub layout, original .pth, or Hub id such as "
            "facebook/vit-mae-large.",
            show_default=False,
        ),
    ] = None,
    batch_size: BatchSizeOption = None,
    shard_size: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Images a file of the store, what a kill can cost.")
    ] = None,
    augment_seed: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            help="Store altered copies in place of the images, for training: crop, mirror, blur and JPEG, drawn from "
            "this seed.",
            show_default=False,
        ),
    ] = None,
    condition: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Store the images after a corruption, such as jpeg=50 or resize=0.5+jpeg=70, or aligned.",
            show_default="as they are",
        ),
    ] = None,
    follow_links: FollowLinksOption = False,
    max_failures: MaxFailuresOption = None,
    engine: EngineOption = EngineName.LOCAL,
    address: AddressOption = None,
    workers: WorkersOption = None,
    device: DeviceOption = "auto",
    preset: PresetOption = None,
    dtype: DtypeOption = Dtype.FLOAT32,
    views: Annotated[
        str | None, _of_model("center|five|tiles|checkered|whole_native", "What of an image is looked at.")
    ] = None,
    resize: Annotated[str | None, _of_model("shortest_edge|stretch", "How an image becomes square.")] = None,
    resize_to: Annotated[int | None, _of_model("N", "Pixels of the shorter side before cropping.")] = None,
    jpeg_quality: Annotated[
        int | None, _of_model("N", "Quality of a JPEG round trip that every image passes through.")
    ] = None,
    num_passes: Annotated[int | None, _of_model("N", "K, the masked passes.")] = None,
    mask_scheme: Annotated[str | None, _of_model("independent|complementary", "How the masks relate.")] = None,
    mask_seed: Annotated[int | None, _of_model("N", "Seed of the masks.")] = None,
    pixel_space: Annotated[str | None, _of_model("normalized|unit", "Scale of the pixels in Eqs. 4 and 5.")] = None,
    cls_layers: Annotated[
        str | None,
        _of_model("N,N", "Encoder layers whose [CLS] are joined to the global feature, in place of the last one's."),
    ] = None,
    token_statistics: Annotated[
        str | None,
        _of_model(
            "cls,mean,std",
            "What is taken of each of these layers: [CLS], mean, deviation of the patch tokens; more than [CLS] is "
            "taken without the encoder's last norm.",
        ),
    ] = None,
    block_spectrum: Annotated[
        bool | None,
        typer.Option(
            "--block-spectrum/--no-block-spectrum",
            help="Add the view's spectrum of 8x8 blocks to the global feature.",
            show_default="the model's",
        ),
    ] = None,
    texture: Annotated[
        bool | None,
        typer.Option(
            "--texture/--no-texture",
            help="Add the view's texture to the global feature: how blocks hang together, and which residuals occur.",
            show_default="the model's",
        ),
    ] = None,
) -> None:
    """Run the frozen half over images, once, for training.

    The settings from --views on are the model's, or with --preset paper or --backbone the paper's, unless they are
    given here.

    A folder that cannot be listed is a row too. Ends with 0 if all images were read, 1 if some could not be (their rows
    say why), 2 if nothing could be done.
    """
    from cinemae.detect.extract_job import ExtractorSource, extract_job
    from cinemae.features.extract_job import DEFAULT_SHARD_SIZE, ExtractReport
    from cinemae.sources.datasets import read_records
    from cinemae.sources.local_files import Listing

    if find_spec("torch") is None:  # which the working process would find out late
        raise MissingDependencyError("extraction needs torch, which is not installed: pip install 'cinemae[train]'.")
    if model is not None and backbone is not None:
        raise ConfigError("features come from a model or from a bare backbone: give --model or --backbone, not both.")
    choice = EngineChoice(engine, address, workers, device, max_failures)
    runs = choice.engine()  # what is missing is found out before the images are listed
    changes: dict[str, dict[str, Any]] = {
        "image": {"views": views, "resize": resize, "resize_to": resize_to, "jpeg_quality": jpeg_quality},
        "mask": {"num_passes": num_passes, "scheme": mask_scheme, "seed": mask_seed},
        "deviation": {"pixel_space": pixel_space},
        "global_feature": {
            "cls_layers": whole_numbers("--cls-layers", cls_layers),
            "token_statistics": None if token_statistics is None else words(token_statistics),
            "block_spectrum": block_spectrum,
            "texture": texture,
        },
    }
    given = {
        part: {name: value for name, value in settings.items() if value is not None}
        for part, settings in changes.items()
    }
    listing = Listing(follow_links)
    records = read_records(source, listing)
    frozen = ExtractorSource(model, backbone, given, device, dtype.value, preset is not None)
    augment = None if augment_seed is None else AugmentConfig(seed=augment_seed)
    header = frozen.describe().header(records, shard_size or DEFAULT_SHARD_SIZE, augment, condition)
    job = extract_job(frozen, out, header, batch_size=batch_size)
    report = ExtractReport.of(job, run_in_parts(job, records, runs, "extracting", choice))
    typer.echo(
        f"{out}: {report.num_ok + report.num_failed} images, {report.num_failed} of them could not be read; "
        f"{report.num_shards} shards ({report.num_skipped_shards} from an earlier run); "
        f"fingerprint {report.fingerprint}"
    )
    tell_left_out(listing)
    raise typer.Exit(1 if report.num_failed else 0)
