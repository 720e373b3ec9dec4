"""Detectors of the package DetectZoo with their authors' weights: ``--detector detectzoo:NAME``.

The only module that imports detectzoo, which is no dependency of ours. It fetches weights from where their authors keep
them (Google Drive, Dropbox, GitHub, the Hub) and unpickles them: run what you trust.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from PIL import Image

from cinemae.errors import CheckpointError, ConfigError, first_line

PREFIX = "detectzoo:"


class DetectZooDetector:
    """A detector of DetectZoo, asked one picture at a time.

    Args:
        name: As DetectZoo names it, such as ``npr_deepfake``.
        options: Passed on to its constructor, such as ``{"checkpoint_path": "weights.pth"}``.
        device: Where it runs; "auto" is the processor.

    Attributes:
        name: ``detectzoo:NAME``.
        threshold: DetectZoo's own; its scores need not be probabilities.
        description: Package, version and detector.

    Raises:
        ConfigError: If the package is missing or cannot be imported, or has no such detector of images.
        CheckpointError: If the detector cannot be built, for want of its weights most of the time.
    """

    outputs: ClassVar[Literal["probability", "score"]] = "score"

    def __init__(self, name: str, options: Mapping[str, str], device: str = "auto") -> None:
        detectzoo = _import_package(name)
        known = detectzoo.list_detectors("image")
        if name not in known:
            raise ConfigError(
                f"DetectZoo {detectzoo.__version__} has no detector {name!r} of images: {', '.join(known)}."
            )
        try:
            self._detector = detectzoo.load_detector(name, device="cpu" if device == "auto" else device, **options)
        except Exception as error:
            raise CheckpointError(
                f"DetectZoo could not load {name} ({type(error).__name__}: {first_line(error)}). It fetches weights "
                "from where their authors keep them; where you have them, name the file: "
                f"{PREFIX}{name},checkpoint_path=FILE"
            ) from error
        self.name = PREFIX + name
        self.threshold = float(self._detector.threshold)
        self.description = f"{name} of DetectZoo {detectzoo.__version__}, with the weights that it fetched or was given"

    def predict(self, images: Sequence[Image.Image]) -> list[float]:
        """Return DetectZoo's score of each RGB picture; higher is more likely generated."""
        return [float(self._detector.predict(image).score) for image in images]


def _import_package(name: str) -> Any:  # noqa: ANN401 - the package has no types
    try:
        import detectzoo
    except (ImportError, RuntimeError, OSError) as error:  # torchvision raises the latter two beside another torch
        raise ConfigError(
            f"{PREFIX}{name} needs the package DetectZoo (pip install detectzoo), which needs torchvision and "
            f"torchaudio of the same build as torch; importing it failed: {type(error).__name__}: {first_line(error)}"
        ) from error
    return detectzoo
