"""Rules and memory: what jobs, families, datasets and versions are, and where they are kept. No web, Ray or torch."""
