"""What the guide of an alert about telling people is told of how that goes now."""

from __future__ import annotations

from collections.abc import Sequence

from django.urls import reverse

from alerts.guide import Fact
from alerts.scene import Scene
from notifications import selectors
from notifications.selectors import DeliveryProblem
from notifications.services.failing import failing_lane


def what_fails(scene: Scene) -> Sequence[Fact]:
    """Return what keeps people from being told, for whom it is meant to be seen."""
    problem = _problem_of(scene)
    if problem is None:
        return [Fact("Nothing keeps messages from being delivered now.")]
    may_see_addresses = scene.may("notifications.view_recipient")
    title = (
        problem.title if may_see_addresses else problem.public_title or problem.title
    )
    facts = [Fact(title, at=problem.since, at_words="since")]
    if may_see_addresses and problem.error:
        facts.append(Fact(problem.error))
    if scene.may("notifications.view_emailsettings"):
        facts.append(Fact(problem.cure))
        facts.append(
            Fact("Settings > Email, with Send test", url=reverse("notifications:email"))
            if problem.channel is None
            else Fact(
                "Settings > Channels, with Send test",
                url=problem.channel.get_absolute_url(),
            )
        )
        facts.append(Fact("The delivery log", url=reverse("notifications:deliveries")))
    else:
        facts.append(Fact("An administrator sees here what is wrong."))
    return facts


def _problem_of(scene: Scene) -> DeliveryProblem | None:
    """Return the problem of the lane that the alert is about."""
    lane = failing_lane(scene.alert)
    if not lane:
        return selectors.mail_problem(scene.now)
    return next(
        (
            problem
            for problem in selectors.channel_problems(scene.now)
            if problem.channel is not None and problem.channel.lane == lane
        ),
        None,
    )
