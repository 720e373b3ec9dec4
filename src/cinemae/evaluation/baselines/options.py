"""Settings of a baseline from text, as in ``npr,epochs=3,crop=96``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TypeVar, get_origin, get_type_hints

from cinemae.errors import ConfigError
from cinemae.settings import Settings

SettingsT = TypeVar("SettingsT", bound=Settings)


def options_from_text(text: str) -> dict[str, str]:
    """Split ``epochs=3,crop=96`` into names and values; empty text is no option at all.

    A value may not hold a comma.

    Raises:
        ConfigError: If a part is not ``name=value``, or a name comes twice.

    Example:
        >>> options_from_text("epochs=3, crop=96")
        {'epochs': '3', 'crop': '96'}
    """
    options: dict[str, str] = {}
    for part in text.split(",") if text.strip() else []:
        name, sign, value = (piece.strip() for piece in part.partition("="))
        if not (name and sign and value):
            raise ConfigError(f'options are written name=value, with commas between: "{part.strip()}" is none.')
        if name in options:
            raise ConfigError(f"the option {name} is given twice: {options[name]} and {value}; give it once.")
        options[name] = value
    return options


def settings_from_options(kind: type[SettingsT], options: Mapping[str, str], *, detector: str) -> SettingsT:
    """Build settings from values in text; whole numbers in a row are joined by plus signs: ``depths=3+4``.

    Args:
        kind: A dataclass whose fields are int, float, str, tuple[int, ...] or Literal of str.
        options: Value by name of field.
        detector: The detector's name, for the sentence.

    Raises:
        ConfigError: If a name is unknown, a number is none, or the settings refuse a value.

    Example:
        >>> from cinemae.evaluation.baselines.npr import NprConfig
        >>> settings_from_options(NprConfig, {"depths": "1+1"}, detector="npr").depths
        (1, 1)
    """
    hints = get_type_hints(kind)
    known = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    values: dict[str, object] = {}
    for name, text in options.items():
        if name not in known:
            raise ConfigError(f"{detector} has no option {name}; its options: {', '.join(known)}.")
        values[name] = _value(name, text, hints[name])
    return kind(**values)


def _value(name: str, text: str, hint: object) -> object:
    try:
        if hint is int:
            return int(text)
        if hint is float:
            return float(text)
        if get_origin(hint) is tuple:
            return tuple(int(part) for part in text.split("+"))
    except ValueError as error:
        several = "whole numbers joined by plus signs, such as 3+4"
        rule = "a whole number" if hint is int else "a number" if hint is float else several
        raise ConfigError(f'{name} must be {rule}, got "{text}".') from error
    return text
