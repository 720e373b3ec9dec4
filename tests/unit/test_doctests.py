"""The examples in the docstrings of the installed package, whether installed in place or copied.

They are run from here, not by ``--doctest-modules src``: that would import the source files a second time beside the
installed ones.
"""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import cinemae

MODULES = ["cinemae", *(module.name for module in pkgutil.walk_packages(cinemae.__path__, "cinemae."))]


class _Finder(doctest.DocTestFinder):
    """Takes functions by the module they name: their globals are another's while their shapes are checked."""

    def _from_module(self, module, object):
        return isinstance(object, property) or getattr(inspect.unwrap(object), "__module__", "") == module.__name__


def _examples(name):
    return _Finder(exclude_empty=True).find(importlib.import_module(name))


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith("__main__")])
def test_examples_in_docstrings_hold(name):
    runner = doctest.DocTestRunner()
    for example in _examples(name):
        runner.run(example)
    assert runner.summarize().failed == 0


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("core.lcas", "nll_approx"),
        ("core.anomaly_stats", "anomaly_stats"),
        ("core.masking", "mask_noise"),
        ("detect.detector", "Detector"),
    ],
)
def test_the_examples_are_found(module, name):
    assert f"cinemae.{module}.{name}" in [test.name for test in _examples(f"cinemae.{module}")]
