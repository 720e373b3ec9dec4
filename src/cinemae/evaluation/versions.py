"""Versions that a score can depend on: decoders change pixels, libraries change sums."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path

from PIL import features

from cinemae.version import __version__

_PACKAGES = ("numpy", "pillow", "onnxruntime", "torch", "transformers", "scikit-learn", "scipy")


def versions() -> dict[str, str]:
    """Return the versions of cinemae, Python, the packages that compute scores, and the codecs of pictures."""
    found = {"cinemae": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    jpeg = features.version_feature("libjpeg_turbo") or features.version_codec("jpg")
    return {**found, "libjpeg": str(jpeg), "libwebp": str(features.version_module("webp"))}


def processor() -> str:
    """Return the name of this machine's processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
