"""Batches are a function of (data, seed, step); shares of a batch make up the batch; validation is all of it."""

import numpy as np
import pytest
import torch

from workers.tasks.data import Batches, Share, Split, batches

CPU = torch.device("cpu")


def rows(count: int = 10, val: int = 5) -> Split:
    x = np.arange(count, dtype=np.float32)[:, None]
    x_val = np.arange(val, dtype=np.float32)[:, None]
    return Split(x, x * 2, x_val, x_val * 2)


def text(count: int = 100, val: int = 23) -> Split:
    data = np.arange(count, dtype=np.uint8)
    return Split(data, np.empty(0), np.arange(val, dtype=np.uint8), np.empty(0))


def table(split: Split, size: int, seed: int = 0, share: Share | None = None) -> Batches:
    return batches("regression", split, context=None, batch_size=size, seed=seed, device=CPU, share=share)


def windows(split: Split, size: int = 4, seed: int = 0, share: Share | None = None) -> Batches:
    return batches("language_modeling", split, context=8, batch_size=size, seed=seed, device=CPU, share=share)


def test_an_epoch_sees_each_row_once_and_batches_span_epochs() -> None:
    found = torch.cat([table(rows(), 4).train(step)[0] for step in range(5)]).flatten().tolist()
    assert sorted(found[:10]) == sorted(found[10:]) == list(range(10))
    assert found[:10] != found[10:]


def test_a_batch_larger_than_the_data_repeats_it() -> None:
    x, y = table(rows(3), 7).train(0)
    assert len(x) == 7
    assert torch.equal(y, x * 2)


@pytest.mark.parametrize("make", [lambda seed: table(rows(), 4, seed), lambda seed: windows(text(), 4, seed)])
def test_a_step_has_the_same_batch_in_any_order_of_asking(make) -> None:  # type: ignore[no-untyped-def]
    first, second = make(7), make(7)
    later = second.train(9)[0]
    assert torch.equal(first.train(3)[0], second.train(3)[0])
    assert torch.equal(first.train(9)[0], later)
    assert not torch.equal(make(8).train(3)[0], first.train(3)[0])


@pytest.mark.parametrize("world", [2, 3, 5])
def test_shares_make_up_the_batch_and_the_validation_part(world: int) -> None:
    for make, whole in (
        (lambda s: table(rows(), 4, 0, s), table(rows(), 4)),
        (lambda s: windows(text(), 4, 0, s), windows(text())),
    ):
        shares = [make(Share(rank, world)) for rank in range(world)]
        assert torch.equal(torch.cat([share.train(2)[0] for share in shares]), whole.train(2)[0])
        seen = sorted(value for share in shares for _, y in share.validation() for value in y.flatten().tolist())
        assert seen == sorted(value for _, y in whole.validation() for value in y.flatten().tolist())
        assert all(share.targets_per_batch == whole.targets_per_batch for share in shares)


def test_text_targets_are_the_next_bytes() -> None:
    x, y = windows(text()).train(0)
    assert x.shape == y.shape == (4, 8)
    assert x.dtype == torch.int64
    assert torch.equal(x + 1, y)


def test_text_validation_predicts_every_byte_but_the_first_once() -> None:
    predicted = [value for _, y in windows(text()).validation() for value in y.flatten().tolist()]
    assert predicted == list(range(1, 23))


def test_text_can_be_one_window_long_and_not_shorter() -> None:
    assert windows(text(9)).train(0)[0].shape == (4, 8)
    with pytest.raises(ValueError, match="use more text"):
        windows(text(8))


def test_a_language_model_needs_a_context() -> None:
    with pytest.raises(ValueError, match="transformer"):
        batches("language_modeling", text(), context=None, batch_size=1, seed=0, device=CPU)


def test_read_only_arrays_are_copied() -> None:
    split = rows()
    split.x_train.flags.writeable = False
    assert len(table(split, 4).train(0)[0]) == 4
