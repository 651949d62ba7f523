"""`manage.py add_store_point NAME PATH`: add a directory as a store point."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from console.kit import clock
from storepoints import services
from storepoints.forms import AddStorePointForm
from storepoints.models import Server


class Command(BaseCommand):
    """Do what the form of the same name does, with the same refusals."""

    help = (
        "Add an existing directory as a store point. The server's agent looks at it "
        "first and then writes the identity marker .storepoint/identity.json into it; "
        "nothing else on the disk is touched. Needs the console to be running "
        "(manage.py up)."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take the name, the path and the server."""
        parser.add_argument("name", help="what lists and alerts call it, e.g. Tank-07")
        parser.add_argument("path", help="absolute path of the directory on the server")
        parser.add_argument(
            "--server",
            metavar="NAME",
            help="the enterprise server it is on; the master server when left out",
        )
        parser.add_argument("--note", default="", help="a note for the store point")
        parser.add_argument(
            "--continue",
            dest="is_taking_over",
            action="store_true",
            help="go on with the identity of a marker that this console does not know",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Check as the form does, add, and say what happens next."""
        server = self._server(options["server"])
        form = AddStorePointForm(
            {
                "name": options["name"],
                "server": server.pk,
                "path": options["path"],
                "note": options["note"],
                "is_taking_over": options["is_taking_over"],
            },
            may_take_over=True,
        )
        if not form.is_valid():
            raise CommandError(
                " ".join(
                    str(error) for errors in form.errors.values() for error in errors
                )
            )
        try:
            store_point = services.add_store_point(
                **form.cleaned_data, actor=None, now=clock.now()
            )
        except services.Refusal as refusal:
            hint = (
                " (on the command line: --continue)"
                if refusal.code == "has-marker"
                else ""
            )
            raise CommandError(f"{refusal}{hint}") from refusal
        self.stdout.write(
            f"Added {store_point.name} ({store_point.path} on {server}). Its agent "
            "adopts and checks it now; see manage.py check."
        )

    def _server(self, name: str | None) -> Server:
        servers = Server.objects.order_by("name")
        wanted = servers.filter(name=name) if name else servers.filter(is_master=True)
        server = wanted.first()
        if server is not None:
            return server
        if name is None:
            raise CommandError(
                "There is no master server yet: start the console once with manage.py up."
            )
        known = ", ".join(servers.values_list("name", flat=True)) or "none"
        raise CommandError(f"There is no server named {name!r}. Servers: {known}.")
