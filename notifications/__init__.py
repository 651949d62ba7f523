"""Who is told: settings, recipients, deliveries, mail."""
