"""Verbs about people: each is one transaction with its audit entry."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, time, timedelta

from django.conf import settings
from django.contrib.auth import password_validation
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.urls import reverse

from console.accounts.models import OneTimeLink, Theme, User
from console.accounts.roles import Role
from console.accounts.selectors import active_administrators
from console.kit import audit

#: How long a link to sign in holds: long enough to click it in a terminal.
SIGN_IN_LINK_LIVES = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class QuietHours:
    """When somebody is told only what is urgent; without times: never.

    ``lets_critical``: what is Critical breaks through.
    """

    starts: time | None = None
    ends: time | None = None
    lets_critical: bool = True


def has_administrator() -> bool:
    """Return whether anybody can administer the console."""
    return active_administrators().exists()


def create_user(
    *,
    name: str,
    email: str,
    password: str,
    role: Role,
    actor: User | None,
    now: datetime,
) -> User:
    """Create a person who can sign in.

    Raises ValidationError, by field (username, email, password), when the name or
    the address is taken or wrong, or the password is too weak.
    """
    user = User(
        username=User.normalize_username(name.strip()),
        # Addresses are compared in lower case when somebody signs in with one.
        email=email.strip().lower(),
        role=role.value,
        date_joined=now,
    )
    _check_password(user, password)
    user.set_password(password)
    user.full_clean()
    try:
        with transaction.atomic():
            user.save(force_insert=True)
            audit.record(
                actor=actor,
                verb="user.add",
                subject=user,
                now=now,
                data={"role": role.value},
            )
    except IntegrityError:
        # Somebody else was faster by an instant: the constraint knew.
        raise ValidationError({"username": "Somebody has this name already."}) from None
    return user


def create_administrator(
    *, name: str, email: str, password: str, actor: User | None, now: datetime
) -> User:
    """Create a person who may do everything; raises ValidationError as create_user."""
    return create_user(
        name=name,
        email=email,
        password=password,
        role=Role.ADMINISTRATOR,
        actor=actor,
        now=now,
    )


def change_user(
    user: User,
    *,
    role: Role,
    is_active: bool,
    email: str,
    actor: User,
    now: datetime,
    quiet: QuietHours | None = None,
) -> User:
    """Change a person's role, address, and whether they may sign in.

    ``quiet`` None leaves their quiet hours as they are. Raises ValidationError when that would leave the console without administrator.
    """
    with transaction.atomic():
        _lock_administrators()
        current = User.objects.select_for_update().get(pk=user.pk)
        before = _shown(current)
        current.role = role.value
        current.is_active = is_active
        current.email = email.strip().lower()
        _set_quiet(current, quiet)
        if role is not Role.ADMINISTRATOR:
            current.is_superuser = False
        current.full_clean()
        current.save()
        if not has_administrator():
            raise ValidationError(
                f"{current} is the last administrator. Make somebody else an "
                "administrator first."
            )
        after = _shown(current)
        changes = {
            name: [before[name], after[name]]
            for name in after
            if before[name] != after[name]
        }
        if changes:
            audit.record(
                actor=actor, verb="user.change", subject=current, now=now, data=changes
            )
    return current


def change_own_account(
    user: User,
    *,
    first_name: str,
    last_name: str,
    email: str,
    time_zone: str,
    theme: Theme,
    now: datetime,
    quiet: QuietHours | None = None,
) -> User:
    """Change what people may change of themselves; raises ValidationError by field.

    ``quiet`` None leaves the quiet hours as they are.
    """
    with transaction.atomic():
        current = User.objects.select_for_update().get(pk=user.pk)
        before = _shown(current)
        current.first_name = first_name.strip()
        current.last_name = last_name.strip()
        current.email = email.strip().lower()
        current.time_zone = time_zone
        current.theme = theme.value
        _set_quiet(current, quiet)
        current.full_clean()
        current.save()
        after = _shown(current)
        changes = {
            name: [before[name], after[name]]
            for name in after
            if before[name] != after[name]
        }
        if changes:
            audit.record(
                actor=current,
                verb="user.change",
                subject=current,
                now=now,
                data=changes,
            )
    return current


def _set_quiet(user: User, quiet: QuietHours | None) -> None:
    if quiet is None:
        return
    if (quiet.starts is None) != (quiet.ends is None):
        missing = "quiet_from" if quiet.starts is None else "quiet_until"
        raise ValidationError(
            {missing: "Expected two times, or none for no quiet hours."}
        )
    if quiet.starts is not None and quiet.starts == quiet.ends:
        raise ValidationError(
            {"quiet_until": "Expected another time than that at which they begin."}
        )
    user.quiet_from, user.quiet_until = quiet.starts, quiet.ends
    user.quiet_lets_critical = quiet.lets_critical


def set_password(user: User, password: str, *, actor: User, now: datetime) -> None:
    """Give a person another password; their sessions elsewhere end.

    Raises ValidationError for ``password`` when it is too weak.
    """
    _check_password(user, password)
    with transaction.atomic():
        user.set_password(password)
        user.save(update_fields=["password"])
        audit.record(actor=actor, verb="user.set_password", subject=user, now=now)


def choose_theme(user: User, theme: Theme) -> None:
    """Keep the theme that a person chose; a matter of taste, so not audited."""
    User.objects.filter(pk=user.pk).update(theme=theme.value)


def issue_setup_link(now: datetime) -> str | None:
    """Return a link that creates the first administrator; None when there is one.

    It holds until it is used or until there is an administrator. Only its hash is
    kept, so every call makes a new one; the earlier ones still hold.
    """
    if has_administrator():
        return None
    token = _issue(OneTimeLink.Purpose.SETUP, now)
    return f"{settings.PUBLIC_URL}{reverse('setup')}?token={token}"


def find_setup_link(token: str) -> OneTimeLink | None:
    """Return the unused setup link of a token, or None."""
    return OneTimeLink.objects.filter(
        purpose=OneTimeLink.Purpose.SETUP, digest=_digest(token), used_at__isnull=True
    ).first()


def set_up(
    link: OneTimeLink, *, name: str, email: str, password: str, now: datetime
) -> User:
    """Create the first administrator and use the link up.

    Raises ValidationError when the link was used meanwhile, when there is an
    administrator by now, or as create_user does.
    """
    with transaction.atomic():
        _use(link, now)
        if has_administrator():
            raise ValidationError("There is an administrator already: sign in instead.")
        return create_administrator(
            name=name, email=email, password=password, actor=None, now=now
        )


def sign_in_link(user: User, now: datetime) -> str:
    """Return a link that signs a person in once, within half an hour."""
    token = _issue(
        OneTimeLink.Purpose.SIGN_IN, now, user=user, expires_at=now + SIGN_IN_LINK_LIVES
    )
    return f"{settings.PUBLIC_URL}{reverse('sign_in_link', args=[token])}"


def find_sign_in_link(token: str, now: datetime) -> OneTimeLink | None:
    """Return the link of a token that can still sign somebody in, or None."""
    return (
        OneTimeLink.objects.select_related("user")
        .filter(
            purpose=OneTimeLink.Purpose.SIGN_IN,
            digest=_digest(token),
            used_at__isnull=True,
            expires_at__gt=now,
            user__is_active=True,
        )
        .first()
    )


def use_sign_in_link(link: OneTimeLink, now: datetime) -> User:
    """Use a link up and return whom it signs in; raises ValidationError when used."""
    assert link.user is not None  # noqa: S101 - a constraint of the table
    with transaction.atomic():
        _use(link, now)
        audit.record(actor=link.user, verb="user.sign_in", subject=link.user, now=now)
    return link.user


def _check_password(user: User, password: str) -> None:
    try:
        password_validation.validate_password(password, user)
    except ValidationError as error:
        raise ValidationError({"password": error.messages}) from None


def _shown(user: User) -> dict[str, object]:
    return {
        "role": user.role,
        "is_active": user.is_active,
        "email": user.email,
        "quiet_hours": user.quiet_words,
    }


def _lock_administrators() -> None:
    """Hold all administrators, so that two changes cannot each leave the other's."""
    list(active_administrators().select_for_update().order_by("pk").values_list("pk"))


def _issue(
    purpose: OneTimeLink.Purpose,
    now: datetime,
    *,
    user: User | None = None,
    expires_at: datetime | None = None,
) -> str:
    token = secrets.token_urlsafe(32)
    OneTimeLink.objects.create(
        purpose=purpose,
        digest=_digest(token),
        user=user,
        created_at=now,
        expires_at=expires_at,
    )
    return token


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def _use(link: OneTimeLink, now: datetime) -> None:
    """Mark a link as used: compare-and-set, so that only one of two wins."""
    is_first = OneTimeLink.objects.filter(pk=link.pk, used_at__isnull=True).update(
        used_at=now
    )
    if not is_first:
        raise ValidationError("This link has been used already.")
