"""Files that are in two sets of images, whatever their names."""

from __future__ import annotations

from collections.abc import Iterable, Set

from cinemae.errors import CinemaeError


def refuse_overlap(
    seen: Set[str], judged: Iterable[tuple[str, str]], names: tuple[str, str], *, error: type[CinemaeError]
) -> None:
    """Refuse images to judge whose file is in the set seen before too.

    Args:
        seen: SHA-256 of every file that was trained on, or that thresholds were chosen on.
        judged: Path and SHA-256 of every image that is judged.
        names: What the sentence calls the two sets, such as ("training", "test").
        error: What to raise.

    Raises:
        CinemaeError: If there is one; the first is named.
    """
    shared = [path for path, digest in judged if digest in seen]
    if shared:
        raise error(
            f"no image may be in two sets; {len(shared)} of the {names[1]} images are in the {names[0]} set as well, "
            f"such as {shared[0]}: take them out, or allow it (--allow-overlap) and trust no figure."
        )
