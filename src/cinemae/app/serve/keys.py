"""API keys: where they come from, and how one is compared with them."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from cinemae.errors import ConfigError
from cinemae.settings import require

KEYS_VARIABLE = "CINEMAE_API_KEYS"
"""Environment variable with API keys, separated by commas or white space."""

MIN_KEY_LENGTH = 16


class ApiKeys:
    """The keys that open the service; none means that it is open to everyone who reaches it.

    Only hashes are kept. A key is compared with every one of them, in constant time each, so that the time taken tells
    neither how much of a key is right nor which.

    Args:
        keys: In plain text, each of at least 16 printable ASCII characters without spaces.

    Raises:
        ConfigError: If a key is shorter, or holds other characters.

    Example:
        >>> keys = ApiKeys(["correct-horse-battery"])
        >>> keys.required, keys.allow("correct-horse-battery"), keys.allow("correct-horse-batterY"), keys.allow(None)
        (True, True, False, False)
    """

    def __init__(self, keys: Iterable[str] = ()) -> None:
        given = list(keys)
        for key in given:
            require(
                len(key) >= MIN_KEY_LENGTH and all("!" <= character <= "~" for character in key),
                f"an API key has at least {MIN_KEY_LENGTH} printable ASCII characters and no spaces, one of {len(key)} "
                'characters does not: make one with python -c "import secrets; print(secrets.token_urlsafe())".',
            )
        self._digests = [_digest(key) for key in given]

    @property
    def required(self) -> bool:
        """Whether a request needs a key."""
        return bool(self._digests)

    def allow(self, key: str | None) -> bool:
        """Tell whether a key opens the service."""
        if not self.required:
            return True
        given = _digest(key or "")
        return sum([hmac.compare_digest(given, digest) for digest in self._digests]) > 0


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def read_keys(file: Path | None, environment: Mapping[str, str] = os.environ) -> ApiKeys:
    """Read the keys of a file, one a line with ``#`` before a comment, and those of the environment.

    Args:
        file: The file, or None.
        environment: Where `KEYS_VARIABLE` may be set.

    Raises:
        ConfigError: If the file cannot be read or names no key, or a key is too short: a service that was meant to be
            closed must not start open.
    """
    keys = environment.get(KEYS_VARIABLE, "").replace(",", " ").split()
    if KEYS_VARIABLE in environment and not keys:
        raise ConfigError(f"{KEYS_VARIABLE} is set but holds no key: set one, or unset it.")
    if file is not None:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"the file of API keys {file} cannot be read ({error}): check the path.") from error
        found = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
        if not found:
            raise ConfigError(f"the file of API keys {file} names no key: write one a line.")
        keys += found
    return ApiKeys(keys)
