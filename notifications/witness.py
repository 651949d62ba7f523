"""What the guide of an alert about telling people is told of how that goes now."""

from __future__ import annotations

from collections.abc import Sequence

from django.urls import reverse

from alerts.guide import Fact
from alerts.scene import Scene
from notifications import selectors


def what_fails(scene: Scene) -> Sequence[Fact]:
    """Return what keeps people from being told, for whom it is meant to be seen."""
    problem = selectors.delivery_problem(scene.now)
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
        )
        facts.append(Fact("The delivery log", url=reverse("notifications:deliveries")))
    else:
        facts.append(Fact("An administrator sees here what is wrong."))
    return facts
