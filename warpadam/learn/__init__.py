"""The learning rules: observe, merge, solve. Pure, and without torch except where gradients are observed."""

from warpadam.learn.checks import check_contribution
from warpadam.learn.covariance import Solution, solve, verify
from warpadam.learn.rule import RULES, LearningRule, Observer
from warpadam.learn.statistics import Contribution, ContributionError, JobSum, Statistics

__all__ = [
    "RULES",
    "Contribution",
    "ContributionError",
    "JobSum",
    "LearningRule",
    "Observer",
    "Solution",
    "Statistics",
    "check_contribution",
    "solve",
    "verify",
]
