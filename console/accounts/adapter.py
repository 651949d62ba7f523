"""What django-allauth asks the console: nobody signs up, and inactive people are told."""

from __future__ import annotations

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core.internal.ratelimit import get_ip
from django.contrib import messages
from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect


class AccountAdapter(DefaultAccountAdapter):
    """The console's answers; administrators create accounts."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Return False: accounts are made by administrators."""
        return False

    def _get_login_attempts_cache_key(
        self, request: HttpRequest, **credentials: Any
    ) -> str:
        """Count wrong tries of a name for each address by itself.

        Whoever knows the administrator's name could otherwise keep them out by trying
        it. One address tries few names: ACCOUNT_RATE_LIMITS limits it as a whole too.
        """
        name: str = super()._get_login_attempts_cache_key(request, **credentials)
        return f"{name}:{get_ip(request)}"

    def respond_user_inactive(
        self,
        request: HttpRequest,
        user: AbstractBaseUser,
    ) -> HttpResponse:
        """Say at the sign-in page that the account is switched off."""
        messages.error(
            request,
            "This account is switched off. An administrator can switch it on again.",
        )
        return redirect("account_login")
