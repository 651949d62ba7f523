"""``python -m storepoints.agent``."""

from storepoints.agent.main import main

raise SystemExit(main())
