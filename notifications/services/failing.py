"""The alert about telling people itself: nobody should believe that silence is good news."""

from __future__ import annotations

from datetime import datetime, timedelta

from alerts.catalogue import notification_delivery_failing
from alerts.models import Alert
from alerts.selectors import parts_in_trouble
from alerts.services import reconcile_console
from notifications import selectors
from notifications.engine import CHANNEL_LANE
from notifications.selectors import DeliveryProblem

PATIENCE = timedelta(seconds=notification_delivery_failing.FAILING_SECONDS)

KIND = notification_delivery_failing.KIND.slug

#: What the subject of such an alert begins with when it is about a channel.
_OF_CHANNEL = f"console:{CHANNEL_LANE}"


def reconcile_delivery(*, now: datetime) -> None:
    """Raise or clear the alerts that notifications cannot be delivered.

    One for mail, and one for each channel: each goes out by all the others. Also of a
    channel that is well again, or removed, while its alert was put off.
    """
    problems = {"": selectors.mail_problem(now)}
    subjects = parts_in_trouble(KIND, _OF_CHANNEL)
    problems |= {subject.partition(":")[2]: None for subject in subjects}
    for problem in selectors.channel_problems(now):
        if problem.channel is not None:
            problems[problem.channel.lane] = problem
    for part, found in problems.items():
        reconcile_console({KIND: _words(found, now)}, now=now, part=part)


def _words(problem: DeliveryProblem | None, now: datetime) -> str:
    if problem is None or (not problem.is_final and now - problem.since < PATIENCE):
        return ""
    if problem.channel is None:
        return (problem.public_title or problem.title).lower()
    return problem.title[:1].lower() + problem.title[1:]


def failing_lane(alert: Alert) -> str | None:
    """Return the lane that an alert says is failing: "" for mail, "channel:7".

    None for an alert about anything else.
    """
    if alert.kind != KIND:
        return None
    return alert.subject.partition(":")[2]
