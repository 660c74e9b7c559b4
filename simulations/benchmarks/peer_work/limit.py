"""The least time of a client-round: its arithmetic, at the rate of a large matrix product or convolution."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from peer_work.models import MODELS
from peer_work.works import WORKS, Work, sizes_of

_SIDE, _IMAGES = 1024, 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A rate, and what it makes of a work.

    Attributes:
        milliseconds: Of one client-round's multiplications and additions at that rate, on one thread.
    """

    flops_per_second: float
    milliseconds: float


def limit_of(name: str) -> Limit:
    """Measured anew at each call, so that it stands in the same minute as the round it is compared with."""
    work = WORKS[name]
    rate = _convolution_rate() if work.model in {"convolutions", "blazefl"} else _product_rate()
    return Limit(flops_per_second=rate, milliseconds=1e3 * flops_of(work) / rate)


def flops_of(work: Work) -> float:
    """Of a mean client-round: forward and backward passes over all rows of all epochs, in a bare model."""
    model = MODELS[work.model]()
    shape = (work.batch, *work.inputs)
    inputs = torch.randint(0, work.words, shape) if work.words else torch.randn(shape)
    with FlopCounterMode(display=False) as counter:
        functional.cross_entropy(model(inputs), torch.zeros(work.batch, dtype=torch.int64)).backward()  # type: ignore[no-untyped-call]
    rows = float(sizes_of(work).mean()) * work.epochs
    return float(counter.get_total_flops()) / work.batch * rows


def _product_rate() -> float:
    one, other = torch.randn(_SIDE, _SIDE), torch.randn(_SIDE, _SIDE)
    return 2 * _SIDE**3 / _best(lambda: one @ other)


def _convolution_rate() -> float:
    """The better of a matrix product and a convolution of 64 channels."""
    images = torch.randn(_IMAGES, 64, 28, 28).to(memory_format=torch.channels_last)
    filters = torch.randn(64, 64, 3, 3).to(memory_format=torch.channels_last)
    flops = 2 * _IMAGES * 26 * 26 * 64 * 64 * 9
    return max(_product_rate(), flops / _best(lambda: functional.conv2d(images, filters)))


def _best(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(7):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)
