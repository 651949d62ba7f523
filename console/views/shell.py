"""What every page has: the status in the toolbar and the choice of a theme."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from console.accounts import services
from console.accounts.models import Theme
from console.accounts.people import person_of
from console.kit import clock, htmx
from console.kit.access import SIGNED_IN, needs
from console.kit.actions import next_url
from console.kit.problems import WrongInput
from console.views import banners, freshness, navigation
from storepoints.selectors import read_pulse


@require_safe
@needs(SIGNED_IN)
@never_cache
def status(request: HttpRequest) -> HttpResponse:
    """Return the parts of the shell that refresh themselves: htmx swaps them in."""
    if not htmx.is_part(request):
        return redirect("dashboard")
    now = clock.now()
    pulse = read_pulse(now)
    current = banners.current(person_of(request), now, pulse)
    digest = banners.digest(current)
    return render(
        request,
        "console/_status.html",
        {
            "freshness": freshness.read(now, pulse),
            "banners": current,
            "banners_digest": digest,
            "have_banners_changed": request.GET.get("banners", "") != digest,
            "navigation": navigation.draw(request, now, pulse),
        },
    )


@require_POST
@needs(SIGNED_IN)
def theme(request: HttpRequest) -> HttpResponse:
    """Keep the theme that the person chose, and go back to the page."""
    chosen = request.POST.get("theme", "")
    if chosen not in Theme.values:
        raise WrongInput(
            f"Expected a theme among {', '.join(Theme.values)}, found {chosen[:40]!r}."
        )
    services.choose_theme(person_of(request), Theme(chosen))
    if request.headers.get("Accept") == "application/json":
        return HttpResponse(status=204)
    return redirect(next_url(request, "dashboard"))
