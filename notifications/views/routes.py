"""Settings > Notifications > Routes: what is told to whom, how soon, and a dry run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import (
    require_http_methods,
    require_POST,
    require_safe,
)

from alerts.catalogue import KINDS
from alerts.engine import Severity
from console.accounts.forms import add_errors
from console.accounts.people import person_of
from console.kit import clock, htmx, humane
from console.kit.access import needs
from console.kit.problems import WrongInput
from notifications import dryrun, reach, services
from notifications.models import Route
from notifications.pace import Pace
from notifications.rule_forms import RemindersForm, RouteForm
from notifications.rules import Listener
from notifications.simulation import Simulation


@dataclass(frozen=True, slots=True)
class RouteRow:
    """A route as the list shows it."""

    route: Route
    matches: str
    tells: str
    when: str
    is_first: bool
    is_last: bool


@require_safe
@needs("notifications.view_route")
def routes(request: HttpRequest) -> HttpResponse:
    """List the routes in their order, and when people are reminded."""
    return show(request)


def show(
    request: HttpRequest, *, form: RemindersForm | None = None, status: int = 200
) -> HttpResponse:
    """Return the page, with a form that was refused when there is one."""
    rows = list(reach.routes())
    row = reach.reminder_settings()
    return render(
        request,
        "notifications/routes.html",
        {
            "rows": [
                RouteRow(
                    route=each,
                    matches=matches_words(each),
                    tells=tells_words(each),
                    when=when_words(each),
                    is_first=number == 0,
                    is_last=number == len(rows) - 1,
                )
                for number, each in enumerate(rows)
            ],
            "form": form or RemindersForm(initial=RemindersForm.initial_of(row)),
            "reminders": reminders_words(row.critical_seconds, row.warning_seconds),
            "may_change": request.user.has_perm("notifications.change_route"),
        },
        status=status,
    )


def matches_words(route: Route) -> str:
    """Return what a route matches, in words."""
    parts = [Severity(each).label for each in route.severities]
    names = [
        KINDS[each].short_name if each in KINDS else f"{each} (no longer known)"
        for each in route.kinds
    ]
    if names:
        parts.append(humane.listed(names))
    if route.destination:
        parts.append(f"destination {route.destination}")
    if route.server:
        parts.append(f"server {route.server}")
    return "; ".join(parts) or "Every alert"


def tells_words(route: Route) -> str:
    """Return whom a route tells, in words; its groups and channels are prefetched."""
    parts = [f"group {each}" for each in route.groups.all()]
    parts += [
        f"channel {each}{'' if each.is_enabled else ' (switched off)'}"
        for each in route.channels.all()
    ]
    return humane.listed(parts, most=6) or "nobody"


def when_words(route: Route) -> str:
    """Return when a route tells, in words."""
    words = Pace(route.pace).label
    if route.pace == Pace.DAILY:
        words += f" at {route.digest_at:%H:%M}, {route.time_zone}"
    if route.after_seconds is not None:
        span = humane.duration(route.after_seconds)
        words += f"; only what nobody has acknowledged after {span}"
    return words


def reminders_words(critical: int | None, warning: int | None) -> str:
    """Return when people are reminded, in words."""
    parts = [
        f"{name} after {humane.duration(seconds)}"
        for name, seconds in (("Critical", critical), ("Warning", warning))
        if seconds is not None
    ]
    return ", ".join(parts) or "never"


@require_http_methods(["GET", "HEAD", "POST"])
@needs("notifications.add_route")
def add(request: HttpRequest) -> HttpResponse:
    """Make a route."""
    initial = {
        "is_enabled": True,
        "pace": Pace.NOW.value,
        "digest_at": "08:00",
        "time_zone": settings.TIME_ZONE,
    }
    return _edit(request, None, initial)


@require_http_methods(["GET", "HEAD", "POST"])
@needs("notifications.change_route")
def edit(request: HttpRequest, key: int) -> HttpResponse:
    """Change a route, with a dry run before it is saved."""
    route = get_object_or_404(reach.routes(), pk=key)
    return _edit(request, route, RouteForm.initial_of(route))


def _edit(
    request: HttpRequest, route: Route | None, initial: dict[str, Any]
) -> HttpResponse:
    form = RouteForm(request.POST or None, initial=initial)
    context: dict[str, Any] = {"form": form, "route": route}
    if request.method == "POST" and form.is_valid():
        plan = form.plan()
        try:
            services.refuse_wrong_route(plan)
            if "save" not in request.POST:
                context["run"] = _dry_run_of(route, plan)
            else:
                return _save(request, route, plan)
        except ValidationError as error:
            add_errors(form, _by_minutes(error))
        except Route.DoesNotExist:
            raise Http404("There is no such route any more.") from None
    is_wrong = form.is_bound and not form.is_valid()
    return htmx.render(
        request,
        "notifications/route_form.html",
        "notifications/_dry_run.html",
        {**context, "is_wrong": is_wrong},
        status=422 if is_wrong and "save" in request.POST else 200,
    )


def _by_minutes(error: ValidationError) -> ValidationError:
    """Return an error of the service under the form's own name of the field."""
    if not hasattr(error, "error_dict"):
        return error
    return ValidationError(
        {
            "after_minutes" if name == "after_seconds" else name: problems
            for name, problems in error.error_dict.items()
        }
    )


def _save(
    request: HttpRequest, route: Route | None, plan: services.Plan
) -> HttpResponse:
    key = route.pk if route else None

    def save() -> Route:
        return services.save_route(key, plan, actor=person_of(request), now=clock.now())

    asked = ask_first(
        request, save, title=f"Save {plan.name}?", button="Save", back="routes"
    )
    if asked is not None:
        return asked
    saved = save()
    messages.success(request, f"Saved the route {saved}.")
    return redirect("notifications:routes")


def ask_first(
    request: HttpRequest,
    change: Callable[[], object],
    *,
    title: str,
    button: str,
    back: str,
) -> HttpResponse | None:
    """Return a page that asks when a change leaves somebody with nothing; else None.

    Not again once it was confirmed.
    """
    if request.POST.get("confirm") == "1":
        return None
    losing = services.who_would_lose(change)
    if not losing:
        return None
    return render(
        request,
        "notifications/confirm_unreached.html",
        {
            "title": title,
            "button": button,
            "back": f"notifications:{back}",
            "losing": [_name(each) for each in losing],
            "fields": [
                (name, value)
                for name, values in request.POST.lists()
                if name not in {"csrfmiddlewaretoken", "confirm"}
                for value in values
            ],
        },
    )


def _name(listener: Listener) -> str:
    if listener.is_channel:
        return f"channel {listener.name}"
    if listener.name in {"", listener.lane}:
        return listener.lane
    return f"{listener.name} ({listener.lane})"


def _dry_run_of(route: Route | None, plan: services.Plan) -> dict[str, Any]:
    """Return a dry run of the saved routes with this one as it was typed."""
    now = clock.now()
    rows = list(reach.routes())
    planned = plan.route()
    planned.pk = route.pk if route else None
    rule = reach.rule_of(
        planned, groups=[each.pk for each in plan.groups], channels=plan.channels
    )
    rules = []
    for each in rows:
        if route is not None and each.pk == route.pk:
            if plan.is_enabled:
                rules.append(rule)
        elif each.is_enabled:
            rules += reach.rules_of([each])
    if route is None and plan.is_enabled:
        rules.append(rule)
    # What routes name hears only what they say, also one that is switched off; what
    # none names any more hears everything.
    lanes = {each.lane for each in plan.channels}
    for each in rows:
        if route is None or each.pk != route.pk:
            lanes |= {channel.lane for channel in each.channels.all()}
    listeners = [
        replace(each, hears_everything=each.lane not in lanes)
        if each.is_channel
        else each
        for each in reach.listeners()
    ]
    before = dryrun.dry_run(now)
    run = dryrun.dry_run(now, rules=rules, listeners=listeners)
    return shown_run(run, before)


def shown_run(run: Simulation, before: Simulation | None = None) -> dict[str, Any]:
    """Return what the page shows of a dry run, beside what it was ``before``."""
    had = {} if before is None else {each.listener.lane: each for each in before.counts}
    now = {each.listener.lane for each in run.counts}
    rows = [
        {
            "name": _name(each.listener),
            "count": each,
            "words": mails_words(each.mails, is_channel=each.listener.is_channel),
            "routes": each.routes.most_common(),
            "before": had[each.listener.lane].mails if each.listener.lane in had else 0,
        }
        for each in run.counts
    ]
    gone = [_name(each.listener) for lane, each in had.items() if lane not in now]
    return {"run": run, "rows": rows, "gone": gone, "has_before": before is not None}


def mails_words(count: int, *, is_channel: bool = False) -> str:
    """Return "41 mails", "1 message"."""
    return (
        humane.counted(count, "message")
        if is_channel
        else humane.counted(count, "mail")
    )


@require_safe
@needs("notifications.view_recipient")
def dry_run(request: HttpRequest) -> HttpResponse:
    """Show what everybody would have got in the last 30 days by the saved rules."""
    run = dryrun.dry_run(clock.now())
    return render(request, "notifications/dry_run.html", {"run": shown_run(run)})


@require_POST
@needs("notifications.change_route")
def switch(request: HttpRequest, key: int) -> HttpResponse:
    """Switch a route on or off; asks when that leaves somebody with nothing."""
    route = get_object_or_404(Route, pk=key)
    to = request.POST.get("to")
    if to not in {"on", "off"}:
        raise WrongInput(f"Expected “to” to be on or off, found {str(to)[:40]!r}.")

    def change() -> Route | None:
        return services.switch_route(
            key, is_enabled=to == "on", actor=person_of(request), now=clock.now()
        )

    asked = ask_first(
        request,
        change,
        title=f"Switch {route} {to}?",
        button=f"Switch {to}",
        back="routes",
    )
    if asked is not None:
        return asked
    if change() is None:
        messages.info(request, f"{route} is switched {to} already.")
    else:
        messages.success(request, f"{route} is switched {to}.")
    return redirect("notifications:routes")


@require_POST
@needs("notifications.change_route")
def move(request: HttpRequest, key: int) -> HttpResponse:
    """Move a route one up or down."""
    to = request.POST.get("to")
    if to not in {"up", "down"}:
        raise WrongInput(f"Expected “to” to be up or down, found {str(to)[:40]!r}.")
    moved = services.move_route(
        key, up=to == "up", actor=person_of(request), now=clock.now()
    )
    if not moved:
        messages.info(request, f"It cannot be moved further {to}.")
    return redirect("notifications:routes")


@require_POST
@needs("notifications.delete_route")
def remove(request: HttpRequest, key: int) -> HttpResponse:
    """Remove a route; asks when that leaves somebody with nothing."""
    route = Route.objects.filter(pk=key).first()

    def change() -> str | None:
        return services.remove_route(key, actor=person_of(request), now=clock.now())

    asked = ask_first(
        request, change, title=f"Remove {route}?", button="Remove", back="routes"
    )
    if asked is not None:
        return asked
    name = change()
    if name is None:
        messages.info(request, "This route is no longer there.")
    else:
        messages.success(request, f"Removed the route {name}.")
    return redirect("notifications:routes")


@require_POST
@needs("notifications.change_remindersettings")
def save_reminders(request: HttpRequest) -> HttpResponse:
    """Choose when people are reminded."""
    form = RemindersForm(request.POST)
    if not form.is_valid():
        return show(request, form=form, status=422)
    changed = services.change_reminders(
        **form.seconds(), actor=person_of(request), now=clock.now()
    )
    if changed:
        messages.success(request, "Saved when people are reminded.")
    else:
        messages.info(request, "Nothing was changed.")
    return redirect("notifications:routes")
