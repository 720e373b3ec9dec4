"""What every settings dataclass of `cinemae.config` does: reading, writing, and the check of named choices."""

from __future__ import annotations

import dataclasses
import json
import os
import warnings
from typing import Any, ClassVar, Literal, Self, get_args, get_origin, get_type_hints

from cinemae.errors import ConfigError

DECODING_ENVIRONMENT = {"PILLOW_BLOCKS_MAX": "8"}
"""Lets Pillow, which reads it when it is imported, keep 128 MB (8 blocks of 16) from one picture to the next.

Otherwise the system hands out and clears 48 MB anew for each picture of 12 megapixels, and other threads wait. It
concerns the whole process, so it is for cinemae's own programs, not for those that import cinemae.
"""


def silence_decoders() -> None:
    """Ignore Pillow's warnings, which name no file; for cinemae's own programs, since it concerns the whole process."""
    warnings.filterwarnings("ignore", module=r"PIL\.")


def require(condition: bool, sentence: str) -> None:
    """Raise ConfigError with `sentence` unless `condition` holds."""
    if not condition:
        raise ConfigError(sentence)


class Settings:
    """Base of the frozen dataclasses in `cinemae.config`."""

    _LATER: ClassVar[tuple[str, ...]] = ()
    """Fields that came after others were written: at their default they are left out, so that ids and files stay."""

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self)).items():
            if get_origin(hint) is Literal:
                value, choices = getattr(self, name), [f'"{choice}"' for choice in get_args(hint)]
                allowed = f"{', '.join(choices[:-1])} or {choices[-1]}"
                require(value in get_args(hint), f"{name} must be {allowed}, got {value!r}.")

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain JSON types."""
        values: dict[str, Any] = {}
        for each in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, each.name)
            default = each.default_factory() if callable(each.default_factory) else each.default
            if each.name not in self._LATER or value != default:
                values[each.name] = value.to_dict() if isinstance(value, Settings) else value
        plain: dict[str, Any] = json.loads(json.dumps(values))
        return plain

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build from `to_dict` output.

        Raises:
            ConfigError: If a key is unknown; a newer cinemae may have written it.
        """
        known = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        unknown = sorted(set(values) - set(known))
        require(
            not unknown,
            f"{cls.__name__} has no setting {', '.join(unknown)}. It was written by another version of cinemae, or "
            f"misspelt; known settings: {', '.join(known)}.",
        )
        arguments: dict[str, Any] = {}
        for name, value in values.items():
            nested: Any = known[name].default_factory
            if isinstance(value, dict) and nested is not dataclasses.MISSING:
                value = nested.from_dict(value)
            elif isinstance(value, list):
                value = tuple(value)
            arguments[name] = value
        return cls(**arguments)


def usable_cores() -> int:
    """Return how many cores this process may use: no more than ``CINEMAE_CORES`` in the environment, if it is set.

    Example:
        >>> usable_cores() >= 1
        True
    """
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    given = os.environ.get("CINEMAE_CORES", "")
    return min(there, int(given)) if given.isdecimal() and int(given) else there
