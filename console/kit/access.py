"""Who may see a page: the one decorator that every view carries."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import resolve_url
from django_htmx.http import HttpResponseClientRedirect

from console.kit.problems import Forbidden

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]

#: The permission of anybody who is signed in, whatever the role.
SIGNED_IN = ""


def needs(permission: str) -> Callable[[View[P]], View[P]]:
    """Let only people with a permission reach a view.

    Somebody who is signed out goes to the sign-in page and comes back afterwards;
    somebody signed in without the permission gets Forbidden (403). The permission
    SIGNED_IN ("") asks only for a sign-in.
    """

    def decorate(view: View[P]) -> View[P]:
        @wraps(view)
        def guarded(
            request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs
        ) -> HttpResponseBase:
            if not request.user.is_authenticated:
                return _sign_in(request)
            if permission and not request.user.has_perm(permission):
                raise Forbidden(permission)
            return view(request, *args, **kwargs)

        guarded.permission = permission  # type: ignore[attr-defined]  # for tests
        return guarded

    return decorate


def _sign_in(request: HttpRequest) -> HttpResponse:
    """Return the way to the sign-in page, and from there back to this one."""
    htmx = getattr(request, "htmx", None)
    if htmx:
        # A redirect would be followed by the script and its page swapped into a part.
        back = htmx.current_url_abs_path or "/"
        login = redirect_to_login(back, resolve_url(settings.LOGIN_URL))
        return HttpResponseClientRedirect(login["Location"])
    # A POST cannot be repeated after signing in: return to the page it came from.
    back = request.get_full_path() if request.method in {"GET", "HEAD"} else "/"
    return redirect_to_login(back, resolve_url(settings.LOGIN_URL))
