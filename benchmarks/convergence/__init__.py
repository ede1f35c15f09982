"""WarpAdam against its peers: families of tasks × methods × budgets × paired seeds, everything tuned alike.

`python -m benchmarks.convergence` fills a store, one line a trained run, and turns it into tables and plots.
Nothing here is imported by the product.
"""
