"""What django-allauth asks the console: nobody signs up, and inactive people are told."""

from __future__ import annotations

from allauth.account.adapter import DefaultAccountAdapter
from django.contrib import messages
from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect


class AccountAdapter(DefaultAccountAdapter):
    """The console's answers; administrators create accounts."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Return False: accounts are made by administrators."""
        return False

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
