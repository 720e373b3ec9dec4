"""Old module names: what the documentation of version 0.1 named is still there, as the same objects, with a warning."""

from __future__ import annotations

import importlib
import sys

import pytest

from cinemae.moved import MOVED, install


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_an_old_name_is_the_module_of_today(old, new, monkeypatch):
    today = importlib.import_module(new)
    spec = today.__spec__
    monkeypatch.delitem(sys.modules, old, raising=False)
    with pytest.warns(DeprecationWarning, match=rf"^{old} is now {new}$"):
        module = importlib.import_module(old)
    assert module is today
    assert module.__name__ == new
    assert module.__spec__ is spec


def test_from_an_old_package():
    for name in ("cinemae.data", "cinemae.data.store"):
        sys.modules.pop(name, None)
    with pytest.warns(DeprecationWarning, match=r"^cinemae\.data\.store is now"):
        from cinemae.data import store
    assert store.FeatureStore is importlib.import_module("cinemae.stores.features").FeatureStore


def test_other_names_are_not_found():
    with pytest.raises(ModuleNotFoundError, match=r"cinemae\.jobs\.nothing"):
        importlib.import_module("cinemae.jobs.nothing")


def test_installed_once():
    before = list(sys.meta_path)
    install()
    assert sys.meta_path == before
