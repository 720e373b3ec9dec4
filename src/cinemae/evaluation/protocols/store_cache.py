"""The feature stores that protocols share: each made once, found again by name, and gone on with after a stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from cinemae.config import DeviationConfig, MaskConfig
from cinemae.core.features import FeatureExtractor
from cinemae.features.extract import extract
from cinemae.features.extract_job import DEFAULT_BATCH_SIZE
from cinemae.fit.start import Start
from cinemae.sources.records import ImageRecord
from cinemae.stores.features import FeatureStore


class StoreCache:
    """Stores in one folder, made with one frozen half.

    Args:
        folder: Where they lie.
        frozen: What makes them.
        tell: Called with (store, images done, images in all).
        batch_size: Images handed to the backbone together.
    """

    def __init__(
        self,
        folder: Path,
        frozen: Start,
        tell: Callable[[str, int, int], None] = lambda name, done, total: None,
        batch_size: int = DEFAULT_BATCH_SIZE,
    ) -> None:
        self.folder, self.frozen, self._tell, self._batch_size = folder, frozen, tell, batch_size

    def get(
        self,
        name: str,
        records: Sequence[ImageRecord],
        *,
        condition: str = "raw",
        mask: MaskConfig | None = None,
        deviation: DeviationConfig | None = None,
    ) -> FeatureStore:
        """Return a store of some records, making what of it is missing.

        Args:
            name: Of the set of images, such as "train".
            records: The images.
            condition: What is done to them first.
            mask: Other masks than the model's.
            deviation: Other settings of Eq. 5 than the model's.

        Raises:
            StoreError: If the folder of that name holds another set of images.
            FingerprintMismatchError: If it was made with another backbone or other settings.
        """
        own = self.frozen.extractor.config
        mask, deviation = mask or own.mask, deviation or own.deviation
        stem = f"{name}.{condition.replace('=', '-')}.{mask.scheme}-{mask.num_passes}.seed-{mask.seed}"
        if deviation != own.deviation:
            stem += f".{deviation.pixel_space}-{deviation.unbiased}-{deviation.sigma_floor}"
        extractor = FeatureExtractor(self.frozen.extractor.backbone, replace(own, mask=mask, deviation=deviation))
        extract(
            records,
            self.folder / stem,
            extractor.to(self.frozen.device),
            batch_size=self._batch_size,
            condition=None if condition == "raw" else condition,
            progress=lambda done, total: self._tell(stem, done, total),
        )
        return FeatureStore.open(self.folder / stem)
