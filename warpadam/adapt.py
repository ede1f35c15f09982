"""Keeping P adapting within a job: SOAP (Vyas et al., arXiv 2409.11321, Algorithms 3 and 4), from any P on.

Per adapted axis a parameter keeps C, the running covariance of its gradient along that axis, and a P of its own whose
rows follow C's eigenvectors:

    C ← β C + (1-β) unfold(G) unfold(G)ᵀ                 C  `gram_<axis>`,  P  `basis_<axis>`,  β  `beta`
    every f steps:  Pᵀ ← QR((C + δ tr(C)/n I) Pᵀ)        f  `every`,  δ  `damping`; one step of orthogonal iteration

A basis of hidden axes turns fast at first and slowly later. So by default P also moves after the steps 1, 2, 4, 8, …
below f (`early`), which lets f be 100; and an axis for which the family has no matrix takes all eigenvectors of C each
time, as one iteration would not be enough so far apart. C + δ tr(C)/n Pᵀ diag(2 … 1) P is what they are taken of: where
C says nothing yet, as after one step, its own would turn on the last bit of a sum, and these stay where they are.

m and v go on in the new coordinates (`carry`). All of it is state of the parameter, so a resume is exact.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from warpadam.axes import Row
from warpadam.shapes import MAX_AXIS, merged_shape, parse_hidden_key
from warpadam.transport import transport

Mode = Literal["none", "hidden", "all"]
MODES = ("none", "hidden", "all")


@dataclass(frozen=True, kw_only=True)
class Adaptation:
    """What adapts, and how. The defaults are for use; `Adaptation.soap()` is the published algorithm.

    `axes`: "hidden" are the axes that a family cannot share, without a key or with a hidden one; "all" are all. Axes of
    size 1 or above `max_axis` never do, nor 1-D parameters without a key.
    `beta`: None is the group's β2. `first`: how an axis that has no matrix gets its first one: "eigh" by all of C's
    eigenvectors at the first refresh, and with `early` at every one; "power" by the iteration above from the identity,
    as printed in the paper; "skip" by eigenvectors at the first gradient, which moves nothing, as its authors do it.
    `carry`: "turn" carries v over (`warpadam.transport`), "keep" leaves it as it is, as SOAP does; m is always turned.
    `damping`: keeps directions where they are of which C says nothing yet, so that a good P is not lost at the start.
    """

    axes: Mode = "hidden"
    every: int = 100
    early: bool = True
    beta: float | None = None
    first: Literal["eigh", "power", "skip"] = "eigh"
    carry: Literal["turn", "keep"] = "turn"
    damping: float = 1e-3
    max_axis: int = MAX_AXIS

    def __post_init__(self) -> None:
        for name, allowed in (("axes", MODES), ("first", ("eigh", "power", "skip")), ("carry", ("turn", "keep"))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"adapt: {name} must be one of {', '.join(allowed)}, not {getattr(self, name)!r}")
        if self.every < 1 or self.damping < 0 or self.max_axis < 1:
            raise ValueError("adapt: every and max_axis must be at least 1, damping at least 0")
        if self.beta is not None and not 0 <= self.beta < 1:
            raise ValueError(f"adapt: beta must be at least 0 and below 1, not {self.beta}")

    @classmethod
    def soap(cls, *, every: int = 10, beta: float | None = None, max_axis: int = 10_000) -> "Adaptation":
        """SOAP as published: the rule of Algorithm 3 on every axis, started as its authors start it."""
        settings: dict[str, Any] = {"first": "skip", "carry": "keep", "damping": 0.0}
        return cls(axes="all", every=every, early=False, beta=beta, max_axis=max_axis, **settings)

    @classmethod
    def read(cls, given: "Adaptation | Mode | dict[str, Any]") -> "Adaptation":
        """From what users pass and from what a parameter group stores."""
        if isinstance(given, Adaptation):
            return given
        # A state of before there was `early` goes on without it.
        return cls(**{"early": False, **given}) if isinstance(given, dict) else cls(axes=given)

    def stored(self) -> dict[str, Any]:
        """As a parameter group keeps it: plain values only."""
        return asdict(self)

    def due(self, step: int) -> bool:
        """Whether P moves on after this step."""
        return step % self.every == 0 or (self.early and step < self.every and step & (step - 1) == 0)

    def whole(self, step: int) -> bool:
        """Whether an axis without a matrix then takes all of C's eigenvectors."""
        return self.first == "eigh" and (self.early or step == self.every)


def adapted(shape: Sequence[int], row: Row | None, adaptation: Adaptation) -> tuple[int, ...]:
    """Which axes of a parameter adapt; `row` are its keys, None where it has none."""
    if adaptation.axes == "none" or (row is None and len(shape) < 2):
        return ()
    keys = (None,) * len(shape) if row is None else row
    return tuple(
        axis
        for axis, (key, size) in enumerate(zip(keys, merged_shape(shape, len(keys)), strict=True))
        if 1 < size <= adaptation.max_axis
        and (adaptation.axes == "all" or key is None or parse_hidden_key(key) is not None)
    )


def start(state: dict[str, Tensor], axis: int, matrix: Tensor | None, size: int, like: Tensor) -> None:
    """Begins C at zero and P at `matrix`, or at the identity; `like` says device and type."""
    P = torch.eye(size) if matrix is None else matrix
    state[gram_name(axis)] = torch.zeros(size, size, dtype=like.dtype, device=like.device)
    state[basis_name(axis)] = P.to(like, copy=True)


def observe(state: dict[str, Tensor], axes: Sequence[int], count: int, gradient: Tensor, beta: float) -> None:
    """C ← β C + (1-β) unfold(G) unfold(G)ᵀ for each of `axes`; `count` is the number of axes of the parameter."""
    G = gradient.to(state[gram_name(axes[0])].dtype).reshape(merged_shape(gradient.shape, count))
    for axis in axes:
        unfolded = G.movedim(axis, 0).reshape(G.shape[axis], -1)
        C = state[gram_name(axis)]
        torch.addmm(C, unfolded, unfolded.mT, beta=beta, alpha=1 - beta, out=C)


def refresh(
    state: dict[str, Tensor], axes: Sequence[int], count: int, whole: Sequence[int], adaptation: Adaptation
) -> None:
    """Moves each axis's P on, and m and v with it. `whole`: the axes that take all of C's eigenvectors."""
    turned: list[Tensor | None] = [None] * count
    for axis in axes:
        C, old = state[gram_name(axis)], state[basis_name(axis)]
        if not bool(torch.isfinite(C).all()):
            raise RuntimeError(
                "WarpAdam was given a gradient that is not finite, which adapt cannot forget: check gradients before "
                "step(), or train with adapt='none'"
            )
        new = _eigenvectors(C, old, adaptation.damping) if axis in whole else _iterate(C, old, adaptation.damping)
        turned[axis] = (new.double() @ old.double().mT).to(old.dtype)
        state[basis_name(axis)] = new
    m, v = transport(state["exp_avg"], state["exp_avg_sq"], turned)
    state["exp_avg"] = m
    if adaptation.carry == "turn":
        state["exp_avg_sq"] = v


def gram_name(axis: int) -> str:
    return f"gram_{axis}"


def basis_name(axis: int) -> str:
    return f"basis_{axis}"


def is_own(name: str) -> bool:
    """Whether this entry of a parameter's state is one of ours, a matrix of an axis."""
    return name.startswith(("gram_", "basis_"))


def _eigenvectors(C: Tensor, P: Tensor, damping: float) -> Tensor:
    """As rows, largest first, and those of P where C has no evidence."""
    kept = P.double().mT * torch.linspace(2, 1, len(C), dtype=torch.float64, device=C.device) @ P.double()
    S = C.double() + damping * C.double().diagonal().mean() * kept
    vectors: Tensor = torch.linalg.eigh(S).eigenvectors
    return vectors.flip(1).mT.contiguous().to(C.dtype)


def _iterate(C: Tensor, P: Tensor, damping: float) -> Tensor:
    """One step of orthogonal iteration from the rows of P (Algorithm 4)."""
    size = C.diagonal().sum() / len(C)
    # C may be as small as squared gradients are: scaled to trace n, it is far from where float32 ends.
    S = (C / size.clamp_min(torch.finfo(C.dtype).tiny)) @ P.mT
    if damping:
        S = S + damping * P.mT
    Q: Tensor = torch.linalg.qr(S).Q
    return Q.mT.contiguous()
