"""Settings > Users."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_safe

from console.accounts import services
from console.accounts.forms import (
    AddUserForm,
    ChangeUserForm,
    PasswordForm,
    add_errors,
)
from console.accounts.models import User
from console.accounts.people import person_of
from console.accounts.roles import ROLE_TEXTS, Role
from console.accounts.selectors import active_administrators
from console.kit import clock, htmx, paging, querystring
from console.kit.access import needs
from console.kit.filters import Choice
from console.kit.sorting import Column, Sorting

SORTING = Sorting(
    columns=(
        Column("name", "Name", order=("username",)),
        Column("person", "Person", order=("first_name", "last_name")),
        Column("email", "Email address", order=("email",)),
        Column("role", "Role", order=("role", "username")),
        Column(
            "signed-in", "Last signed in", ("last_login",), is_first_descending=True
        ),
    ),
    default="name",
)

WHO = Choice(
    "who",
    (
        ("active", "May sign in"),
        ("administrators", "Administrators"),
        ("inactive", "Switched off"),
        ("all", "All"),
    ),
)


@require_safe
@needs("accounts.view_user")
def overview(request: HttpRequest) -> HttpResponse:
    """List the people who may sign in."""
    rows = User.objects.all()
    who = WHO.read(request.GET)
    question = querystring.text(request.GET, "q")
    if who == "active":
        rows = rows.filter(is_active=True)
    if who == "administrators":
        rows = active_administrators()
    if who == "inactive":
        rows = rows.filter(is_active=False)
    if question:
        rows = rows.filter(
            Q(username__icontains=question)
            | Q(email__icontains=question)
            | Q(first_name__icontains=question)
            | Q(last_name__icontains=question)
        )
    order = SORTING.read(request)
    return htmx.render(
        request,
        "accounts/users.html",
        "accounts/_users.html",
        {
            "page": paging.page(request, rows.order_by(*order.fields)),
            "order": order,
            "pills": WHO.pills(request),
            "who": who,
            "q": question,
        },
    )


@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
@needs("accounts.add_user")
def add(request: HttpRequest) -> HttpResponse:
    """Create a person who can sign in."""
    form = AddUserForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            user = services.create_user(
                name=form.cleaned_data["name"],
                email=form.cleaned_data["email"],
                password=form.cleaned_data["password"],
                role=Role(form.cleaned_data["role"]),
                actor=person_of(request),
                now=clock.now(),
            )
        except ValidationError as error:
            add_errors(form, error)
        else:
            messages.success(request, f"Added {user}, {user.role}.")
            return redirect("users")
    return render(
        request,
        "accounts/add_user.html",
        {"form": form},
        status=422 if form.is_bound else 200,
    )


@require_http_methods(["GET", "HEAD", "POST"])
@needs("accounts.change_user")
def edit(request: HttpRequest, key: int) -> HttpResponse:
    """Change a person's role and address, and whether they may sign in."""
    person = get_object_or_404(User, pk=key)
    form = ChangeUserForm(
        request.POST if request.method == "POST" else None,
        initial={
            "email": person.email,
            "role": person.role,
            "is_active": person.is_active,
            **ChangeUserForm.quiet_of(person),
        },
        zone=person.time_zone or settings.TIME_ZONE,
    )
    if request.method == "POST" and form.is_valid():
        try:
            services.change_user(
                person,
                role=Role(form.cleaned_data["role"]),
                is_active=form.cleaned_data["is_active"],
                email=form.cleaned_data["email"],
                quiet=form.quiet(),
                actor=person_of(request),
                now=clock.now(),
            )
        except ValidationError as error:
            add_errors(form, error)
        else:
            messages.success(request, f"Saved {person}.")
            return redirect("users")
    return render(
        request,
        "accounts/user.html",
        {"form": form, "person": person, "role_texts": ROLE_TEXTS},
        status=422 if form.is_bound else 200,
    )


@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
@needs("accounts.change_user")
def password(request: HttpRequest, key: int) -> HttpResponse:
    """Give a person a new password; their sessions end.

    Not to oneself: whoever finds a browser open must not be able to keep others out,
    so one's own page asks for the present password.
    """
    if key == request.user.pk:
        return redirect("account_change_password")
    person = get_object_or_404(User, pk=key)
    form = PasswordForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            services.set_password(
                person,
                form.cleaned_data["password"],
                actor=person_of(request),
                now=clock.now(),
            )
        except ValidationError as error:
            add_errors(form, error)
        else:
            messages.success(request, f"Set a new password for {person}.")
            return redirect("users")
    return render(
        request,
        "accounts/password.html",
        {"form": form, "person": person, "is_own": False},
        status=422 if form.is_bound else 200,
    )
