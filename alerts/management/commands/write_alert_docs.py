"""`manage.py write_alert_docs`: docs/alerts.md from the catalogue."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from alerts.catalogue import KINDS, Kind, Parameter, Scope
from alerts.engine import RULES
from console.kit import humane
from console.kit.documents import WriteDocument
from storepoints.states import Reason
from storepoints.verdict import REASON_WORDS

HEAD = """\
# Alerts

<!-- Written by `manage.py write_alert_docs` from alerts/catalogue. Edit there. -->

Every kind of alert that the console can raise: what it means, what it may lead to, by which
numbers it is decided, and the steps from the alert to its end. The same texts stand on each
alert's page, where the console looks at every step by itself as far as it can, in mails and in
Settings > Notifications.

Severities and numbers are those of a new console. Settings > Notifications changes them, everywhere
or in one destination; the texts on an alert's page have the numbers that hold there.

"""

SCOPES = {
    Scope.STORE_POINT: "a store point",
    Scope.SERVER: "a server",
    Scope.FILESYSTEM: "a volume, once for all store points on it",
    Scope.DESTINATION: "a destination",
    Scope.CONSOLE: "the console itself",
}

#: What the fields of long texts stand for.
FIELDS = {
    "archives": "how many archives",
    "name": "name",
    "text": "what is wrong",
    "problem": "what is wrong",
    "total": "number",
    "accepting": "number",
    "used_percent": "number",
    "full_in": "span",
    "now": "span",
    "usual": "span",
    "span": "span",
    "days": "number",
    "direction": "ahead or behind",
    "version": "version",
    "expected": "version",
}


class Command(WriteDocument):
    """Write docs/alerts.md, or check that it is up to date."""

    help = "Write docs/alerts.md from the kinds declared in alerts/catalogue."
    page = "docs/alerts.md"

    def render(self) -> str:
        """Return the text of the page."""
        return render()


def render() -> str:
    """Return the text of docs/alerts.md."""
    kinds = list(KINDS.values())
    return "\n".join(
        [HEAD + _table(kinds), _life(), *(_section(kind) for kind in kinds)]
    )


def _table(kinds: Iterable[Kind]) -> str:
    rows = [
        f"| [{kind.short_name}](#{kind.slug}) | {kind.severity.label} "
        f"| {SCOPES[kind.scope]} |"
        for kind in kinds
    ]
    return "\n".join(["| kind | severity | about |", "|---|---|---|", *rows, ""])


def _life() -> str:
    return "\n".join(
        [
            "## What all have in common",
            "",
            _wrap(
                "There is at most one ongoing alert of a kind about one object. It stays "
                "in the Alerts Overview until somebody acknowledges it, also after its "
                "condition has cleared. A condition that comes back within "
                f"{humane.elapsed(RULES.reopen_window)} continues its alert, and an "
                "acknowledgement with it; an acknowledgement lapses when the alert gets "
                "worse, when its time is over, or when the condition comes back later. "
                f"One that came back {RULES.flap_returns} times within "
                f"{humane.elapsed(RULES.flap_window)} flaps: that is said once, until "
                "nothing has changed for as long."
            ),
            "",
            _wrap(
                "A kind can be put off in Settings > Notifications: its alert is raised once the "
                "condition has been certain for so long, and the condition may end before. "
                "While what is worse is put off, the milder alert about the same object stays. "
                "A changed severity is that of ongoing alerts too: an acknowledgement lapses "
                "when it is a worse one."
            ),
            "",
        ]
    )


def _section(kind: Kind) -> str:
    parts = [
        f"## {kind.short_name}",
        "",
        f"> `{_example(kind.long_text)}`",
        "",
        _wrap(
            f"**{kind.severity.label}**, about {SCOPES[kind.scope]}. In filters and "
            f"addresses: `{kind.slug}`."
        ),
        "",
        _wrap(f"**Cause.** {kind.cause}"),
        "",
        _wrap(f"**Effects.** {kind.effects}"),
        "",
        _wrap(f"**Trying again.** {_retry(kind)}"),
        "",
    ]
    if kind.parameters:
        parts += ["| number | value | can be |", "|---|---|---|"]
        parts += [
            f"| {each.label} | {each.words} | {_range(each)} |"
            for each in kind.parameters
        ]
        parts.append("")
    parts += ["**To its end**", ""]
    parts += [
        _wrap(f"{number}. **{_stopped(step.title)}** {step.text}", indent="   ")
        for number, step in enumerate(kind.steps, start=1)
    ]
    return "\n".join([*parts, ""])


def _range(parameter: Parameter) -> str:
    if parameter.is_changeable:
        return parameter.expected
    return "follows" if parameter.follows else "fixed"


def _example(text: str) -> str:
    return text.format_map({name: f"<{words}>" for name, words in FIELDS.items()})


def _stopped(title: str) -> str:
    return title if title.endswith("?") else f"{title}."


def _retry(kind: Kind) -> str:
    if not kind.is_mended_by_retry:
        return "It cannot mend this: somebody has to act."
    if not kind.believed_at_once:
        return "It is tried again, and that can mend it."
    reasons = sorted(REASON_WORDS[Reason(each)] for each in kind.believed_at_once)
    return (
        "It is tried again before it is believed, and that can mend it, except for: "
        f"{', '.join(reasons)}. These are believed at once, because somebody has to act."
    )


def _wrap(text: str, indent: str = "") -> str:
    return textwrap.fill(
        text,
        width=92,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
