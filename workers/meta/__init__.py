"""The meta-learner of a family: turns what its jobs contribute into versions of P.

`core` is pure: statistics and their checks. `learner` puts the database and the storage around it, and solves in a
thread of its own. `actor` is the shell in Ray, `client` what a training worker calls. None of them imports torch, but
for `starts` when it has weights to read.
"""
