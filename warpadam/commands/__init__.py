"""The commands of `warpadam`, by what they are about."""
