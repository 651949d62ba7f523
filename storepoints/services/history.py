"""Gathering history: each reading adds to a piece of five minutes.

Nothing here writes. The piece that is being gathered rides on the row that a report
writes anyway (``StorePoint.tally``, ``Filesystem.memory``), so that history costs one
row per store point in five minutes, and not one per probe.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from storepoints.forecast import TREND_SECONDS, trend_bytes_per_second
from storepoints.models import (
    Filesystem,
    ProbeSample,
    Resolution,
    SpaceSample,
    StorePoint,
)
from storepoints.pieces import FIVE_MINUTES, HOUR, instant, start_second


def gather(
    store_point: StorePoint,
    *,
    at: datetime,
    worked: bool,
    wrote: bool,
    latency_seconds: float | None,
) -> ProbeSample | None:
    """Add a probe to the piece in ``store_point.tally``.

    Returns the piece before it, not saved, when ``at`` falls in a later one. A late
    probe counts in the piece that is being gathered: history never goes backwards,
    so a piece is returned once. The caller saves ``tally``.
    """
    tally: dict[str, Any] = store_point.tally or {}
    piece = start_second(at, FIVE_MINUTES)
    sample = None
    if not tally or piece > tally["at"]:
        sample = _probe_sample(store_point, tally) if tally else None
        tally = {"at": piece, "probes": 0, "failures": 0, "writes": 0}
    tally = {
        **tally,
        "probes": tally["probes"] + 1,
        "failures": tally["failures"] + (not worked),
        "writes": tally["writes"] + wrote,
    }
    if latency_seconds is not None:
        least, total, count, most = tally.get("latency", (latency_seconds, 0.0, 0, 0.0))
        tally["latency"] = [
            min(least, latency_seconds),
            total + latency_seconds,
            count + 1,
            max(most, latency_seconds),
        ]
    store_point.tally = tally
    return sample


def finish(store_point: StorePoint) -> ProbeSample | None:
    """Return the piece that is being gathered, not saved, and begin with none."""
    tally, store_point.tally = store_point.tally, {}
    return _probe_sample(store_point, tally) if tally else None


def _probe_sample(store_point: StorePoint, tally: dict[str, Any]) -> ProbeSample:
    least, total, count, most = tally.get("latency", (None, 0.0, 0, None))
    return ProbeSample(
        store_point=store_point,
        resolution=Resolution.FIVE_MINUTES,
        at=instant(tally["at"]),
        probes=tally["probes"],
        failures=tally["failures"],
        writes=tally["writes"],
        latency_least=least,
        latency_mean=total / count if count else None,
        latency_most=most,
    )


def gather_space(filesystem: Filesystem, *, at: datetime) -> SpaceSample | None:
    """Add the filesystem's present figures, read at ``at``, to its history.

    Call it when the new figures stand in the row's fields; the caller saves
    ``memory``. Three of its keys are kept here:

    * ``piece``: the newest figures of the piece that is being gathered. The piece is
      returned, not saved, when ``at`` falls in a later one.
    * ``hours``: how much was used at the end of each of the last 24 hours.
    * ``trend``: how fast the filesystem fills, from these; made anew with each
      finished piece: ``{"bytes_per_second": float or None, "at": seconds}``.
    """
    if filesystem.total_bytes is None or filesystem.used_bytes is None:
        return None
    memory: dict[str, Any] = dict(filesystem.memory)
    second = start_second(at, FIVE_MINUTES)
    before = memory.get("piece")
    if before and second < before["at"]:
        return None
    memory["piece"] = {
        "at": second,
        "total": filesystem.total_bytes,
        "free": filesystem.free_bytes or 0,
        "used": filesystem.used_bytes,
        "inodes": _used_inodes(filesystem),
    }
    sample = None
    if before and second > before["at"]:
        sample = _space_sample(filesystem, before)
        _follow_trend(memory, before, second)
    filesystem.memory = memory
    return sample


def finish_space(filesystem: Filesystem) -> SpaceSample | None:
    """Return the piece that is being gathered, not saved, and begin with none."""
    memory = dict(filesystem.memory)
    piece = memory.pop("piece", None)
    filesystem.memory = memory
    return _space_sample(filesystem, piece) if piece else None


def _used_inodes(filesystem: Filesystem) -> int | None:
    # Btrfs and others have no fixed number of inodes, and say 0.
    if not filesystem.total_inodes or filesystem.free_inodes is None:
        return None
    return filesystem.total_inodes - filesystem.free_inodes


def _space_sample(filesystem: Filesystem, piece: dict[str, Any]) -> SpaceSample:
    return SpaceSample(
        filesystem=filesystem,
        resolution=Resolution.FIVE_MINUTES,
        at=instant(piece["at"]),
        total_bytes=piece["total"],
        free_bytes=piece["free"],
        used_bytes=piece["used"],
        used_inodes=piece["inodes"],
    )


def _follow_trend(memory: dict[str, Any], piece: dict[str, Any], now: int) -> None:
    """Keep the last day's hours in ``memory`` and reckon the trend from them."""
    hours: list[list[int]] = [
        each for each in memory.get("hours", []) if each[0] >= now - TREND_SECONDS
    ]
    end = piece["at"] + FIVE_MINUTES
    if hours and hours[-1][0] // HOUR == end // HOUR:
        # The hour is still running: what stands for it is its newest piece.
        hours[-1] = [end, piece["used"]]
    else:
        hours.append([end, piece["used"]])
    memory["hours"] = hours
    memory["trend"] = {
        "bytes_per_second": trend_bytes_per_second(hours),
        "at": now,
    }
