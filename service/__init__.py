<<<<<<< HEAD
"""Rules and memory of the service: job description, states, use cases, all SQL. No web framework, Ray or torch."""
=======
"""Rules and memory: what a job, a family, a dataset and a version are, and where they are kept. No web, Ray or torch."""
>>>>>>> main
