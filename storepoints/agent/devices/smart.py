"""What ``smartctl --json`` says of a drive.

The fields and the bits of the exit status are those of smartctl's manual (version 7).
From which count on a drive is called degraded or failing is this project's choice, see
``docs/decisions/0012-what-lies-below.md``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from storepoints.agent.devices.tools import RAN, Result
from storepoints.agent.devices.tree import DEGRADED, FAILING, OK, count

#: Asks for health, attributes and identity, and lets a drive sleep that sleeps.
ARGUMENTS = ("-n", "standby", "-j", "-H", "-A", "-i")

#: A few sectors are replaced in the life of a healthy drive; more are a trend.
REALLOCATED_DEGRADED = 10
#: Sectors that cannot be read now: one is a warning, this many a drive that dies.
UNREADABLE_FAILING = 100
#: Percent of its rated life that a solid-state drive has used.
WORN_OUT = 100

#: Bits of smartctl's exit status.
_COULD_NOT_OPEN, _COMMAND_FAILED = 1 << 1, 1 << 2
_IS_FAILING, _IS_BELOW, _WAS_BELOW = 1 << 3, 1 << 4, 1 << 5
_HAS_ERRORS, _FAILED_SELF_TEST = 1 << 6, 1 << 7

#: Bits of an NVMe drive's critical warning (NVM Express base specification).
_NVME_WARNINGS = (
    (0x01, FAILING, "its spare blocks are used up"),
    (0x02, DEGRADED, "its temperature is out of range"),
    (0x04, FAILING, "its reliability is degraded by media errors"),
    (0x08, FAILING, "it has turned itself read-only"),
    (0x10, DEGRADED, "the backup of its volatile memory has failed"),
    (0x20, DEGRADED, "its persistent memory region is read-only or unreliable"),
)

_REALLOCATED, _REPORTED, _PENDING, _UNCORRECTABLE = 5, 187, 197, 198


@dataclass(slots=True)
class Reading:
    """What a drive said of itself: its health, what is wrong, and facts.

    ``health`` is None when it said nothing; ``note`` says then why.
    """

    health: str | None = None
    problems: list[tuple[str, str]] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    note: str = ""
    is_asleep: bool = False


def read(name: str, result: Result) -> Reading:
    """Return what smartctl said of the drive ``name``."""
    if result.how != RAN:
        return Reading(note=f"{name}: {result.why}, so the drive was not asked")
    try:
        said = json.loads(result.output)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        return Reading(note=f"{name}: smartctl (older than 7.0?) gave no JSON")
    complaint = _complaint(said)
    if "STANDBY" in complaint or "SLEEP" in complaint:
        return Reading(note=f"{name} sleeps and was not woken", is_asleep=True)
    status = _number(_at(said, "smartctl", "exit_status"))
    bits = result.status if status is None else status
    if not isinstance(_at(said, "smart_status", "passed"), bool) and not (
        bits & (_IS_FAILING | _IS_BELOW)
    ):
        return Reading(note=f"{name}: {_why_silent(said, complaint, bits)}")
    return _judged(name, said, bits)


def _why_silent(said: dict[str, Any], complaint: str, bits: int) -> str:
    if "ermission denied" in complaint or "not permitted" in complaint:
        return "smartctl may not open it: permission denied"
    if _at(said, "smart_support", "available") is False:
        return "it has no SMART"
    if _at(said, "smart_support", "enabled") is False:
        return "SMART is switched off in it"
    if complaint:
        # Of "/dev/vda: Unable to detect device type" the part behind the name.
        return f"smartctl cannot ask it: {complaint.rpartition(': ')[2]}"
    if bits & (_COULD_NOT_OPEN | _COMMAND_FAILED):
        return "smartctl cannot ask it: it does not take the command"
    return "it says nothing of its health"


def _judged(name: str, said: dict[str, Any], bits: int) -> Reading:
    reading = Reading(health=OK)
    passed = _at(said, "smart_status", "passed")
    is_failing = passed is False or bool(bits & _IS_FAILING)
    reading.facts["SMART"] = "failing" if is_failing else "passed"
    for fact, value in (
        ("model", said.get("model_name")),
        ("serial", said.get("serial_number")),
        ("firmware", said.get("firmware_version")),
    ):
        if isinstance(value, str) and value:
            reading.facts[fact] = value
    if (celsius := _number(_at(said, "temperature", "current"))) is not None:
        reading.facts["temperature"] = f"{celsius} °C"
    if (hours := _number(_at(said, "power_on_time", "hours"))) is not None:
        reading.facts["powered on"] = f"{hours} h"
    if is_failing:
        reading.problems.append((FAILING, f"drive {name} fails its SMART check"))
    if bits & _IS_BELOW:
        what = ", ".join(_attributes_failing_now(said)) or "an attribute"
        reading.problems.append(
            (FAILING, f"drive {name} is beyond the limit that its maker set: {what}")
        )
    if bits & _WAS_BELOW:
        reading.facts["in the past"] = "an attribute was beyond its limit"
    if bits & _HAS_ERRORS:
        reading.facts["error log"] = "has entries"
    if bits & _FAILED_SELF_TEST:
        reading.problems.append((DEGRADED, f"drive {name} failed a self-test"))
    _judge_ata(name, said, reading)
    _judge_scsi(name, said, reading)
    _judge_nvme(name, said, reading)
    if reading.problems:
        is_failing = any(health == FAILING for health, _ in reading.problems)
        reading.health = FAILING if is_failing else DEGRADED
    return reading


def _judge_ata(name: str, said: dict[str, Any], reading: Reading) -> None:
    counts = {
        attribute.get("id"): _raw(attribute)
        for attribute in _table(said)
        if attribute.get("id") in (_REALLOCATED, _REPORTED, _PENDING, _UNCORRECTABLE)
    }
    words = {
        _REALLOCATED: "reallocated sectors",
        _PENDING: "pending sectors",
        _UNCORRECTABLE: "uncorrectable sectors",
        _REPORTED: "uncorrectable errors reported",
    }
    for number, fact in words.items():
        if (value := counts.get(number)) is not None:
            reading.facts[fact] = str(value)
    unreadable = max(counts.get(_PENDING) or 0, counts.get(_UNCORRECTABLE) or 0)
    if unreadable:
        reading.problems.append(
            (
                FAILING if unreadable >= UNREADABLE_FAILING else DEGRADED,
                f"drive {name} has {count(unreadable, 'sector')} that it cannot read",
            )
        )
    _judge_reallocated(name, counts.get(_REALLOCATED), reading)


def _judge_reallocated(name: str, value: int | None, reading: Reading) -> None:
    if value is not None and value >= REALLOCATED_DEGRADED:
        what = f"drive {name} has replaced {count(value, 'bad sector')}"
        reading.problems.append((DEGRADED, what))


def _judge_scsi(name: str, said: dict[str, Any], reading: Reading) -> None:
    grown = _number(said.get("scsi_grown_defect_list"))
    if grown is not None:
        reading.facts["reallocated sectors"] = str(grown)
        _judge_reallocated(name, grown, reading)
    uncorrected = 0
    counters = said.get("scsi_error_counter_log")
    for counter in counters.values() if isinstance(counters, dict) else ():
        uncorrected += _number(_at(counter, "total_uncorrected_errors")) or 0
    if isinstance(counters, dict):
        reading.facts["uncorrectable errors reported"] = str(uncorrected)
    if uncorrected:
        what = f"drive {name} reports {count(uncorrected, 'uncorrected error')}"
        reading.problems.append((DEGRADED, what))


def _judge_nvme(name: str, said: dict[str, Any], reading: Reading) -> None:
    log = said.get("nvme_smart_health_information_log")
    if not isinstance(log, dict):
        return
    warning = _number(log.get("critical_warning")) or 0
    for bit, health, what in _NVME_WARNINGS:
        if warning & bit:
            reading.problems.append((health, f"drive {name}: {what}"))
    used = _number(log.get("percentage_used"))
    if used is not None:
        reading.facts["rated life used"] = f"{used} %"
        if used >= WORN_OUT:
            what = f"drive {name} has used {used} % of its rated life"
            reading.problems.append((DEGRADED, what))
    spare = _number(log.get("available_spare"))
    if spare is not None:
        reading.facts["spare blocks"] = f"{spare} %"
        least = _number(log.get("available_spare_threshold"))
        if least is not None and spare < least and not warning & 0x01:
            what = f"drive {name} has {spare} % of its spare blocks left"
            reading.problems.append((FAILING, what))
    errors = _number(log.get("media_errors"))
    if errors is not None:
        reading.facts["media errors"] = str(errors)
        if errors:
            what = f"drive {name} reports {count(errors, 'media error')}"
            reading.problems.append((DEGRADED, what))


def _attributes_failing_now(said: dict[str, Any]) -> list[str]:
    return [
        str(attribute.get("name", "")).replace("_", " ")
        for attribute in _table(said)
        if attribute.get("when_failed") == "now"
    ]


def _table(said: dict[str, Any]) -> list[dict[str, Any]]:
    table = _at(said, "ata_smart_attributes", "table")
    if not isinstance(table, list):
        return []
    return [attribute for attribute in table if isinstance(attribute, dict)]


def _raw(attribute: dict[str, Any]) -> int | None:
    """Return an attribute's count.

    Some makers pack more than the count into the raw value; the text has it in front.
    """
    text = _at(attribute, "raw", "string")
    if isinstance(text, str) and text.split() and text.split()[0].isdigit():
        return int(text.split()[0][:12])
    return _number(_at(attribute, "raw", "value"))


def _complaint(said: dict[str, Any]) -> str:
    messages = _at(said, "smartctl", "messages")
    texts = [
        str(_at(message, "string") or "")
        for message in (messages if isinstance(messages, list) else ())
    ]
    return "; ".join(text for text in texts if text)[:300]


def _at(data: object, *names: str) -> Any:
    for name in names:
        if not isinstance(data, dict):
            return None
        data = data.get(name)
    return data


def _number(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value < 2**64 else None
