"""The baselines by name: from text such as ``npr,epochs=3,crop=96``, and from a folder that one was saved to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cinemae.errors import ConfigError, ModelDirError
from cinemae.evaluation.baselines.aide_low import AideLow
from cinemae.evaluation.baselines.baseline import Baseline
from cinemae.evaluation.baselines.cnnspot import CnnSpot
from cinemae.evaluation.baselines.f3net import F3Net
from cinemae.evaluation.baselines.ferretnet import FerretNet
from cinemae.evaluation.baselines.frequency import FreDect
from cinemae.evaluation.baselines.frozen_probe import FrozenProbe
from cinemae.evaluation.baselines.fusing import Fusing
from cinemae.evaluation.baselines.gramnet import GramNet
from cinemae.evaluation.baselines.lnp import Lnp
from cinemae.evaluation.baselines.npr import Npr
from cinemae.evaluation.baselines.options import options_from_text
from cinemae.evaluation.baselines.patchcraft import PatchCraft
from cinemae.evaluation.baselines.saved import saved_name
from cinemae.evaluation.baselines.spec import Spec
from cinemae.evaluation.baselines.swin import SwinT
from cinemae.evaluation.baselines.univfd import UnivFd

_KINDS: tuple[type[Baseline[Any, Any]], ...] = (
    FreDect,
    Npr,
    CnnSpot,
    UnivFd,
    SwinT,
    Spec,
    F3Net,
    GramNet,
    Fusing,
    Lnp,
    PatchCraft,
    AideLow,
    FerretNet,
    FrozenProbe,
)
BASELINES: dict[str, type[Baseline[Any, Any]]] = {kind.name: kind for kind in _KINDS}


def baseline_from_text(text: str) -> Baseline[Any, Any]:
    """Build an untrained baseline.

    Args:
        text: Its name, then options, with commas between.

    Raises:
        ConfigError: If there is no such baseline, or it refuses an option.

    Example:
        >>> baseline_from_text("npr,epochs=3,crop=96").config.epochs
        3
    """
    name, _, rest = text.partition(",")
    if name.strip() not in BASELINES:
        raise ConfigError(f'there is no baseline "{name.strip()}"; there are {", ".join(BASELINES)}.')
    return BASELINES[name.strip()].from_options(options_from_text(rest))


def load_baseline(folder: Path) -> Baseline[Any, Any]:
    """Load whichever baseline was saved to a folder.

    Raises:
        ModelDirError: If the folder does not hold one.
    """
    name = saved_name(folder)
    if name not in BASELINES:
        raise ModelDirError(f"{folder} holds a saved {name}, which this version does not know: {', '.join(BASELINES)}.")
    return BASELINES[name].load(folder)
