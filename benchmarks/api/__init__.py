"""What the API costs: against a bare route, against nginx, under many listeners, and with a large database."""
