"""Settings > Notifications: who is told, and of what."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from alerts import selectors as alerts
from alerts.catalogue import KINDS, Kind
from alerts.engine import Severity
from console.accounts.people import person_of
from console.accounts.selectors import active_administrators
from console.kit import clock, humane
from console.kit.access import needs
from notifications import selectors, services
from notifications.forms import KindRow, KindsForm, RecipientForm
from notifications.services import Choice


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of alert on the page: both its texts and its switches."""

    kind: Kind
    long_text: str
    switches: KindRow


@dataclass(frozen=True, slots=True)
class Group:
    """The kinds of one severity."""

    severity: Severity
    rows: list[Row]


def chosen() -> dict[str, Choice]:
    """Return what is chosen for each kind now; one query."""
    return {
        slug: Choice(is_shown=row.is_shown, is_mailed=row.is_mailed)
        for slug, row in alerts.notification_settings().items()
    }


@require_safe
@needs("notifications.view_notificationsetting")
def settings(request: HttpRequest) -> HttpResponse:
    """List recipients and kinds; administrators can change them."""
    return show(request)


def show(
    request: HttpRequest,
    *,
    recipient_form: RecipientForm | None = None,
    form: KindsForm | None = None,
    status: int = 200,
) -> HttpResponse:
    """Return the page, with a form that was refused when there is one."""
    form = form or KindsForm(choices=chosen())
    context: dict[str, Any] = {
        **_who(request),
        "recipient_form": recipient_form or RecipientForm(),
        "form": form,
        "groups": _groups(form),
        "email": selectors.email_settings(),
        "may_change": request.user.has_perm("alerts.change_notificationsetting"),
        "may_change_recipients": request.user.has_perm("notifications.add_recipient"),
        "may_change_email": request.user.has_perm("notifications.change_emailsettings"),
    }
    return render(request, "notifications/settings.html", context, status=status)


def _who(request: HttpRequest) -> dict[str, Any]:
    """Return who is told: with addresses for administrators, a number for others."""
    if not request.user.has_perm("notifications.view_recipient"):
        return {"may_see_recipients": False, "told": len(selectors.audience())}
    return {
        "may_see_recipients": True,
        "administrators": list(active_administrators()),
        "recipients": list(selectors.recipients()),
    }


def _groups(form: KindsForm) -> list[Group]:
    return [
        Group(
            severity,
            [
                Row(kind, pattern(kind), form.row(kind.slug))
                for kind in KINDS.values()
                if kind.severity is severity
            ],
        )
        for severity in Severity
        if any(kind.severity is severity for kind in KINDS.values())
    ]


def pattern(kind: Kind) -> str:
    """Return a kind's long text with its gaps named: "... unavailable: <name>"."""
    return re.sub(
        r"\{(\w+)[^}]*\}",
        lambda found: f"<{found[1].replace('_', ' ')}>",
        kind.long_text,
    )


@require_POST
@needs("alerts.change_notificationsetting")
def save(request: HttpRequest) -> HttpResponse:
    """Save the switches; to switch off a Critical kind is asked about first."""
    form = KindsForm(request.POST)
    if not form.is_valid():
        for errors in form.errors.values():
            for error in errors:
                messages.error(request, str(error))
        return show(request, status=422)
    choices = form.choices()
    losses = _losses(choices)
    if losses and request.POST.get("confirm") != "1":
        return render(
            request,
            "notifications/confirm_switch_off.html",
            {
                "losses": losses,
                "title": "Switch off "
                f"{humane.counted(len(losses), 'Critical kind of alert', 'Critical kinds of alerts')}?",
                "fields": [
                    (name, value)
                    for name, values in request.POST.lists()
                    if name != "csrfmiddlewaretoken"
                    for value in values
                ],
            },
        )
    changed = services.change_kinds(choices, actor=person_of(request), now=clock.now())
    _tell(request, changed, "Saved")
    return redirect("notifications:settings")


@dataclass(frozen=True, slots=True)
class Loss:
    """What somebody is about to switch off of a Critical kind."""

    name: str
    what: str


def _losses(choices: dict[str, Choice]) -> list[Loss]:
    before = chosen()
    losses = []
    for slug, choice in choices.items():
        kind = KINDS[slug]
        if kind.severity is not Severity.CRITICAL:
            continue
        what = []
        if before[slug].is_shown and not choice.is_shown:
            what.append("is no longer shown in the Alerts Overview")
        if before[slug].is_mailed and not choice.is_mailed:
            what.append("is no longer mailed to anybody")
        if what:
            losses.append(Loss(kind.short_name, " and ".join(what)))
    return losses


def _tell(request: HttpRequest, changed: list[str], word: str) -> None:
    if not changed:
        messages.info(request, "Nothing was changed.")
        return
    names = humane.listed([KINDS[slug].short_name for slug in changed])
    messages.success(request, f"{word}: {names}.")


@needs("alerts.change_notificationsetting")
def reset(request: HttpRequest) -> HttpResponse:
    """Show and mail every kind again, as at first; a GET asks before."""
    if request.method == "POST":
        changed = services.reset_kinds(actor=person_of(request), now=clock.now())
        _tell(request, changed, "Reset")
        return redirect("notifications:settings")
    off = [
        Loss(KINDS[slug].short_name, _what_is_off(choice))
        for slug, choice in chosen().items()
        if choice != Choice()
    ]
    return render(request, "notifications/confirm_reset.html", {"off": off})


def _what_is_off(choice: Choice) -> str:
    off = []
    if not choice.is_shown:
        off.append("not shown")
    if not choice.is_mailed:
        off.append("not mailed")
    return f"is {' and '.join(off)} now"
