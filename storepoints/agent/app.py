"""The agent's Celery application: one queue, one task, nothing kept."""

from __future__ import annotations

from typing import Any

from celery import Celery
from kombu import Exchange, Queue

from storepoints import transport, wire
from storepoints.agent.config import Configuration

#: The exchange without a name hands a message to the queue of its routing key, with
#: no bindings to keep in the broker: the agent's account may not write those.
NAMELESS = Exchange("", type="direct", durable=True)

REPORTS = Queue(
    wire.REPORTS_QUEUE, NAMELESS, routing_key=wire.REPORTS_QUEUE, no_declare=True
)

#: An unread report is worth nothing to the master after this.
REPORT_EXPIRES_SECONDS = 300

_CONSUMER = "storepoints.agent.consumer:AgentConsumer"


def make_app(configuration: Configuration) -> Celery:
    """Return the application of an agent; connects to nothing yet."""
    transport.use()
    queue = wire.queue_of(configuration.server)
    # No fixups: Celery would load the console's Django for an agent that is started
    # from the console's environment.
    app = Celery(
        "agent", broker=configuration.broker_url, set_as_current=False, fixups=[]
    )
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        result_serializer="json",
        event_serializer="json",
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        result_backend=None,
        task_queues=[Queue(queue, NAMELESS, routing_key=queue)],
        task_default_queue=queue,
        task_default_exchange="",
        task_default_routing_key=queue,
        task_create_missing_queues=False,
        worker_prefetch_multiplier=1,
        worker_concurrency=1,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=True,
        worker_consumer=_CONSUMER,
        broker_connection_retry=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=3,
        broker_heartbeat=0,
        broker_pool_limit=1,
        broker_transport_options={
            "socket_connect_timeout": 3,
            "socket_timeout": 10,
            "socket_keepalive": True,
            "health_check_interval": 10,
            # Its own, because an agent's account reaches only keys that begin with
            # the name of its queue.
            "unacked_key": f"{queue}.unacked",
            "unacked_index_key": f"{queue}.unacked_index",
            "unacked_mutex_key": f"{queue}.unacked_mutex",
        },
        enable_utc=True,
        timezone="UTC",
    )
    return app


def publish(app: Celery, connection: Any, envelope: wire.Envelope) -> None:
    """Hand one report to the broker, or raise what kept it from taking it."""
    app.send_task(
        wire.REPORT_TASK,
        args=[envelope],
        connection=connection,
        queue=REPORTS,  # type: ignore[arg-type] # its stubs know names only
        expires=REPORT_EXPIRES_SECONDS,
        ignore_result=True,
        retry=False,
        # Celery would copy the whole report into the message's headers.
        argsrepr="[...]",
    )
