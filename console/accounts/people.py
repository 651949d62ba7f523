"""Who is asking, as the type that services take."""

from __future__ import annotations

from typing import Protocol

from console.accounts.models import User


class _Request(Protocol):
    @property
    def user(self) -> object: ...


class _Ask(Protocol):
    @property
    def actor(self) -> object: ...


def person_of(request: _Request) -> User:
    """Return the person behind a request that has passed @needs."""
    assert isinstance(request.user, User)  # noqa: S101 - @needs made sure of it
    return request.user


def actor_of(ask: _Ask) -> User:
    """Return the person who asked for an action."""
    assert isinstance(ask.actor, User)  # noqa: S101 - the console has one user model
    return ask.actor
