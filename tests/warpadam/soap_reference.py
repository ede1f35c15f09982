"""SOAP for one matrix, slow and in float64, written from the paper's Algorithms 3 and 4 (arXiv 2409.11321).

Here m stays in the original coordinates and v in the rotated ones, as printed. Columns of Q_L and Q_R are directions.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Soap:
    shape: tuple[int, int]
    lr: float = 3e-3
    betas: tuple[float, float] = (0.95, 0.95)
    eps: float = 1e-8
    every: int = 10
    skip_first: bool = False
    """As the authors' code: the first gradient only makes the first eigenvectors."""
    t: int = 0
    M: Tensor = field(init=False)
    V: Tensor = field(init=False)
    L: Tensor = field(init=False)
    R: Tensor = field(init=False)
    Q_L: Tensor = field(init=False)
    Q_R: Tensor = field(init=False)

    def __post_init__(self) -> None:
        m, n = self.shape
        self.M, self.V = torch.zeros(2, m, n, dtype=torch.float64)
        self.L, self.R = torch.zeros(m, m, dtype=torch.float64), torch.zeros(n, n, dtype=torch.float64)
        self.Q_L, self.Q_R = torch.eye(m, dtype=torch.float64), torch.eye(n, dtype=torch.float64)

    def step(self, W: Tensor, G: Tensor) -> Tensor:
        """W after this gradient."""
        if self.skip_first:
            self.skip_first = False
            self._see(G)
            self.Q_L, self.Q_R = _descending(self.L), _descending(self.R)
            return W
        beta1, beta2 = self.betas
        self.t += 1
        G_rotated = self.Q_L.T @ G @ self.Q_R
        self.M = beta1 * self.M + (1 - beta1) * G
        M_rotated = self.Q_L.T @ self.M @ self.Q_R
        self.V = beta2 * self.V + (1 - beta2) * G_rotated * G_rotated
        m_hat, v_hat = M_rotated / (1 - beta1**self.t), self.V / (1 - beta2**self.t)
        N = self.Q_L @ (m_hat / (v_hat.sqrt() + self.eps)) @ self.Q_R.T
        self._see(G)
        if self.t % self.every == 0:
            self.Q_L = torch.linalg.qr(self.L @ self.Q_L).Q
            self.Q_R = torch.linalg.qr(self.R @ self.Q_R).Q
        return W - self.lr * N

    def _see(self, G: Tensor) -> None:
        beta2 = self.betas[1]
        self.L = beta2 * self.L + (1 - beta2) * G @ G.T
        self.R = beta2 * self.R + (1 - beta2) * G.T @ G


def _descending(C: Tensor) -> Tensor:
    return torch.linalg.eigh(C).eigenvectors.flip(1)
