"""How figures are summed up and set beside their targets."""

from __future__ import annotations

import statistics
from collections.abc import Sequence


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that a share (0 to 1) of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def spread(values: Sequence[float]) -> str:
    """Return median and range in words: ``0.120 (0.118 to 0.131)``."""
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """Return the median of the ratios of two costs that were taken in turns."""
    return statistics.median(
        one / other for one, other in zip(above, below, strict=True)
    )


def judged(value: float, most: float, words: str) -> str:
    """Return whether a target is met, in words: ``target at most 2: met``."""
    return f"target at most {words}: {'met' if value <= most else 'missed'}"
