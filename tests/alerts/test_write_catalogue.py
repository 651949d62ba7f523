"""The catalogue is complete: what pages, mails and docs/alerts.md are made from."""

from __future__ import annotations

import pkgutil
import string
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from alerts import catalogue
from alerts.catalogue import KINDS, Kind, Live, Scope, Step
from alerts.catalogue.base import ACKNOWLEDGE
from alerts.engine import Severity
from alerts.management.commands import write_alert_docs
from storepoints.models import StorePoint
from storepoints.states import BELIEVED_AT_ONCE, Reason, State

every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))


def texts_of(kind: Kind) -> list[str]:
    steps = [text for step in kind.steps for text in (step.title, step.text)]
    return [kind.short_name, kind.cause, kind.effects, *steps]


@every_kind
def test_it_says_everything_of_a_kind(kind: Kind) -> None:
    texts = [*texts_of(kind), kind.long_text]

    assert all(text.strip() == text and text for text in texts)
    assert all(step.text.endswith(".") for step in kind.steps)
    assert kind.cause.endswith(".")
    assert kind.effects.endswith(".")


@every_kind
def test_it_leaves_no_gap_in_a_text(kind: Kind) -> None:
    assert not [text for text in texts_of(kind) if "{" in text or "}" in text]


@every_kind
def test_it_fills_the_long_text_from_numbers_alone(kind: Kind) -> None:
    text = kind.long_text + kind.long_text_of_many
    fields = {name for _, name, _, _ in string.Formatter().parse(text) if name}

    for count in (1, 2):
        filled = kind.text("Tank {07}", dict.fromkeys(fields, "7"), count=count)
        assert "Tank {07}" in filled or "{name}" not in kind.long_text


@every_kind
def test_it_goes_from_confirming_to_the_acknowledgement(kind: Kind) -> None:
    assert kind.confirm
    assert kind.resolve
    assert kind.steps[0].live is Live.STILL_HOLDS
    assert Live.BACK in {step.live for step in kind.confirm_resolved}
    assert kind.steps[-1] is ACKNOWLEDGE
    assert all(isinstance(step, Step) for step in kind.steps)
    titles = [step.title for step in kind.steps]
    assert len(titles) == len(set(titles))


@every_kind
def test_it_gives_every_number_a_name_and_words(kind: Kind) -> None:
    names = [each.name for each in kind.parameters]

    assert len(names) == len(set(names))
    assert all(each.label and each.words for each in kind.parameters)
    assert kind.scope in set(Scope)
    assert kind.severity in set(Severity)


def test_it_links_each_kind_by_the_anchor_of_its_heading() -> None:
    for slug, kind in KINDS.items():
        assert kind.short_name.lower().replace(" ", "-") == slug


def test_it_has_every_kind_once_and_every_module_a_kind() -> None:
    modules = {each.name for each in pkgutil.iter_modules(catalogue.__path__)}

    assert {slug.replace("-", "_") for slug in KINDS} == modules - {"base"}
    for field in ("slug", "short_name", "long_text"):
        said: list[Any] = [getattr(kind, field) for kind in KINDS.values()]
        assert len(said) == len(set(said))


def test_it_says_when_trying_again_cannot_mend_it() -> None:
    kind = KINDS["store-point-offline"]

    assert kind.believed_at_once == BELIEVED_AT_ONCE
    assert kind.can_be_retried({"reason": str(Reason.IO_ERROR)})
    for reason in BELIEVED_AT_ONCE:
        assert not kind.can_be_retried({"reason": str(reason)})
    assert not KINDS["drive-failing"].can_be_retried({})


# --- docs/alerts.md ------------------------------------------------------------------------


def test_it_holds_nothing_under_what_is_itself_held() -> None:
    """One level: who removes old alerts, and who folds a list, looks no deeper."""
    away = StorePoint(state=State.SERVER_OFFLINE, server_id=1)
    held = [kind for kind in KINDS.values() if kind.parent]
    assert held

    for kind in held:
        key = kind.parent(away) if kind.parent else None
        assert key is not None
        assert KINDS[key[0]].parent is None


def test_it_has_written_the_page_of_the_catalogue() -> None:
    call_command("write_alert_docs", "--check")


def test_it_writes_everything_of_every_kind() -> None:
    page = " ".join(write_alert_docs.render().split())

    for kind in KINDS.values():
        said = [*texts_of(kind), kind.severity.label, f"`{kind.slug}`"]
        said += [each.words for each in kind.parameters]
        assert f"[{kind.short_name}](#{kind.slug})" in page
        missing = [text for text in said if " ".join(text.split()) not in page]
        assert not missing
    assert "{" not in page


def test_it_says_when_the_page_is_not_up_to_date(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = str(tmp_path / "alerts.md")
    monkeypatch.setattr(write_alert_docs.Command, "page", page)

    with pytest.raises(CommandError, match="write_alert_docs"):
        call_command("write_alert_docs", "--check")
