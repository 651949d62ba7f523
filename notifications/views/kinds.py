"""Settings > Notifications: who is told, and of what, everywhere and by destination."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from alerts import selectors as alerts
from alerts.catalogue import KINDS, Kind
from alerts.engine import Severity
from alerts.settings import Choice, Setting, Settings
from alerts.tasks import reconcile_soon
from console.accounts.people import person_of
from console.accounts.selectors import active_administrators
from console.kit import clock, humane, spans
from console.kit.access import needs
from notifications import selectors, services
from notifications.forms import RecipientForm
from notifications.kind_forms import DestinationForm, KindFields, KindsForm
from storepoints.models import Destination


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of alert on the page: both its texts, what holds, and its fields.

    ``elsewhere`` are the destinations that have something of their own for it.
    """

    kind: Kind
    long_text: str
    setting: Setting
    fields: KindFields
    elsewhere: list[Destination] = field(default_factory=list)

    @property
    def after(self) -> str:
        """How long its condition has to hold, in words."""
        return spans.in_words(self.setting.delay)


@dataclass(frozen=True, slots=True)
class Group:
    """The kinds of one severity."""

    severity: Severity
    rows: list[Row]


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
    chosen = alerts.settings()
    places = list(Destination.objects.only("name").order_by("name"))
    own = {
        place.pk: sum(key == place.pk for key, _ in chosen.overrides)
        for place in places
        if place.pk in chosen.destinations
    }
    context: dict[str, Any] = {
        **_who(request),
        "recipient_form": recipient_form or RecipientForm(),
        "groups": _groups(form or KindsForm(settings=chosen), chosen, places),
        "email": selectors.email_settings(),
        "destinations": places,
        "with_own": [(place, own[place.pk]) for place in places if place.pk in own],
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


def _groups(
    form: KindsForm,
    chosen: Settings,
    places: list[Destination],
    destination: int | None = None,
) -> list[Group]:
    """Return the rows by the severity of the catalogue, so that none moves about."""
    return [
        Group(
            severity,
            [
                Row(
                    kind,
                    pattern(kind),
                    chosen.of(kind.slug, destination),
                    form.row(kind.slug),
                    [
                        place
                        for place in places
                        if (place.pk, kind.slug) in chosen.overrides
                    ],
                )
                for kind in form.listed
                if kind.severity is severity
            ],
        )
        for severity in Severity
        if any(kind.severity is severity for kind in form.listed)
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
    """Save what is chosen everywhere; to switch off a Critical kind is asked first."""
    return _save(request, None)


@require_safe
@needs("notifications.view_notificationsetting")
def choose_destination(request: HttpRequest) -> HttpResponse:
    """Go to what a destination has of its own, chosen from a list."""
    form = DestinationForm(request.GET)
    if not form.is_valid():
        messages.error(request, "Expected a destination of the list.")
        return redirect("notifications:settings")
    return redirect(_address(form.cleaned_data["destination"]))


@require_safe
@needs("notifications.view_notificationsetting")
def destination(request: HttpRequest, key: int) -> HttpResponse:
    """Show what one destination has of its own for each kind."""
    return _show_destination(request, get_object_or_404(Destination, pk=key))


def _show_destination(
    request: HttpRequest,
    place: Destination,
    *,
    form: KindsForm | None = None,
    status: int = 200,
) -> HttpResponse:
    chosen = alerts.settings()
    form = form or KindsForm(settings=chosen, destination=place.pk)
    return render(
        request,
        "notifications/destination.html",
        {
            "destination": place,
            "groups": _groups(form, chosen, [], place.pk),
            "own": {kind for key, kind in chosen.overrides if key == place.pk},
            "may_change": request.user.has_perm("alerts.change_notificationsetting"),
        },
        status=status,
    )


@require_POST
@needs("alerts.change_notificationsetting")
def save_destination(request: HttpRequest, key: int) -> HttpResponse:
    """Save what one destination has of its own; asks as for all destinations."""
    return _save(request, get_object_or_404(Destination, pk=key))


def _save(request: HttpRequest, place: Destination | None) -> HttpResponse:
    chosen = alerts.settings()
    key = place.pk if place else None
    form = KindsForm(request.POST, settings=chosen, destination=key)
    if not form.is_valid():
        return _refuse(request, place, form)
    choices = form.choices()
    losses = _losses(chosen, chosen.changed(choices, key), list(choices), place)
    if losses and request.POST.get("confirm") != "1":
        return _ask(request, place, losses)
    try:
        changed = services.change_kinds(
            choices, destination=place, actor=person_of(request), now=clock.now()
        )
    except ValidationError as error:
        # Somebody else chose at this instant what does not fit.
        form.add_error(None, error)
        return _refuse(request, place, form)
    _tell(request, changed, "Saved")
    return redirect(_address(place))


def _refuse(
    request: HttpRequest, place: Destination | None, form: KindsForm
) -> HttpResponse:
    for errors in form.errors.values():
        for error in errors:
            messages.error(request, str(error))
    if place is None:
        return show(request, form=form, status=422)
    return _show_destination(request, place, form=form, status=422)


def _ask(
    request: HttpRequest, place: Destination | None, losses: list[Loss]
) -> HttpResponse:
    count = humane.counted(
        len(losses), "Critical kind of alert", "Critical kinds of alerts"
    )
    is_off = any(loss.is_off for loss in losses)
    what = f"Switch off {count}" if is_off else f"Make {count} less than Critical"
    return render(
        request,
        "notifications/confirm_switch_off.html",
        {
            "losses": losses,
            "title": f"{what}{f' in {place}' if place else ''}?",
            "do": "Switch off" if is_off else "Save",
            "save": reverse("notifications:save")
            if place is None
            else reverse("notifications:save_destination", args=[place.pk]),
            "back": _address(place),
            "fields": [
                (name, value)
                for name, values in request.POST.lists()
                if name != "csrfmiddlewaretoken"
                for value in values
            ],
        },
    )


def _address(place: Destination | None) -> str:
    """Return the page that shows what is chosen."""
    if place is None:
        return reverse("notifications:settings")
    return reverse("notifications:destination", args=[place.pk])


@dataclass(frozen=True, slots=True)
class Loss:
    """What somebody is about to switch off of a Critical kind, or to reset."""

    name: str
    what: str
    is_off: bool = False


def _losses(
    before: Settings, after: Settings, kinds: list[str], place: Destination | None
) -> list[Loss]:
    """Return what is lost of the kinds that are Critical: by themselves, or by choice.

    One that somebody made less than Critical is asked about all the same.
    """
    losses = []
    key = place.pk if place else None
    for slug in kinds:
        kind, old, new = KINDS[slug], before.of(slug, key), after.of(slug, key)
        if Severity.CRITICAL not in (kind.severity, old.severity, new.severity):
            continue
        what = []
        if old.is_shown and not new.is_shown:
            what.append("is no longer shown in the Alerts Overview")
        if old.is_mailed and not new.is_mailed:
            what.append("is no longer mailed to anybody")
        is_off = bool(what)
        if old.severity is Severity.CRITICAL and new.severity is not old.severity:
            what.append(f"is {new.severity.label} instead of Critical")
        if what:
            losses.append(Loss(kind.short_name, " and ".join(what), is_off))
    return losses


def _tell(request: HttpRequest, changed: list[str], word: str) -> None:
    """Say what was changed, and let the alerts that stand follow."""
    if not changed:
        messages.info(request, "Nothing was changed.")
        return
    reconcile_soon()
    names = humane.listed([KINDS[slug].short_name for slug in changed])
    messages.success(request, f"{word}: {names}.")


@needs("alerts.change_notificationsetting")
def reset(request: HttpRequest) -> HttpResponse:
    """Let every kind be as at first, in every destination too; a GET asks before."""
    return _reset(request, None)


@needs("alerts.change_notificationsetting")
def reset_destination(request: HttpRequest, key: int) -> HttpResponse:
    """Let every kind be as everywhere in one destination; a GET asks before."""
    return _reset(request, get_object_or_404(Destination, pk=key))


def _reset(request: HttpRequest, place: Destination | None) -> HttpResponse:
    if request.method == "POST":
        changed = services.reset_kinds(
            destination=place, actor=person_of(request), now=clock.now()
        )
        _tell(request, changed, "Reset")
        return redirect(_address(place))
    chosen = alerts.settings()
    off = []
    for key, slug in [(None, slug) for slug in chosen.choices] + list(chosen.overrides):
        if place is not None and key != place.pk:
            continue
        what = _what_is_chosen(KINDS[slug], chosen.choice(slug, key))
        if what:
            where = key if place is None else None
            off.append((where, Loss(KINDS[slug].short_name, what)))
    names = Destination.objects.in_bulk({key for key, _ in off if key is not None})
    return render(
        request,
        "notifications/confirm_reset.html",
        {
            "off": [(names.get(key) if key else None, loss) for key, loss in off],
            "destination": place,
            "reset": reverse("notifications:reset")
            if place is None
            else reverse("notifications:reset_destination", args=[place.pk]),
            "back": _address(place),
        },
    )


def _what_is_chosen(kind: Kind, choice: Choice) -> str:
    """Return what a choice says, in words: "is not shown and raised as Warning now"."""
    words = []
    for value, verb in ((choice.is_shown, "shown"), (choice.is_mailed, "mailed")):
        if value is not None:
            words.append(verb if value else f"not {verb}")
    if choice.severity is not None:
        words.append(f"raised as {choice.severity.label}")
    if choice.delay_seconds is not None:
        span = spans.read(f"{choice.delay_seconds} s")
        words.append(
            f"raised after {spans.in_words(span)}" if span else "raised at once"
        )
    limits = [
        f"{each.label} {each.in_words(choice.parameters[each.name])}"
        for each in kind.parameters
        if each.name in choice.parameters
    ]
    if limits:
        words.append(f"judged by {', '.join(limits)}")
    return f"is {humane.listed(words, most=len(words))} now" if words else ""
