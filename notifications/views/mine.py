"""What would I get: what reaches a person, by what, when, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from alerts import selectors as alerts
from alerts.catalogue import KINDS, Kind
from alerts.engine import Severity
from alerts.settings import Setting
from console.accounts.models import User
from console.accounts.people import person_of
from console.kit import clock
from console.kit.access import SIGNED_IN, needs
from notifications import dryrun, reach, selectors
from notifications.models import Route
from notifications.rules import Listener, Rule
from notifications.simulation import of_listener
from notifications.views.routes import matches_words, when_words
from storepoints.models import Destination


@dataclass(frozen=True, slots=True)
class Way:
    """A route by which somebody hears, or hearing everything (no route)."""

    route: Route | None
    matches: str
    when: str
    why: str


@dataclass(frozen=True, slots=True)
class KindRow:
    """A kind of alert: by what it reaches the person, and how often it would have."""

    kind: Kind
    by: str
    count: int


@require_safe
@needs(SIGNED_IN)
def mine(request: HttpRequest) -> HttpResponse:
    """Show what reaches the person who asks."""
    return _show(request, person_of(request))


@require_safe
@needs("accounts.view_user")
def of_person(request: HttpRequest, key: int) -> HttpResponse:
    """Show what reaches somebody."""
    return _show(request, get_object_or_404(User, pk=key))


def _show(request: HttpRequest, person: User) -> HttpResponse:
    now = clock.now()
    everybody = reach.listeners()
    listener = next(
        (
            each
            for each in everybody
            if person.email
            and person.is_active
            and each.lane.lower() == person.email.lower()
        ),
        None,
    )
    rows = [row for row in reach.routes() if row.is_enabled]
    rules = reach.rules_of(rows)
    context: dict[str, Any] = {
        "person": person,
        "is_own": person.pk == request.user.pk,
        "quiet": person.quiet_words,
        "zone": str(person.zone or reach.console_zone()),
        "why_not": _why_not(person, listener),
        "email": selectors.email_settings(),
        "span_days": dryrun.SPAN.days,
    }
    if listener is not None:
        pairs = list(zip(rows, rules, strict=True))
        run = dryrun.dry_run(now, rules=rules, listeners=[listener])
        count = of_listener(run, [listener.lane])
        context |= {
            "ways": _ways(listener, pairs, person),
            "groups": _kinds(listener, pairs, count.kinds if count else {}),
            "count": count,
            "run": run,
        }
    return render(request, "notifications/mine.html", context)


def _why_not(person: User, listener: Listener | None) -> str:
    if not person.is_active:
        return "may not sign in any more, and hears nothing"
    if not person.email:
        return "has no email address, so nothing can be sent"
    if listener is None:
        return (
            "is neither an administrator nor in a group that routes tell, and hears "
            "nothing"
        )
    return ""


def _ways(
    listener: Listener, routes: list[tuple[Route, Rule]], person: User
) -> list[Way]:
    ways = []
    if listener.hears_everything:
        why = (
            "administrators are always included"
            if person.is_administrator
            else "the address is a recipient that is in no group"
        )
        ways.append(Way(None, "Every alert", "At once", why))
    for route, rule in routes:
        if not rule.reaches(listener):
            continue
        names = [
            str(group) for group in route.groups.all() if group.pk in listener.groups
        ]
        why = f"in {'group' if len(names) == 1 else 'groups'} {', '.join(names)}"
        ways.append(Way(route, matches_words(route), when_words(route), why))
    return ways


def _kinds(
    listener: Listener, routes: list[tuple[Route, Rule]], counts: Any
) -> list[tuple[Severity, list[KindRow]]]:
    """Return the kinds by the severity that they have everywhere."""
    chosen = alerts.settings()
    own: dict[str, list[Destination]] = {}
    for place in Destination.objects.filter(pk__in=chosen.destinations).order_by(
        "name", "pk"
    ):
        for destination, slug in chosen.overrides:
            if destination == place.pk:
                own.setdefault(slug, []).append(place)
    found: dict[Severity, list[KindRow]] = {severity: [] for severity in Severity}
    for kind in KINDS.values():
        everywhere = chosen.of(kind.slug)
        words = _by(everywhere, listener, routes)
        parts = [words or "not"]
        for place in own.get(kind.slug, ()):
            here = chosen.of(kind.slug, place.pk)
            if (here.is_mailed, here.severity) != (
                everywhere.is_mailed,
                everywhere.severity,
            ):
                said = _by(here, listener, routes, destination=place)
                level = here.severity.label
                parts.append(f"in destination {place} ({level}): {said or 'not'}")
        found[everywhere.severity].append(
            KindRow(
                kind,
                "; ".join(parts) if len(parts) > 1 else words,
                counts.get(kind.slug, 0),
            )
        )
    return [(severity, rows) for severity, rows in found.items() if rows]


def _by(
    setting: Setting,
    listener: Listener,
    routes: list[tuple[Route, Rule]],
    *,
    destination: Destination | None = None,
) -> str:
    """Return by what a kind reaches somebody, in words; "" when it does not.

    As it holds everywhere, or in the destination that is given.
    """
    if not setting.is_mailed:
        return "not told to anybody: Send Email is off"
    parts = ["at once"] if listener.hears_everything else []
    for route, rule in routes:
        coverage = rule.coverage
        if (
            not rule.reaches(listener)
            or (coverage.kinds and setting.kind.slug not in coverage.kinds)
            or (coverage.severities and setting.severity not in coverage.severities)
            or (destination and coverage.destination not in {None, destination.pk})
        ):
            continue
        where = [
            f"{noun} {name}"
            for noun, name in (
                ("destination", None if destination else route.destination),
                ("server", route.server),
            )
            if name
        ]
        only = f", only {' and '.join(where)}" if where else ""
        when = when_words(route)
        parts.append(f"route “{route}”: {when[:1].lower()}{when[1:]}{only}")
    return "; ".join(parts)
