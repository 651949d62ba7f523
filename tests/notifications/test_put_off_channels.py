"""A channel that fails while the alert about that is put off."""

from __future__ import annotations

import pytest

from alerts.models import Alert, WaitingCondition
from alerts.services import change_notification_settings, raise_waiting
from alerts.settings import Choice
from console.kit import clock
from notifications.models import Channel
from notifications.services.failing import KIND, reconcile_delivery
from tests import people
from tests.notifications.factories import make_channel

pytestmark = [pytest.mark.django_db, pytest.mark.postgres]


@pytest.fixture
def pager(frozen: clock.FrozenClock) -> Channel:
    """A channel that fails, which is waited for."""
    change_notification_settings(
        {KIND: Choice(delay_seconds=600)}, actor=people.administrator(), now=clock.now()
    )
    pager = make_channel(failing_since=clock.now(), last_error="it refuses")
    frozen.tick(300)
    reconcile_delivery(now=clock.now())
    assert WaitingCondition.objects.get().subject == f"console:channel:{pager.pk}"
    return pager


def test_it_raises_nothing_of_a_channel_that_is_well_again(
    pager: Channel, frozen: clock.FrozenClock
) -> None:
    Channel.objects.filter(pk=pager.pk).update(failing_since=None)
    reconcile_delivery(now=clock.now())

    frozen.tick(600)
    raise_waiting(now=clock.now())

    assert not Alert.objects.exists()
    assert not WaitingCondition.objects.exists()


def test_it_raises_nothing_of_a_channel_that_was_removed(
    pager: Channel, frozen: clock.FrozenClock
) -> None:
    pager.delete()
    reconcile_delivery(now=clock.now())

    frozen.tick(600)
    raise_waiting(now=clock.now())

    assert not Alert.objects.exists()


def test_it_raises_it_of_a_channel_that_goes_on_failing(
    pager: Channel, frozen: clock.FrozenClock
) -> None:
    frozen.tick(600)
    raise_waiting(now=clock.now())
    reconcile_delivery(now=clock.now())

    assert Alert.objects.get().subject == f"console:channel:{pager.pk}"
