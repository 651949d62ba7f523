"""Settings > Notifications > Groups: whom routes tell."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import (
    require_http_methods,
    require_POST,
    require_safe,
)

from console.accounts.forms import add_errors
from console.accounts.people import person_of
from console.kit import clock
from console.kit.access import needs
from notifications import reach, services
from notifications.models import Group
from notifications.rule_forms import GroupForm
from notifications.views.routes import ask_first


@require_safe
@needs("notifications.view_group")
def groups(request: HttpRequest) -> HttpResponse:
    """List the groups, who is in each, and what tells them."""
    return render(request, "notifications/groups.html", {"rows": list(reach.groups())})


@require_http_methods(["GET", "HEAD", "POST"])
@needs("notifications.add_group")
def add(request: HttpRequest) -> HttpResponse:
    """Make a group."""
    return _edit(request, None, {})


@require_http_methods(["GET", "HEAD", "POST"])
@needs("notifications.change_group")
def edit(request: HttpRequest, key: int) -> HttpResponse:
    """Change a group's name and members."""
    group = get_object_or_404(reach.groups(), pk=key)
    return _edit(request, group, GroupForm.initial_of(group))


def _edit(
    request: HttpRequest, group: Group | None, initial: dict[str, Any]
) -> HttpResponse:
    form = GroupForm(
        request.POST if request.method == "POST" else None, initial=initial
    )
    if request.method == "POST" and form.is_valid():
        members = form.members()

        def save() -> Group:
            return services.save_group(
                group.pk if group else None,
                members,
                actor=person_of(request),
                now=clock.now(),
            )

        try:
            asked = ask_first(
                request,
                save,
                title=f"Save {members.name}?",
                button="Save",
                back="groups",
            )
            if asked is not None:
                return asked
            saved = save()
        except ValidationError as error:
            add_errors(form, error)
        except Group.DoesNotExist:
            raise Http404("There is no such group any more.") from None
        else:
            messages.success(request, f"Saved the group {saved}.")
            return redirect("notifications:groups")
    return render(
        request,
        "notifications/group_form.html",
        {"form": form, "group": group},
        status=422 if form.is_bound else 200,
    )


@require_POST
@needs("notifications.delete_group")
def remove(request: HttpRequest, key: int) -> HttpResponse:
    """Remove a group; asks when that leaves somebody with nothing."""
    group = Group.objects.filter(pk=key).first()

    def change() -> str | None:
        return services.remove_group(key, actor=person_of(request), now=clock.now())

    asked = ask_first(
        request, change, title=f"Remove {group}?", button="Remove", back="groups"
    )
    if asked is not None:
        return asked
    name = change()
    if name is None:
        messages.info(request, "This group is no longer there.")
    else:
        messages.success(request, f"Removed the group {name}.")
    return redirect("notifications:groups")
