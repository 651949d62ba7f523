"""The sign-in form: allauth's, in the console's words."""

from __future__ import annotations

from typing import Any

from allauth.account.forms import LoginForm


class SignInForm(LoginForm):
    """Name or email address, and password."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        login, password = self.fields["login"], self.fields["password"]
        login.label = "Name or email address"
        login.widget.attrs.update(
            placeholder="",
            autocomplete="username",
            autocapitalize="none",
            spellcheck="false",
            autofocus=True,
        )
        password.widget.attrs["placeholder"] = ""
        password.help_text = ""
