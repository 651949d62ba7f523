"""Settings > Audit log: who did what, when, to what, from where."""

from __future__ import annotations

from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict
from django.views.decorators.http import require_safe

from console.kit import htmx, paging, querystring
from console.kit.access import needs
from console.kit.models import AuditEntry


def matching(query: QueryDict) -> QuerySet[AuditEntry]:
    """Return the entries that a query string stands for, newest first.

    ``person`` and ``verb`` are exact, or a verb's first part ("alert"); ``object`` is
    a kind ("storepoint") or one object ("storepoint:12"); ``q`` is looked for in
    names and notes.
    """
    rows = AuditEntry.objects.order_by("-at", "-pk")
    if person := querystring.text(query, "person"):
        rows = rows.filter(actor_name=person)
    if verb := querystring.text(query, "verb"):
        rows = rows.filter(Q(verb=verb) | Q(verb__startswith=f"{verb}."))
    if named := querystring.text(query, "object"):
        kind, _, key = named.partition(":")
        rows = rows.filter(object_kind=kind)
        if key:
            rows = rows.filter(object_id=key)
    if question := querystring.text(query, "q"):
        rows = rows.filter(
            Q(object_name__icontains=question)
            | Q(note__icontains=question)
            | Q(actor_name__icontains=question)
        )
    return rows


@require_safe
@needs("kit.view_auditentry")
def audit_log(request: HttpRequest) -> HttpResponse:
    """List the entries that match the filter, a page at a time."""
    return htmx.render(
        request,
        "accounts/audit_log.html",
        "accounts/_audit_log.html",
        {
            "page": paging.page(request, matching(request.GET)),
            "people": _values("actor_name"),
            "verbs": _values("verb"),
            "kinds": _values("object_kind"),
            "chosen": {
                name: querystring.text(request.GET, name)
                for name in ("person", "verb", "object", "q")
            },
        },
    )


def _values(field: str) -> list[str]:
    """Return the values to choose from; each column has an index to read them from."""
    values = AuditEntry.objects.order_by(field).values_list(field, flat=True).distinct()
    return [value for value in values[:200] if value]
