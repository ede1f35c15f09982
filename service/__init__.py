"""Rules and memory: what a job, a family, a dataset and a version are, and where they are kept. No web, Ray or torch."""
