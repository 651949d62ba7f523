"""The page of a form that edits one thing: parse, call one service, say what came of it."""

from __future__ import annotations

from collections.abc import Callable

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from storepoints.services import Refusal


def edit_page(
    request: HttpRequest,
    form: forms.BaseForm,
    *,
    save: Callable[..., object],
    title: str,
    back: str,
    text: str = "",
) -> HttpResponse:
    """Show a form, or save what it was given and go back.

    ``save`` takes the cleaned fields; a Refusal of it stands beside the field that it
    is about. A form that is wrong is shown again with status 422.
    """
    if request.method == "POST" and form.is_valid():
        try:
            save(**form.cleaned_data)
        except Refusal as refusal:
            form.add_error(refusal.field or None, str(refusal))
        else:
            messages.success(request, f"Saved {form.cleaned_data['name']}.")
            return redirect(back)
    return render(
        request,
        "storepoints/edit.html",
        {"form": form, "title": title, "text": text, "back": back},
        status=422 if form.is_bound else 200,
    )
