"""``manage.py create_administrator``: a person who may do everything."""

from __future__ import annotations

import getpass
import os
import sys
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.validators import validate_email

from console.accounts import services
from console.kit import clock

VARIABLE = "CONSOLE_ADMIN_PASSWORD"


class Command(BaseCommand):
    """Creates an administrator from the command line."""

    help = (
        "Create an administrator, who may do everything and is mailed about alerts. "
        "The first one can also be created in the browser, through the link that "
        "'manage.py up' prints; this command works at any time, also when everybody "
        "forgot their password."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.epilog = (
            f"The password comes from the environment variable {VARIABLE} (or the file "
            f"that {VARIABLE}_FILE names), else it is asked for twice. Example: "
            "manage.py create_administrator ana --email ana@example.org"
        )
        parser.add_argument(
            "name",
            metavar="NAME",
            help="the name to sign in with: letters, digits and @ . + - _",
        )
        parser.add_argument(
            "--email",
            metavar="E",
            required=True,
            help="the address that alerts are mailed to; also good to sign in with",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Create the administrator, or say what is wrong."""
        name, email = options["name"], options["email"]
        try:
            validate_email(email)
        except ValidationError:
            raise CommandError(
                f"--email is {email!r}; expected an email address such as "
                "ana@example.org."
            ) from None
        try:
            user = services.create_administrator(
                name=name,
                email=email,
                password=_password(),
                actor=None,
                now=clock.now(),
            )
        except ValidationError as error:
            raise CommandError(_lines(error)) from None
        self.stdout.write(
            self.style.SUCCESS(
                f"Created {user}, an administrator. Sign in at /sign-in/."
            )
        )


def _password() -> str:
    """Return the password from the environment, or ask for it twice."""
    path = os.environ.get(f"{VARIABLE}_FILE")
    if path:
        try:
            with open(path, encoding="utf-8") as file:  # noqa: PTH123
                return file.readline().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(
                f"{VARIABLE}_FILE is {path!r}; expected a readable text file ({error})."
            ) from None
    password = os.environ.get(VARIABLE)
    if password:
        return password
    if not sys.stdin.isatty():
        raise CommandError(
            f"There is no terminal to ask for a password: set {VARIABLE}, or "
            f"{VARIABLE}_FILE to the path of a file that holds it."
        )
    first = getpass.getpass("Password: ")
    if first != getpass.getpass("Password again: "):
        raise CommandError("The two passwords are not the same. Nothing was created.")
    return first


def _lines(error: ValidationError) -> str:
    if not hasattr(error, "message_dict"):
        return " ".join(error.messages)
    names = {"username": "NAME", "email": "--email", "password": "The password"}
    return "\n".join(
        f"{names.get(field, field)}: {' '.join(problems)}"
        for field, problems in error.message_dict.items()
    )
