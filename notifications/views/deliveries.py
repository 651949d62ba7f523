"""The delivery log: what was sent to whom, and what was not, and why."""

from __future__ import annotations

from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict
from django.views.decorators.http import require_POST, require_safe

from alerts.models import Alert
from console.kit import actions, htmx, paging, querystring
from console.kit.access import needs
from console.kit.filters import Choice
from console.kit.problems import Forbidden, WrongInput
from console.kit.sorting import Column, Sorting
from notifications import selectors
from notifications.actions import MENU
from notifications.engine import DeliveryState
from notifications.models import ADDRESS_LENGTH, Delivery

STATE = Choice(
    "state", (("all", "All"), *((state.value, state.label) for state in DeliveryState))
)


def _sorting(*recipient: str) -> Sorting:
    return Sorting(
        columns=(
            Column("state", "State", ("state",)),
            Column("recipient", "Recipient", recipient),
            Column("message", "Message and answer"),
            Column("when", "Created", ("created_at",), is_first_descending=True),
            Column("sent", "Sent", ("sent_at",), is_first_descending=True),
        ),
        default="-when",
    )


SORTING = _sorting("recipient", "-pk")

#: For those who see no addresses: their order would tell of them.
MASKED_SORTING = _sorting()

#: The channel that is none.
MAIL = "mail"

#: Who may see addresses, and what the mail server said of them.
SEES_RECIPIENTS = "notifications.view_recipient"


def matching(query: QueryDict) -> QuerySet[Delivery]:
    """Return the messages that a query string of the log stands for.

    ``state``, ``recipient`` (a part of the address, or of a channel's name), ``channel``
    ("mail" or its number) and ``alert`` (its number); raises WrongInput for what is
    none.
    """
    rows = selectors.deliveries()
    state = STATE.read(query)
    if state != "all":
        rows = rows.filter(state=state)
    recipient = query.get("recipient", "").strip()
    if len(recipient) > ADDRESS_LENGTH or "\0" in recipient:
        raise WrongInput(
            f"Expected a part of an address, at most {ADDRESS_LENGTH} characters."
        )
    if recipient:
        rows = rows.filter(
            Q(channel__isnull=True, recipient__icontains=recipient)
            | Q(channel__isnull=False, recipient_name__icontains=recipient)
        )
    channel = query.get("channel", "")
    if channel == MAIL:
        rows = rows.filter(channel__isnull=True)
    elif channel:
        rows = rows.filter(
            channel=_number(channel, "“mail” or the number of a channel")
        )
    alert = alert_of(query)
    if alert is not None:
        rows = rows.filter(event__alert=alert)
    return rows


def alert_of(query: QueryDict) -> int | None:
    """Return the alert that a query string asks for."""
    text = query.get("alert", "")
    return _number(text, "the number of an alert") if text else None


def _number(text: str, expected: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise WrongInput(f"Expected {expected}, found {text[:40]!r}.")
    return int(text)


@require_safe
@needs("notifications.view_delivery")
def log(request: HttpRequest) -> HttpResponse:
    """List the messages, the newest first; addresses are for administrators."""
    may_see_recipients = request.user.has_perm(SEES_RECIPIENTS)
    asked = [request.GET.get(name, "").strip() for name in ("recipient", "channel")]
    if any(asked) and not may_see_recipients:
        # To look for an address is to ask whether it is there.
        raise Forbidden(SEES_RECIPIENTS)
    order = (SORTING if may_see_recipients else MASKED_SORTING).read(request)
    page = paging.page(request, matching(request.GET).order_by(*order.fields))
    counts = selectors.count_by_state()
    alert = alert_of(request.GET)
    return htmx.render(
        request,
        "notifications/deliveries.html",
        "notifications/_deliveries.html",
        {
            "page": page,
            "may_see_recipients": may_see_recipients,
            "order": order,
            "pills": STATE.pills(
                request,
                {
                    "all": sum(counts.values()),
                    **{state.value: count for state, count in counts.items()},
                },
            ),
            "recipient": request.GET.get("recipient", ""),
            "channels": _choices(request.GET) if may_see_recipients else (),
            "alert": Alert.objects.filter(pk=alert).first() if alert else None,
            "without_alert": querystring.changed(request.GET, alert=None),
            "hidden": querystring.hidden(
                request.GET,
                leave_out=("recipient", "channel", "page", "csrfmiddlewaretoken"),
            ),
            "is_filtered": any(
                request.GET.get(name)
                for name in ("state", "recipient", "channel", "alert")
            ),
            "menu": MENU.for_list(request, total=page.total),
        },
    )


def _choices(query: QueryDict) -> list[tuple[str, str, bool]]:
    """Return what the log can be narrowed to: value, name, whether it is chosen."""
    rows = [("", "Mail and channels"), (MAIL, "Mail")]
    rows += [(str(row.pk), row.name) for row in selectors.channels()]
    chosen = query.get("channel", "")
    return [(value, name, value == chosen) for value, name in rows]


@require_POST
@needs("notifications.resend_delivery")
def act(request: HttpRequest) -> HttpResponse:
    """Do what the action menu was asked for."""
    return actions.respond(
        request,
        menu=MENU,
        back="notifications:deliveries",
        matching=lambda query: matching(query).order_by("pk"),
    )
