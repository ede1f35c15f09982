"""Whose an error is to mend."""

import pickle

import pytest
import torch

from workers.failures import BadInputError, Cause, NotFiniteError, WorkersLostError, classify


def torch_shape_error() -> RuntimeError:
    with pytest.raises(RuntimeError) as caught:
        torch.ones(2, 3) @ torch.ones(4, 5)
    return caught.value


def torch_range_error() -> RuntimeError:
    with pytest.raises(RuntimeError) as caught:
        torch.ones(2).add_(torch.ones(2), alpha=1e39)
    return caught.value


def test_what_the_description_causes_is_the_users() -> None:
    torchs = (torch_shape_error(), torch_range_error())
    for error in (ValueError("x"), NotFiniteError("x"), BadInputError("x"), MemoryError(), *torchs):
        cause = classify(error)
        assert cause.category == "user", error
        assert not cause.retryable


def test_the_rest_is_the_infrastructures_and_is_tried_again() -> None:
    for error in (OSError("disk"), RuntimeError("Connection closed by peer"), WorkersLostError("x"), KeyError("x")):
        cause = classify(error)
        assert cause.category == "infrastructure", error
        assert cause.retryable


def test_a_lost_worker_is_told_in_our_words() -> None:
    error = RuntimeError("[/pytorch/third_party/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]")
    assert "worker of the group was lost" in classify(error).message


def test_running_out_of_memory_says_what_to_do() -> None:
    assert "batch_size" in classify(torch.OutOfMemoryError("CUDA out of memory")).message


def test_running_out_of_memory_on_the_cpu_is_the_users_too() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**55)
    assert classify(caught.value).code == "out_of_memory"


def test_messages_are_one_line() -> None:
    assert classify(OSError("first\nsecond")) == Cause("infrastructure", "worker_failed", "OSError: first")


def test_failures_cross_processes() -> None:
    assert classify(pickle.loads(pickle.dumps(NotFiniteError("diverged")))) == NotFiniteError("diverged").cause
