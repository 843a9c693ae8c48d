"""Threads that have a task each."""

import threading

import pytest
import torch

from fastgs.runtime import threads


@pytest.fixture(autouse=True)
def two_threads():
    """Let kernels have two threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_apply_keeps_the_order_and_gives_each_call_one_thread():
    def work(number: int) -> tuple[int, int, int]:
        return number, threads.num_threads(), torch.get_num_threads()

    assert threads.apply(work, range(9)) == [(number, 1, 1) for number in range(9)]
    assert threads.apply(work, []) == []
    assert (threads.num_threads(), torch.get_num_threads()) == (2, 2)


def test_apply_calls_in_several_threads_at_once():
    both = threading.Barrier(2, timeout=30)
    assert threads.apply(lambda _: both.wait() >= 0, range(2)) == [True, True]


def test_an_error_ends_what_is_not_begun():
    begun = []

    def work(number: int) -> None:
        begun.append(number)
        raise ValueError(f"item {number}")

    with pytest.raises(ValueError, match=r"^item [01]$"):
        threads.apply(work, range(100))
    assert len(begun) <= 2
