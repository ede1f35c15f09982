"""Which families' P suit a dataset and a model: measured by a process of its own (`__main__`), which the dispatcher's
`matcher` looks after; what is measured, and what it is worth, says `measure`."""
