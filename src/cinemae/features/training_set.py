"""What a head is trained on, read from feature stores; and the split by generator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from cinemae.config import LcasConfig
from cinemae.core.anomaly_stats import anomaly_stats
from cinemae.core.lcas import combine_terms
from cinemae.errors import FingerprintMismatchError, TrainingError
from cinemae.stores.features import FeatureStore
from cinemae.stores.store_format import FEATURES

VALIDATION_SHARE = 0.25


class Labelled(Protocol):
    """What is known of labelled images without their features; see `TrainingSet`."""

    @property
    def labels(self) -> NDArray[np.int64]: ...  # noqa: D102

    def __len__(self) -> int: ...

    def names(self, label: int) -> list[str]: ...  # noqa: D102

    def made_by(self, names: Sequence[str]) -> NDArray[np.bool_]: ...  # noqa: D102

    def __getitem__(self, chosen: NDArray[Any]) -> Self: ...


_Set = TypeVar("_Set", bound=Labelled)


@dataclass(frozen=True)
class TrainingSet:
    """Labelled features of N images with V views each.

    Attributes:
        global_feature: (N, V, D) float32.
        stats: s1, s2, s3, (N, V, 3) float32.
        labels: 0 real, 1 fake, (N,).
        generators: Generator of each fake, source of each photograph, "" where unknown, (N,).
    """

    global_feature: NDArray[np.float32]
    stats: NDArray[np.float32]
    labels: NDArray[np.int64]
    generators: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.labels)

    def names(self, label: int) -> list[str]:
        """Return the generators of the fakes (1), or the sources of the photographs (0), by name."""
        return sorted(set(self.generators[self.labels == label].tolist()))

    def made_by(self, names: Sequence[str]) -> NDArray[np.bool_]:
        """Return which images have one of these generators, (N,)."""
        return np.isin(self.generators, list(names))

    def __getitem__(self, chosen: NDArray[Any]) -> TrainingSet:
        """Return the chosen images, by mask or index."""
        return TrainingSet(
            self.global_feature[chosen], self.stats[chosen], self.labels[chosen], self.generators[chosen]
        )

    def parts(self) -> Iterator[TrainingSet]:
        """Yield the images in order, so many as memory should hold: here all of them."""
        yield self

    def global_features(self) -> Iterator[NDArray[np.float32]]:
        """Yield [CLS] of each view in order, (n, V, D): here of all images."""
        yield self.global_feature

    @classmethod
    def from_stores(
        cls, stores: Sequence[FeatureStore], lcas: LcasConfig, *, passes: Sequence[int] | None = None
    ) -> Self:
        """Read the readable, labelled rows of stores that were made by the same frozen half.

        Args:
            stores: At least one.
            lcas: Weight and reduction of Eq. 4's terms.
            passes: Which of the K masked passes the statistics are of; None for all.

        Raises:
            FingerprintMismatchError: If two stores differ in backbone or extractor settings.
            TrainingError: If no row is labelled, or a feature is not finite.
        """
        require_one_fingerprint(stores)
        first = stores[0]
        parts = [_read(store, lcas, passes) for store in stores]
        joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
        result = cls(*joined)
        if not len(result):
            raise TrainingError(f"no readable image in {first.path} carries a label: name folders real/ and fake/.")
        if not (np.isfinite(result.global_feature).all() and np.isfinite(result.stats).all()):
            raise TrainingError(f"a feature in {first.path} is not finite: extract the store again.")
        return result


def require_one_fingerprint(stores: Sequence[FeatureStore]) -> None:
    """Refuse stores that different frozen halves made.

    Raises:
        FingerprintMismatchError: If two differ; they are named.
    """
    first = stores[0]
    for store in stores[1:]:
        if store.fingerprint != first.fingerprint:
            raise FingerprintMismatchError(
                f"stores that train one head must come from one frozen half; {first.path} has fingerprint "
                f"{first.fingerprint} and {store.path} has {store.fingerprint}: extract one of them again."
            )


def _read(store: FeatureStore, lcas: LcasConfig, passes: Sequence[int] | None) -> tuple[NDArray[Any], ...]:
    columns = store.load(("label", "generator", *FEATURES))
    labelled = columns["label"] >= 0
    generators = np.array([name or "" for name in columns["generator"]], dtype=np.str_)
    return (
        columns["global_feature"][labelled],
        read_stats(columns, store, lcas, passes)[labelled],
        columns["label"][labelled].astype(np.int64),
        generators[labelled],
    )


def read_stats(
    columns: Mapping[str, NDArray[Any]], store: FeatureStore, lcas: LcasConfig, passes: Sequence[int] | None = None
) -> NDArray[np.float32]:
    """Return s1, s2, s3 of stored images, (N, V, 3).

    Args:
        columns: `deviation` and `fidelity`, as `FeatureStore.load` gives them.
        store: Where they come from.
        lcas: Weight and reduction of Eq. 4's terms.
        passes: Which of the K masked passes the statistics are of; None for all.
    """
    chosen = slice(None) if passes is None else list(passes)
    deviation, fidelity = (torch.from_numpy(columns[name][:, :, chosen]) for name in ("deviation", "fidelity"))
    scores = combine_terms(
        deviation,
        fidelity,
        fidelity_weight=lcas.fidelity_weight,
        reduction=lcas.reduction,
        patch_dim=store.backbone.patch_dim,
    )
    stats: NDArray[np.float32] = anomaly_stats(scores.flatten(0, 1)).unflatten(0, scores.shape[:2]).numpy()
    return stats


def require_both_classes(data: Labelled, name: str) -> None:
    """Refuse a set of one class.

    Raises:
        TrainingError: If photographs or generated images are missing.
    """
    check_classes(data.labels, name)


def check_classes(labels: NDArray[Any], name: str) -> None:
    """Refuse labels of one class.

    Raises:
        TrainingError: If there are fewer than two photographs or two generated images.
    """
    reals, fakes = int((labels == 0).sum()), int((labels == 1).sum())
    if min(reals, fakes) < 2:
        raise TrainingError(
            f"{name} needs photographs and generated images, at least two of each; it holds {reals} and {fakes}."
        )


def hold_out(labels: NDArray[np.int64], generators: NDArray[np.str_], *, seed: int) -> NDArray[np.bool_]:
    """Hold out a quarter, rounded, of each generator's and of each photo source's images.

    Args:
        labels: 0 real, 1 fake, (N,).
        generators: Generator of each fake, source of each photograph, (N,).
        seed: Of the draw.

    Returns:
        Which images are held out, (N,).

    Example:
        >>> int(hold_out(np.array([0] * 8 + [1] * 4), np.array(["a"] * 8 + ["b"] * 4), seed=0).sum())
        3
    """
    rng = np.random.default_rng(seed)
    groups = np.char.add(labels.astype(str), generators)
    held_out = np.zeros(len(labels), bool)
    for name in np.unique(groups):
        members = rng.permutation(np.nonzero(groups == name)[0])
        held_out[members[: round(len(members) * VALIDATION_SHARE)]] = True
    return held_out


def split_by_generator(data: _Set, val_generators: Sequence[str] | None, *, seed: int) -> tuple[_Set, _Set, str]:
    """Hold out whole generators and a quarter of the photographs for validation.

    Args:
        data: All labelled images.
        val_generators: Which generators to hold out; None draws a quarter of them (at least one). With a single
            generator a quarter of its images is held out instead, and the returned sentence says so.
        seed: Of the draw.

    Returns:
        Training set, validation set, and how the split was made.

    Raises:
        TrainingError: If a named generator is not in the data, or none is left to train on.
    """
    rng = np.random.default_rng(seed)
    names = data.names(1)
    if val_generators is None and len(names) > 1:
        val_generators = sorted(rng.permutation(names)[: max(1, round(len(names) * VALIDATION_SHARE))].tolist())
    unknown = sorted(set(val_generators or ()) - set(names))
    if unknown:
        raise TrainingError(f"no generator {', '.join(unknown)} in the store; it holds {', '.join(names)}.")
    if val_generators and set(val_generators) == set(names):
        raise TrainingError(f"all generators are to be held out ({', '.join(names)}): none is left to train on.")
    held_out = rng.random(len(data)) < VALIDATION_SHARE
    if val_generators:
        held_out = np.where(data.labels == 1, data.made_by(val_generators), held_out)
        how = f"generators held out: {', '.join(val_generators)}; a quarter of the photographs"
    else:
        how = "a quarter of the images at random: one generator only, so the figures say nothing of unseen ones"
    return data[~held_out], data[held_out], how
