"""What can be done to a row or to many: declared once, drawn, guarded and told.

A list or detail page has one ActionMenu and one POST address:

1. ``menu.draw(...)`` gives the template what it needs (components/action_menu.html).
2. The POST goes to a view that returns ``actions.respond(request, menu=..., ...)``.
3. It finds the action, checks the permission, and loads the rows that were ticked
   (``ids``) or all that match the page's filter (``all_matching=1`` and ``query``).
4. An action with a Confirmation first gets a page that says what it affects; that page
   POSTs again with ``confirm=1`` and with the very rows that it showed.
5. Rows to which the action does not apply are skipped with the reason; the others run.
6. The person is told in one message and returns to ``next``. An action with an Undo
   offers it in that message; its POST comes to the same view with ``undo`` and ``at``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

from django import forms
from django.contrib import messages
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render, resolve_url
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from console.kit import audit, clock, humane
from console.kit.bulk import BulkResult, Left, Noun
from console.kit.problems import Forbidden, WrongInput
from console.kit.undo import Offer, read_instant

M = TypeVar("M", bound=Model)

Person = AbstractBaseUser | AnonymousUser

#: How many rows the confirmation page names before "and N more".
NAMED = 20

#: How many rows one action takes. Their ids travel through the confirmation page, and
#: must fit into a form (DATA_UPLOAD_MAX_MEMORY_SIZE, 2.5 MB) however long they are.
MOST = 50_000

#: How many keys one statement names.
MANY = 5_000

#: How much of an id is said back.
ID_LENGTH = 40


@dataclass(frozen=True)
class Ask:
    """An action as it was asked for: by whom, when, and what the form said."""

    actor: AbstractBaseUser
    now: datetime
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Undo:
    """How an action is taken back.

    ``run(at, ask)`` takes back what the person did at that instant, as far as it still
    stands; ``past`` begins the message: "Took back the acknowledgement of".
    """

    run: Callable[[datetime, Ask], BulkResult]
    past: str


@dataclass(frozen=True)
class Confirmation(Generic[M]):
    """What an action says and asks before it runs.

    ``effects`` returns sentences that say what it affects, for the rows it applies to;
    ``form`` is a form class (note, until) whose cleaned data becomes ``Ask.fields``;
    ``title`` and ``button`` default to "Acknowledge 3 alerts?" and the label.
    """

    effects: Callable[[Sequence[M]], Sequence[str]] | None = None
    form: type[forms.Form] | None = None
    title: str = ""
    button: str = ""


def applies_always(_row: Model, _now: datetime) -> str:
    """Say that an action applies to every row."""
    return ""


@dataclass(frozen=True)
class Action(Generic[M]):
    """Something that a person can do to one or many rows.

    ``name`` is the dotted verb of the audit log. ``applies(row, now)`` returns "" or
    why not, so that it follows the row's name: "is already acknowledged".
    ``run(rows, ask)`` gets only rows to which it applies. The service that it calls
    writes the audit entries in its own transaction, so that commands are audited too;
    an action that calls none that does says ``audits=True`` and the kit writes them.
    ``past`` begins the message: "Acknowledged" (3 alerts). ``undo`` takes it back.
    """

    name: str
    label: str
    permission: str
    applies: Callable[[M, datetime], str]
    run: Callable[[Sequence[M], Ask], BulkResult]
    confirm: Confirmation[M] | None = None
    shortcut: str = ""
    icon: str = ""
    is_dangerous: bool = False
    past: str = ""
    audits: bool = False
    undo: Undo | None = None

    @property
    def done_word(self) -> str:
        """Return what the message begins with."""
        return self.past or f"{self.label}:"


@dataclass(frozen=True)
class Entry:
    """One entry of a drawn menu; ``why_not`` is "" when it can be chosen."""

    name: str
    label: str
    shortcut: str
    icon: str
    is_dangerous: bool
    needs_confirmation: bool
    why_not: str


@dataclass(frozen=True)
class MenuLink:
    """An entry that only looks: it is an address, for all rows that match."""

    label: str
    url: str
    icon: str
    shortcut: str = ""


@dataclass(frozen=True)
class DrawnMenu:
    """A menu as the template draws it; see components/action_menu.html."""

    id: str
    url: str
    entries: tuple[Entry, ...]
    noun: Noun
    back: str
    query: str = ""
    total: int = 0
    ids: tuple[str, ...] = ()
    links: tuple[MenuLink, ...] = ()

    @property
    def is_for_selection(self) -> bool:
        """Return whether the rows are ticked on the page (and not given here)."""
        return not self.ids


@dataclass(frozen=True)
class ActionMenu(Generic[M]):
    """The actions of one kind of row.

    ``rows`` returns all rows a person may act on, with what ``applies`` reads already
    joined; ``url_name`` is the address that the menu POSTs to; ``key`` is the unique
    field that the page's checkboxes carry. ``added`` is what apps above offer besides
    (`add`).
    """

    id: str
    noun: Noun
    actions: tuple[Action[M], ...]
    rows: Callable[[], QuerySet[M]]
    url_name: str
    key: str = "pk"
    added: list[Action[M]] = field(default_factory=list)

    def add(self, action: Action[M]) -> None:
        """Offer an action of an app above; called once, when that app is ready."""
        if action.name not in {each.name for each in self.all_actions}:
            self.added.append(action)

    @property
    def all_actions(self) -> list[Action[M]]:
        """Return every action, what is dangerous last."""
        return sorted((*self.actions, *self.added), key=lambda each: each.is_dangerous)

    def for_list(
        self, request: HttpRequest, *, total: int, links: Sequence[MenuLink] = ()
    ) -> DrawnMenu:
        """Return the menu of a list page; ``total`` is how many rows match its filter.

        The filter travels as the page's query string. ``links`` stand below the
        actions.
        """
        return DrawnMenu(
            id=self.id,
            url=reverse(self.url_name),
            entries=tuple(_entry(each) for each in self.permitted(request.user)),
            noun=self.noun,
            back=request.get_full_path(),
            query=request.GET.urlencode(),
            total=total,
            links=tuple(links),
        )

    def for_row(self, request: HttpRequest, row: M) -> DrawnMenu:
        """Return the menu of a row's own page, with why an entry cannot be chosen."""
        now = clock.now()
        return DrawnMenu(
            id=self.id,
            url=reverse(self.url_name),
            entries=tuple(
                _entry(each, each.applies(row, now))
                for each in self.permitted(request.user)
            ),
            noun=self.noun,
            back=request.get_full_path(),
            ids=(_key_of(row, self.key),),
            total=1,
        )

    def permitted(self, person: Person) -> list[Action[M]]:
        """Return the actions that a person has the permission for."""
        # A signed-in person is a user with permissions; django-stubs' base has none.
        return [each for each in self.all_actions if _may(person, each.permission)]

    def find(self, name: str) -> Action[M]:
        """Return the action of a name; raises WrongInput, naming those there are."""
        for action in self.all_actions:
            if action.name == name:
                return action
        known = ", ".join(action.name for action in self.all_actions)
        raise WrongInput(f"Expected an action among {known}, found {name[:64]!r}.")


def _may(person: Person, permission: str) -> bool:
    has_perm: Callable[[str], bool] | None = getattr(person, "has_perm", None)
    return has_perm is not None and has_perm(permission)


def _key_of(row: Model, key: str) -> str:
    return str(getattr(row, key))


def _entry(action: Action[M], why_not: str = "") -> Entry:
    return Entry(
        name=action.name,
        label=action.label,
        shortcut=action.shortcut,
        icon=action.icon,
        is_dangerous=action.is_dangerous,
        needs_confirmation=action.confirm is not None,
        why_not=why_not,
    )


@dataclass(frozen=True)
class _Chosen(Generic[M]):
    """The rows that were chosen, and how many of the ids are no longer there."""

    rows: list[M]
    gone: tuple[Left, ...] = ()


def choose(
    menu: ActionMenu[M],
    data: QueryDict,
    matching: Callable[[QueryDict], QuerySet[M]] | None,
) -> _Chosen[M]:
    """Return the rows that a POST names.

    ``ids`` may be repeated, or hold several joined by commas. Raises WrongInput when
    an id is not of the right kind, or there are more than an action takes. An id that
    the column cannot hold is no longer there.
    """
    if data.get("all_matching") == "1" and matching is not None:
        chosen = list(matching(QueryDict(data.get("query", "")))[: MOST + 1])
        _refuse_too_many(len(chosen), menu.noun)
        return _Chosen(chosen)
    asked = dict.fromkeys(
        each.strip() for text in data.getlist("ids") for each in text.split(",")
    )
    asked.pop("", None)
    _refuse_too_many(len(asked), menu.noun)
    rows = menu.rows()
    column = _column(rows, menu.key)
    try:
        values = [column.to_python(each) for each in asked]
    except ValidationError:
        raise WrongInput(
            f"Expected the ids of {menu.noun.many} in 'ids', found "
            f"{', '.join(asked)[:80]!r}."
        ) from None
    possible = [value for value in values if _fits(column, value)]
    found = {
        _key_of(row, menu.key): row for row in _in_batches(rows, menu.key, possible)
    }
    keys = [str(value) for value in values]
    return _Chosen(
        [found[key] for key in keys if key in found],
        tuple(
            Left(f"{menu.noun.one} {key[:ID_LENGTH]}", "is no longer there")
            for key in keys
            if key not in found
        ),
    )


def _refuse_too_many(count: int, noun: Noun) -> None:
    if count > MOST:
        raise WrongInput(
            f"Expected at most {humane.number(MOST)} {noun.many} at once: choose fewer, "
            "by a filter for instance."
        )


def _fits(column: Any, value: Any) -> bool:
    """Return whether a column can hold a value; databases refuse to look for others."""
    try:
        column.run_validators(value)
    except ValidationError:
        return False
    return True


def _column(rows: QuerySet[M], key: str) -> Any:
    meta = rows.model._meta  # noqa: SLF001 (documented)
    return meta.pk if key == "pk" else meta.get_field(key)


def _in_batches(rows: QuerySet[M], key: str, values: Sequence[Any]) -> list[M]:
    # SQLite takes a limited number of parameters in one statement.
    found: list[M] = []
    for start in range(0, len(values), MANY):
        found.extend(rows.filter(**{f"{key}__in": values[start : start + MANY]}))
    return found


def next_url(request: HttpRequest, default: str) -> str:
    """Return where to go next: ``next`` when it is on this site, else ``default``."""
    asked = request.POST.get("next") or request.GET.get("next") or ""
    if url_has_allowed_host_and_scheme(
        asked, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    ):
        return asked
    return resolve_url(default)


def perform(action: Action[M], rows: Sequence[M], ask: Ask) -> BulkResult:
    """Run an action on the rows to which it applies; the others are skipped.

    Raises Forbidden when the actor lacks the permission.
    """
    if not _may(ask.actor, action.permission):
        raise Forbidden(action.permission)
    fitting, skipped = split(action, rows, ask.now)
    if not fitting:
        return BulkResult(0, skipped)
    if not action.audits:
        return action.run(fitting, ask) + BulkResult(0, skipped)
    with transaction.atomic():
        result = action.run(fitting, ask)
        audit.record_many(
            actor=ask.actor,
            verb=action.name,
            subjects=fitting,
            now=ask.now,
            note=str(ask.fields.get("note", "")),
        )
    return result + BulkResult(0, skipped)


def split(
    action: Action[M], rows: Sequence[M], now: datetime
) -> tuple[list[M], tuple[Left, ...]]:
    """Return the rows to which an action applies, and the others with why not."""
    fitting: list[M] = []
    skipped: list[Left] = []
    for row in rows:
        why_not = action.applies(row, now)
        if why_not:
            skipped.append(Left(str(row), why_not))
        else:
            fitting.append(row)
    return fitting, tuple(skipped)


def respond(
    request: HttpRequest,
    *,
    menu: ActionMenu[M],
    back: str,
    matching: Callable[[QueryDict], QuerySet[M]] | None = None,
) -> HttpResponse:
    """Answer the POST of an action menu: the confirmation page, or do it and go back.

    ``back`` is the URL (or its name) to return to when ``next`` is missing;
    ``matching`` returns the rows of a list page's query string, for "select all N
    matching". The view itself carries @require_POST and @needs.
    """
    asked = request.POST.get("undo", "")
    action = menu.find(asked or request.POST.get("action", ""))
    if not isinstance(request.user, AbstractBaseUser) or not _may(
        request.user, action.permission
    ):
        raise Forbidden(action.permission)
    ask = Ask(actor=request.user, now=clock.now())
    if asked:
        return _take_back(request, menu, action, ask, next_url(request, back))
    chosen = choose(menu, request.POST, matching)
    goal = next_url(request, back)
    if not chosen.rows and not chosen.gone:
        messages.warning(
            request,
            f"Nothing was selected. Tick one or more {menu.noun.many} first, then "
            f"choose {action.label} again.",
        )
        return redirect(goal)

    if action.confirm is not None:
        form, is_confirmed = _form(request, action.confirm)
        if not is_confirmed or (form is not None and not form.is_valid()):
            return _ask_to_confirm(request, menu, action, chosen, form, goal, ask.now)
        ask = Ask(ask.actor, ask.now, form.cleaned_data if form is not None else {})

    result = perform(action, chosen.rows, ask) + BulkResult(0, chosen.gone)
    offer = ""
    if action.undo is not None and result.done:
        offer = Offer(request.path, action.name, ask.now.isoformat()).as_tags()
    _tell(request, result, result.sentences(action.done_word, menu.noun), offer)
    return redirect(goal)


def _take_back(
    request: HttpRequest, menu: ActionMenu[M], action: Action[M], ask: Ask, goal: str
) -> HttpResponse:
    """Undo what this person did at the instant that the offer names, and go back."""
    if action.undo is None:
        raise WrongInput(f"{action.label.rstrip('…')} cannot be undone.")
    at = read_instant(request.POST.get("at", ""), ask.now)
    result = action.undo.run(at, ask)
    if result.done or result.skipped or result.failed:
        _tell(request, result, result.sentences(action.undo.past, menu.noun))
    else:
        messages.info(request, "There was nothing left to undo.")
    return redirect(goal)


def _tell(request: HttpRequest, result: BulkResult, words: str, tags: str = "") -> None:
    level = messages.SUCCESS
    if result.skipped:
        level = messages.WARNING
    if result.failed:
        level = messages.ERROR
    messages.add_message(request, level, words, extra_tags=tags)


def _form(
    request: HttpRequest, confirmation: Confirmation[M]
) -> tuple[forms.Form | None, bool]:
    is_confirmed = request.POST.get("confirm") == "1"
    if confirmation.form is None:
        return None, is_confirmed
    return confirmation.form(request.POST if is_confirmed else None), is_confirmed


def _ask_to_confirm(
    request: HttpRequest,
    menu: ActionMenu[M],
    action: Action[M],
    chosen: _Chosen[M],
    form: forms.Form | None,
    goal: str,
    now: datetime,
) -> HttpResponse:
    """Return the page that says what an action affects, before anything happens."""
    assert action.confirm is not None  # noqa: S101 - the caller made sure of it
    fitting, skipped = split(action, chosen.rows, now)
    skipped += chosen.gone
    if not fitting:
        result = BulkResult(0, skipped)
        messages.warning(request, result.sentences(action.done_word, menu.noun))
        return redirect(goal)
    effects = action.confirm.effects
    names = [str(row) for row in fitting]
    context = {
        "title": action.confirm.title
        or f"{action.label.rstrip('…')} {menu.noun.counted(len(fitting))}?",
        "action": action,
        "button": action.confirm.button or action.label.rstrip("…"),
        "effects": list(effects(fitting)) if effects else [],
        "names": names[:NAMED],
        "more": max(0, len(names) - NAMED),
        "skipped": skipped[:NAMED],
        "skipped_more": max(0, len(skipped) - NAMED),
        "count": humane.number(len(fitting)),
        "counted": menu.noun.counted(len(fitting)),
        "form": form,
        # The very rows that the page shows: what matches may have changed meanwhile.
        "ids": ",".join(_key_of(row, menu.key) for row in fitting),
        "next": goal,
        "url": request.path,
    }
    is_wrong = form is not None and form.is_bound
    return render(
        request, "components/confirm.html", context, status=422 if is_wrong else 200
    )
