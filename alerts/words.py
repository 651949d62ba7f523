"""What happened to an alert, as a person says it."""

from __future__ import annotations

from alerts.models import AlertEvent

_K = AlertEvent.Kind

_WORDS = {
    _K.RAISED.value: "Raised",
    _K.REOPENED.value: "Came back",
    _K.WORSENED.value: "Got worse",
    _K.UPDATED.value: "Changed",
    _K.CLEARED.value: "Cleared",
    _K.ACKNOWLEDGED.value: "Acknowledged",
    _K.UNACKNOWLEDGED.value: "Acknowledgement taken back",
    _K.LAPSED.value: "The acknowledgement lapsed",
    _K.HELD.value: "Held under another alert",
    _K.RELEASED.value: "No longer held: it fails on its own account",
    _K.FLAPPING.value: "Comes and goes: from here on that is said once",
    _K.STEADIED.value: "Steady again",
    _K.UNSILENCED.value: "Still there when a silence ended",
    _K.REMINDED.value: "Reminded",
    _K.ESCALATED.value: "Escalated",
}

#: Events whose own text is the alert's, which stands above.
_SAID_ABOVE = frozenset(
    {
        *(_K.RAISED.value, _K.REOPENED.value, _K.RELEASED.value),
        *(_K.REMINDED.value, _K.ESCALATED.value),
    }
)


def event_words(event: AlertEvent) -> str:
    """Return what an event is called, with its own text where that says more."""
    words = _WORDS.get(event.kind, event.kind.capitalize())
    if not event.text or event.kind in _SAID_ABOVE:
        return words
    if event.kind in {_K.HELD.value, _K.LAPSED.value}:
        return event.text.rstrip(".")
    return f"{words}. {event.text.rstrip('.')}"
