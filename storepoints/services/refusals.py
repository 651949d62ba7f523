"""What a service answers when it cannot do what it was asked for."""

from __future__ import annotations


class Refusal(ValueError):
    """Something that cannot be done, in words for the person who asked for it.

    ``field`` names the form field that it is about; ``code`` says which refusal it is.
    """

    def __init__(self, field: str, message: str, code: str = "refused") -> None:
        super().__init__(message)
        self.field = field
        self.code = code
