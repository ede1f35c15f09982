"""NAdam's momentum in a basis that goes on adapting. Nothing here is new: each half is tested where it stands."""

from benchmarks.convergence.adapting import Adapting
from benchmarks.convergence.updates import NAdam


class AdaptingNAdam(NAdam, Adapting):
    """`Adapting`, hidden axes, with NAdam's direction in place of m̂."""
