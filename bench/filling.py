"""`python -m bench.filling`: put the store points on standard input into a database."""

from __future__ import annotations

import json
import sys
from datetime import timedelta


def main() -> None:
    """Add rows as if adopted just now; change the fields of those that are there."""
    import django

    django.setup()

    from console.kit import clock
    from storepoints.models import Server, StorePoint

    data = json.load(sys.stdin)
    server = Server.objects.get(is_master=True)
    now = clock.now()
    StorePoint.objects.bulk_create(
        [
            StorePoint(
                server=server,
                created_at=now,
                adopted_at=now,
                due_at=now,
                pace=timedelta(seconds=30),
                **row,
                **data["fields"],
            )
            for row in data["store_points"]
        ],
        batch_size=500,
        update_conflicts=True,
        unique_fields=["guid"],
        update_fields=["pace", *data["fields"]],
    )


if __name__ == "__main__":
    main()
