"""Checks the shapes that the core's signatures state: in tests and doctests only, never in what is shipped."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, get_args

from beartype import beartype
from jaxtyping import AbstractArray, install_import_hook


def check_shapes(function: Callable[..., Any]) -> Callable[..., Any]:
    """Apply beartype to the hints that name a shape; wrong settings are for the code itself to refuse."""
    for name, hint in function.__annotations__.items():
        if not _names_a_shape(hint):
            function.__annotations__[name] = Any
    return beartype(function)


def _names_a_shape(hint: object) -> bool:
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        return True
    return any(_names_a_shape(part) for part in get_args(hint))


sys.modules["cinemae_shape_checks"] = sys.modules[__name__]  # the name by which the hook's code finds it
TENSOR_MODULES = ("masking", "backbone", "lcas", "anomaly_stats", "features", "head")
install_import_hook([f"cinemae.core.{name}" for name in TENSOR_MODULES], "cinemae_shape_checks.check_shapes")
