"""The page behind the link of a mail: what it would acknowledge, and the button."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_http_methods

from alerts.actions import ALERTS
from alerts.engine import Severity
from alerts.forms import until
from alerts.models import Alert
from console.accounts import throttle
from console.kit import clock
from notifications import services
from notifications.forms import MailedAlertsForm
from notifications.models import MailLink
from notifications.words import one_line

#: The limit of settings.ACCOUNT_RATE_LIMITS that guesses run into.
FAILED = "mail_link_failed"


@dataclass(frozen=True, slots=True)
class Row:
    """One alert of the mail on the page."""

    alert: Alert
    text: str
    severity: str
    is_acknowledged: bool
    is_ticked: bool


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@sensitive_variables("token")
def acknowledge(request: HttpRequest, token: str) -> HttpResponse:
    """Show what a mail's link acknowledges; only the button does it.

    A program that follows the links of mails uses nothing up. Nobody has to be signed
    in, and who is acts as the mail's recipient all the same.
    """
    response = _answer(request, token)
    # The address of the page is the key: it goes to no other site. Not "no-referrer",
    # with which a browser says that a form comes from "null", and CSRF is refused.
    response["Referrer-Policy"] = "same-origin"
    response["X-Robots-Tag"] = "noindex, nofollow, noarchive"
    return response


def _answer(request: HttpRequest, token: str) -> HttpResponse:
    if not throttle.may_try(request, FAILED):
        return _render(request, "too_many", 429)
    now = clock.now()
    try:
        link = services.find_link(token, now=now)
        if link.used_at is not None and request.method != "POST":
            return _used(request, link, now)
        alerts = _alerts(link)
        active = [row for row in alerts if not row.is_acknowledged(now)]
        if request.method != "POST":
            return _ask(request, link, alerts, MailedAlertsForm(alerts=active), now)
        if link.used_at is not None:
            return _used(request, link, now, status=410)
        form = MailedAlertsForm(request.POST, alerts=active)
        if not form.is_valid():
            return _ask(request, link, alerts, form, now, status=422)
        result = services.acknowledge_by_link(
            link,
            form.cleaned_data["alerts"],
            note=form.cleaned_data["note"],
            until=until(form.cleaned_data, now),
            now=now,
        )
    except services.LinkRefused as refused:
        if refused.is_forged:
            throttle.note_failure(request, FAILED)
        return _render(
            request, "refused", 403 if refused.is_forged else 410, refused=refused
        )
    messages.success(request, result.sentences("Acknowledged", ALERTS))
    # Reloading the page then shows what was done, and does not ask to do it again.
    return redirect(request.path)


def _alerts(link: MailLink) -> list[Alert]:
    """Return the alerts of a mail that are still there, in the order of the mail."""
    found = Alert.objects.defer("data", "returns").in_bulk(link.alerts)
    return [found[key] for key in link.alerts if key in found]


def _ask(
    request: HttpRequest,
    link: MailLink,
    alerts: Sequence[Alert],
    form: MailedAlertsForm,
    now: datetime,
    *,
    status: int = 200,
) -> HttpResponse:
    ticked = form.ticked()
    rows = _rows(alerts, now, ticked)
    return _render(
        request,
        "ask",
        status,
        link=link,
        form=form,
        rows=rows,
        active=sum(not row.is_acknowledged for row in rows),
    )


def _used(
    request: HttpRequest, link: MailLink, now: datetime, *, status: int = 200
) -> HttpResponse:
    """Say by whom and when a link was used, and how its alerts stand now."""
    return _render(
        request, "used", status, link=link, rows=_rows(_alerts(link), now, set())
    )


def _rows(alerts: Sequence[Alert], now: datetime, ticked: set[int]) -> list[Row]:
    return [
        Row(
            alert,
            # As the mail has it: no sign in a name may make it read as another one.
            one_line(alert.text),
            Severity(alert.severity).slug,
            alert.is_acknowledged(now),
            alert.pk in ticked,
        )
        for alert in alerts
    ]


def _render(
    request: HttpRequest, what: str, status: int, **context: object
) -> HttpResponse:
    return render(
        request,
        "notifications/by_mail.html",
        {"what": what, **context},
        status=status,
    )
