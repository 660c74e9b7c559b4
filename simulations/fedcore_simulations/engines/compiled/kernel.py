"""Mini-batch descent of perceptrons under cross-entropy, compiled by numba.

A client's weights and a batch stay in the innermost cache, where a tensor operation would fetch them anew for each of
its products. Products are unrolled so that one load serves several of them.
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp, log, tanh
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]
RELU, TANH = 0, 1
_SETTINGS: dict[str, Any] = {
    "fastmath": {"contract", "reassoc", "nsz", "arcp"},  # a NaN stays one, so a diverged client shows as in torch
    "error_model": "numpy",
    "nogil": True,
}


def _compiled(**settings: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile at the first call, and keep the code on disk where any folder can be written."""

    def compile(function: Callable[..., Any]) -> Any:
        try:
            return njit(cache=True, **_SETTINGS, **settings)(function)
        except RuntimeError:  # as in a container without a home: each process compiles anew
            return njit(**_SETTINGS, **settings)(function)

    return compile


@_compiled()
def train(
    received: Array,
    sizes: Array,
    kinds: Array,
    inputs: Array,
    targets: Array,
    starts: Array,
    rows: Array,
    orders: Array,
    batch_size: int,
    rate: float,
    trained: Array,
    losses: Array,
) -> None:
    """Train some clients, each from the received weights.

    Args:
        received: Shape ``(d,)``: of each layer the weight ``(outputs, inputs)``, then the bias.
        sizes: Widths of the inputs and of each layer's outputs.
        kinds: Activation after each layer but the last: `RELU` or `TANH`.
        inputs: Of all clients; shape ``(n, features)``.
        targets: Classes of all rows, each below the last size; shape ``(n,)``.
        starts: First row of each client; shape ``(k,)``.
        rows: Number of rows of each; shape ``(k,)``.
        orders: Each client's order of its rows in each epoch; shape ``(k, epochs, most rows)``.
        rate: In the type of the weights.
        trained: Where the weights are left; shape ``(k, d)``.
        losses: Where each client's sum of losses is left; shape ``(k,)``.
    """
    layers, widest = len(sizes) - 1, sizes.max()
    values = np.empty((layers + 1, batch_size * widest), received.dtype)
    gradients = np.empty((2, batch_size * widest), received.dtype)
    classes = np.empty(batch_size, np.int64)
    for client in range(len(starts)):
        weights = trained[client]
        weights[:] = received
        met = 0.0
        for epoch in range(orders.shape[1]):
            for start in range(0, rows[client], batch_size):
                count = min(batch_size, rows[client] - start)
                batch = values[0, : count * sizes[0]].reshape(count, sizes[0])
                for place in range(count):
                    row = starts[client] + orders[client, epoch, start + place]
                    batch[place] = inputs[row]
                    classes[place] = targets[row]
                _predict(values, weights, sizes, kinds, count)
                logits = values[layers, : count * sizes[layers]].reshape(count, sizes[layers])
                met += _losses(logits, classes)
                _descend(values, gradients, weights, sizes, kinds, count, rate)
        losses[client] = met


@_compiled()
def _predict(values: Array, weights: Array, sizes: Array, kinds: Array, count: int) -> None:
    """Leave each layer's outputs in `values`, from the batch in its first row."""
    at, layers = 0, len(sizes) - 1
    for layer in range(layers):
        before, after = sizes[layer], sizes[layer + 1]
        end = at + before * after
        out = values[layer + 1, : count * after].reshape(count, after)
        given = values[layer, : count * before].reshape(count, before)
        _apply(out, given, weights[at:end].reshape(after, before), weights[end : end + after])
        if layer < layers - 1:
            _activate(values[layer + 1], count * after, kinds[layer])
        at = end + after


@_compiled()
def _descend(
    values: Array, gradients: Array, weights: Array, sizes: Array, kinds: Array, count: int, rate: float
) -> None:
    """A step, from the gradient of the mean loss by the logits, which is in the last row of `values`."""
    at, layers = len(weights), len(sizes) - 1
    gradient = values[layers, : count * sizes[layers]].reshape(count, sizes[layers])
    for layer in range(layers - 1, -1, -1):
        before, after = sizes[layer], sizes[layer + 1]
        at -= (before + 1) * after
        end = at + before * after
        weight, bias = weights[at:end].reshape(after, before), weights[end : end + after]
        given = values[layer, : count * before].reshape(count, before)
        earlier = gradients[layer % 2, : count * before].reshape(count, before)
        if layer > 0:
            _apply_back(earlier, gradient, weight)
            _activate_back(gradients[layer % 2], values[layer], count * before, kinds[layer - 1])
        _step(weight, bias, given, gradient, rate)
        gradient = earlier


@_compiled()
def _losses(logits: Array, classes: Array) -> float:
    """The sum of cross-entropies; leaves the gradient of their mean in the place of the logits."""
    count, width = logits.shape
    met, one = 0.0, logits.dtype.type(1)
    for place in range(count):
        own, target = logits[place], classes[place]
        top = own[0]
        for column in range(1, width):
            top = max(top, own[column])
        true, total = own[target] - top, logits.dtype.type(0)
        for column in range(width):
            own[column] = exp(own[column] - top)
            total += own[column]
        met += log(total) - true
        share = one / (total * count)
        for column in range(width):
            own[column] *= share
        own[target] -= one / count
    return met


@_compiled()
def _apply(out: Array, given: Array, weight: Array, bias: Array) -> None:
    """``out = given @ weight.T + bias``; two rows and four outputs at a time."""
    count, width = out.shape
    even, most = count - count % 2, width - width % 4
    for row in range(0, even, 2):
        for column in range(0, most, 4):
            _eight(out[row], out[row + 1], given[row], given[row + 1], weight, bias, column)
        for column in range(most, width):
            out[row, column] = bias[column] + _product(given[row], weight[column])
            out[row + 1, column] = bias[column] + _product(given[row + 1], weight[column])
    for row in range(even, count):
        for column in range(width):
            out[row, column] = bias[column] + _product(given[row], weight[column])


@_compiled(inline="always")
def _eight(out: Array, below: Array, one: Array, two: Array, weight: Array, bias: Array, c: int) -> None:
    w0, w1, w2, w3 = weight[c], weight[c + 1], weight[c + 2], weight[c + 3]
    a0, a1, a2, a3 = bias[c], bias[c + 1], bias[c + 2], bias[c + 3]
    b0, b1, b2, b3 = a0, a1, a2, a3
    for i in range(len(one)):
        x, y = one[i], two[i]
        a0 += x * w0[i]
        a1 += x * w1[i]
        a2 += x * w2[i]
        a3 += x * w3[i]
        b0 += y * w0[i]
        b1 += y * w1[i]
        b2 += y * w2[i]
        b3 += y * w3[i]
    out[c], out[c + 1], out[c + 2], out[c + 3] = a0, a1, a2, a3
    below[c], below[c + 1], below[c + 2], below[c + 3] = b0, b1, b2, b3


@_compiled(inline="always")
def _product(one: Array, two: Array) -> Any:
    total = one.dtype.type(0)
    for i in range(len(one)):
        total += one[i] * two[i]
    return total


@_compiled()
def _apply_back(out: Array, gradient: Array, weight: Array) -> None:
    """``out = gradient @ weight``; four outputs of the layer at a time."""
    count, width = gradient.shape
    most = width - width % 4
    for row in range(count):
        own, slopes = out[row], gradient[row]
        own[:] = 0
        for c in range(0, most, 4):
            g0, g1, g2, g3 = slopes[c], slopes[c + 1], slopes[c + 2], slopes[c + 3]
            w0, w1, w2, w3 = weight[c], weight[c + 1], weight[c + 2], weight[c + 3]
            for i in range(len(own)):
                own[i] += g0 * w0[i] + g1 * w1[i] + g2 * w2[i] + g3 * w3[i]
        for c in range(most, width):
            _add(own, weight[c], slopes[c])


@_compiled()
def _step(weight: Array, bias: Array, given: Array, gradient: Array, rate: float) -> None:
    """``weight -= rate * gradient.T @ given``; five rows of the batch at a time."""
    count, width = gradient.shape
    most = count - count % 5
    for c in range(width):
        own = weight[c]
        for r in range(0, most, 5):
            g0, g1, g2 = rate * gradient[r, c], rate * gradient[r + 1, c], rate * gradient[r + 2, c]
            g3, g4 = rate * gradient[r + 3, c], rate * gradient[r + 4, c]
            x0, x1, x2, x3, x4 = given[r], given[r + 1], given[r + 2], given[r + 3], given[r + 4]
            for i in range(len(own)):
                own[i] -= g0 * x0[i] + g1 * x1[i] + g2 * x2[i] + g3 * x3[i] + g4 * x4[i]
            bias[c] -= g0 + g1 + g2 + g3 + g4
        for r in range(most, count):
            _add(own, given[r], -rate * gradient[r, c])
            bias[c] -= rate * gradient[r, c]


@_compiled(inline="always")
def _add(to: Array, row: Array, factor: float) -> None:
    for i in range(len(to)):
        to[i] += factor * row[i]


@_compiled()
def _activate(values: Array, count: int, kind: int) -> None:
    zero = values.dtype.type(0)
    if kind == TANH:
        for i in range(count):
            values[i] = tanh(values[i])
    else:
        for i in range(count):
            value = values[i]
            values[i] = zero if value <= zero else value


@_compiled()
def _activate_back(gradient: Array, values: Array, count: int, kind: int) -> None:
    """From the gradient by the values that an activation has left to that by those it was given."""
    zero, one = values.dtype.type(0), values.dtype.type(1)
    if kind == TANH:
        for i in range(count):
            gradient[i] *= one - values[i] * values[i]
    else:
        for i in range(count):
            slope = gradient[i]
            gradient[i] = zero if values[i] <= zero else slope
