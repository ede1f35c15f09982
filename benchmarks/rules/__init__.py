"""Which learning rule helps, on small real tasks: `python -m benchmarks.rules` makes the tables of docs/learning.md."""
