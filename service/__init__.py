"""Rules and memory of the service: job description, states, use cases, all SQL. No web framework, Ray or torch."""
