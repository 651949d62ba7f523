"""The agent: probes this server's store points and reports facts to the master.

It runs as ``python -m storepoints.agent`` on every enterprise server, needs no Django
and no database, and remembers nothing between two starts.
"""

VERSION = "0.1.0"
