"""From a parsed TOML table to a settings dataclass, with every value's type checked and every error saying where."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, fields
from decimal import Decimal
from typing import Any, Literal, TypeAlias, TypeVar, get_origin, get_type_hints

from cinemae.errors import ConfigError
from cinemae.settings import Settings, require

PaperFigure: TypeAlias = Decimal | str | None
"""A number with the digits that are printed, a bound such as ``"< 0.15"``, or None where the paper prints nothing."""

SettingsT = TypeVar("SettingsT", bound=Settings)

_BOUND = re.compile(r"(abs )?[<>≤≥] \d+(\.\d+)?")


@contextmanager
def within(where: str) -> Iterator[None]:
    """Put `where` before the sentence of any ConfigError raised inside; empty text adds nothing."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}" if where else str(error)) from None


def build(
    kind: type[SettingsT],
    values: object,
    where: str,
    parts: Mapping[str, object] | None = None,
) -> SettingsT:
    """Build one dataclass.

    Args:
        kind: Which.
        values: The TOML table, read with ``parse_float=Decimal`` so that no printed digit is lost.
        where: What to call it in an error.
        parts: Fields that are built already.

    Raises:
        ConfigError: If it is not a table, a key is unknown, missing or of the wrong type, or the dataclass refuses it.

    Example:
        >>> from cinemae.config import LcasConfig
        >>> build(LcasConfig, {"reduction": "sum"}, "lcas").reduction
        'sum'
        >>> build(LcasConfig, {"reduction": 3}, "lcas")
        Traceback (most recent call last):
        ...
        cinemae.errors.ConfigError: lcas: reduction must be text, got 3.
    """
    built: dict[str, Any] = dict(parts or {})
    with within(where):
        require(isinstance(values, dict), f"this must be a table of keys and values, got {values!r}.")
        assigned: dict[str, Any] = dict(values)  # type: ignore[call-overload]
        known = {part.name: part for part in fields(kind) if part.name not in built}  # type: ignore[arg-type]
        unknown = [name for name in assigned if name not in known]
        require(not unknown, f"unknown key {', '.join(unknown)}; known keys: {', '.join(known)}.")
        needed = [name for name, part in known.items() if part.default is MISSING and part.default_factory is MISSING]
        missing = [name for name in needed if name not in assigned]
        require(not missing, f"the key {', '.join(missing)} is missing.")
        hints = get_type_hints(kind)
        built |= {name: _value(value, hints[name], name) for name, value in assigned.items()}
        return kind(**built)


def build_all(kind: type[SettingsT], values: object, what: str) -> tuple[SettingsT, ...]:
    """Build one dataclass from each table of a list; an error calls it by its name where it has one.

    Raises:
        ConfigError: If it is not a list, or `build` refuses one.
    """
    require(isinstance(values, list), f"{what}s must be a list of tables, got {values!r}.")
    built = []
    for place, one in enumerate(values, 1):  # type: ignore[arg-type, var-annotated]
        name = one.get("name") if isinstance(one, dict) else None
        built.append(build(kind, one, f'{what} "{name}"' if name else f"{what} {place}"))
    return tuple(built)


def _value(value: Any, hint: Any, name: str) -> Any:  # noqa: ANN401
    if hint in (int, bool):
        rule = "a whole number" if hint is int else "true or false"
        require(type(value) is hint, f"{name} must be {rule}, got {value!r}.")
    elif hint in (str, str | None) or get_origin(hint) is Literal:
        require(isinstance(value, str) and bool(value), f"{name} must be text, got {value!r}.")
    elif hint == PaperFigure:
        return _figure(value, name)
    elif hint in (tuple[str, ...], tuple[PaperFigure, ...]):
        require(isinstance(value, list), f"{name} must be a list, got {value!r}.")
        return tuple(_value(one, hint.__args__[0], f"each of {name}") for one in value)
    elif hint == Mapping[str, Any]:
        require(isinstance(value, dict), f"{name} must be a table of settings, got {value!r}.")
        return _plain(value)
    return value


def _figure(value: Any, name: str) -> PaperFigure:  # noqa: ANN401
    if type(value) is int or (isinstance(value, Decimal) and value.is_finite()):
        return Decimal(value)
    require(
        isinstance(value, str) and (value == "-" or _BOUND.fullmatch(value) is not None),
        f'{name} must be a number, a bound such as "< 0.15", or "-" where the paper prints none; got {value!r}.',
    )
    return None if value == "-" else str(value)


def _plain(value: Any) -> Any:  # noqa: ANN401
    """Turn decimals into floats, through tables and lists."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return tuple(_plain(one) for one in value)
    return float(value) if isinstance(value, Decimal) else value
