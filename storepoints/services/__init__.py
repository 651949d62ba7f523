"""The verbs of this app: each writes in one transaction, and sends nothing inside it."""

from __future__ import annotations

from storepoints.services.adoption import (
    add_store_point,
    ask_for_adoption,
    inspect_path,
)
from storepoints.services.checks import (
    ask_store_points,
    send_due_probes,
    send_everything,
)
from storepoints.services.fence import fence_of, policy_of
from storepoints.services.fleet import (
    edit_store_point,
    ensure_master_server,
    remove_store_points,
)
from storepoints.services.inbound import change_inbound
from storepoints.services.keeping import change_history_limit, keep_history
from storepoints.services.readoption import (
    Look,
    look_again,
    place_elsewhere,
    read_look,
    readopt_store_point,
)
from storepoints.services.records import (
    add_destination,
    edit_destination,
    edit_server,
)
from storepoints.services.refusals import Refusal
from storepoints.services.reports import record_report
from storepoints.services.silence import record_silent_servers, record_stale_readings

__all__ = [
    "Look",
    "Refusal",
    "add_destination",
    "add_store_point",
    "ask_for_adoption",
    "ask_store_points",
    "change_history_limit",
    "change_inbound",
    "edit_destination",
    "edit_server",
    "edit_store_point",
    "ensure_master_server",
    "fence_of",
    "inspect_path",
    "keep_history",
    "look_again",
    "place_elsewhere",
    "policy_of",
    "read_look",
    "readopt_store_point",
    "record_report",
    "record_silent_servers",
    "record_stale_readings",
    "remove_store_points",
    "send_due_probes",
    "send_everything",
]
