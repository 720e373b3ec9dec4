"""How tests run: over how many processes, and with the shapes checked that the core's signatures state."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, get_args

import pytest
from beartype import beartype
from jaxtyping import AbstractArray, install_import_hook

MOST_WORKERS = 8
"""Files are handed out whole, and the longest few of them take as long as eight workers need for all others."""

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported: workers share the cores, they do not each use all
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(optionalhook=True)  # pytest-xdist may be switched off
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return how many processes run the tests: one a core, and this one alone (0) for the tests of a single file."""
    files = {argument.partition("::")[0] for argument in config.args}
    if len(files) == 1 and files.pop().endswith(".py"):
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_WORKERS)


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
