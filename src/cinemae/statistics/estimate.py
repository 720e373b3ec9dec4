"""A figure with its 95 % interval and the number of images that it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Estimate:
    """A figure with its sample size and 95 % interval.

    Attributes:
        value: The figure.
        low: Lower end.
        high: Upper end.
        n: How many images it rests on.
    """

    value: float
    low: float
    high: float
    n: int

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Estimate:
        """Return what `to_dict` gave; other keys are ignored."""
        return cls(found["value"], found["low"], found["high"], found["n"])

    def __format__(self, spec: str) -> str:
        """Return the figure and its interval, each by `spec`; the sign of per cent stands once.

        Example:
            >>> half = Estimate(0.5, 0.4, 0.61, n=100)
            >>> f"{half:.2f}", f"{half:+.1f}", f"{half:.1%}"
            ('0.50 [0.40, 0.61]', '+0.5 [+0.4, +0.6]', '50.0 % [40.0, 61.0]')
        """
        value, low, high = (format(one, spec).rstrip("%") for one in (self.value, self.low, self.high))
        return f"{value}{' %' if spec.endswith('%') else ''} [{low}, {high}]"

    def to_dict(self) -> dict[str, float | int]:
        """Return plain JSON types."""
        return asdict(self)
