import pytest
import torch

from tests.warpadam.matrices import positive_diagonal, rotation
from warpadam import Warp, WarpAdam
from warpadam.reflector import Reflector

P = torch.from_numpy(rotation(40))


@pytest.mark.parametrize("directions", [1, 8, 40])
def test_it_takes_the_first_rows_of_p_to_the_first_unit_vectors(directions: int) -> None:
    Q = Reflector.of(P, directions).dense()
    assert (Q @ Q.T - torch.eye(40)).abs().max() < 1e-5
    images = Q @ P[:directions].T
    assert torch.allclose(images.abs(), torch.eye(40, directions), atol=1e-5)


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("keys", [(None, "a:40"), ("a:40", None), ("a:40", "a:40")], ids=str)
def test_it_turns_as_its_dense_form(keys: tuple[str | None, ...], transpose: bool) -> None:
    short = Warp({"a:40": P}).reflected(8)
    dense = Warp(short.matrices)
    G = torch.randn(40, 40, generator=torch.Generator().manual_seed(0))
    one, other = (w.apply_transpose(G, keys) if transpose else w.apply(G, keys) for w in (short, dense))
    assert torch.allclose(one, other, atol=1e-5)


def test_the_optimizer_steps_as_with_the_dense_form_and_changes_to_it() -> None:
    short = Warp({"a:40": P}).reflected(8)
    results = []
    for warp in (short, Warp(short.matrices)):
        params = [torch.ones(3, 40, requires_grad=True) for _ in range(2)]
        axes = {"0": (None, "a:40"), "1": (None, "a:40")}
        optimizer = WarpAdam(zip("01", params, strict=True), warp=warp, axes=axes, lr=0.01)
        for seed in range(6):
            for param in params:
                param.grad = torch.randn(3, 40, generator=torch.Generator().manual_seed(seed))
            optimizer.step()
            if seed == 3:
                optimizer.change_warp(Warp({"a:40": P}))
        results.append(params[1])
    assert torch.allclose(*results, atol=1e-5)


def test_only_axes_where_it_is_cheaper_and_that_are_asked_for() -> None:
    whole = Warp({"a:40": P, "b:12": rotation(12), "c:40": rotation(40, 1)})
    short = whole.reflected(8, keys=["a:40", "b:12"])
    assert short.nbytes == 4 * (40 * 8 + 8 * 8 + 12 * 12 + 40 * 40)
    assert torch.equal(short.matrices["b:12"], whole.matrices["b:12"])
    assert torch.equal(short.matrices["c:40"], whole.matrices["c:40"])
    assert short.is_orthogonal
    assert Warp.from_bytes(short.to_bytes()).digest == short.digest


def test_a_p_that_is_not_orthogonal_and_a_bad_count_are_refused() -> None:
    with pytest.raises(ValueError, match="orthogonal, and this P is not"):
        Warp({"a:40": positive_diagonal(40)}).reflected(4)
    with pytest.raises(ValueError, match="directions must be from 1 to 40"):
        Reflector.of(P, 0)
