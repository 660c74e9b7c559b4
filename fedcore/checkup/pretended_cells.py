"""Kernels that only devices have: cells of recurrent layers, by the equations of ``nn.LSTM`` and ``GRU``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def _lstm_cell(
    given: Tensor, hidden: Tensor, state: Tensor, given_bias: Tensor | None = None, hidden_bias: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    gates = given + hidden if given_bias is None or hidden_bias is None else given + given_bias + hidden + hidden_bias
    first, forget, cell, last = gates.chunk(4, 1)
    first, forget, cell, last = first.sigmoid(), forget.sigmoid(), cell.tanh(), last.sigmoid()
    new = forget * state + first * cell
    return last * new.tanh(), new, torch.cat([first, forget, cell, last], 1)


def _lstm_cell_backward(  # noqa: PLR0917  (the operation's own arguments)
    output_gradient: Tensor | None,
    state_gradient: Tensor | None,
    old: Tensor,
    new: Tensor,
    kept: Tensor,
    has_bias: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    first, forget, cell, last = kept.chunk(4, 1)
    upper = torch.zeros_like(new) if output_gradient is None else output_gradient
    through = upper * last * (1 - new.tanh().square())
    through = through if state_gradient is None else through + state_gradient
    gates = torch.cat(
        [
            through * cell * first * (1 - first),
            through * old * forget * (1 - forget),
            through * first * (1 - cell.square()),
            upper * new.tanh() * last * (1 - last),
        ],
        1,
    )
    return gates, through * forget, gates.sum(0) if has_bias else None


def _gru_cell(
    given: Tensor, hidden: Tensor, state: Tensor, given_bias: Tensor | None = None, hidden_bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    given = given if given_bias is None else given + given_bias
    hidden = hidden if hidden_bias is None else hidden + hidden_bias
    (reset_in, update_in, new_in), (reset_on, update_on, new_on) = given.chunk(3, 1), hidden.chunk(3, 1)
    reset, update = (reset_in + reset_on).sigmoid(), (update_in + update_on).sigmoid()
    new = (new_in + reset * new_on).tanh()
    return new + update * (state - new), torch.cat([reset, update, new, state, new_on], 1)


def _gru_cell_backward(gradient: Tensor, kept: Tensor, has_bias: bool) -> tuple[Tensor | None, ...]:
    reset, update, new, state, new_on = kept.chunk(5, 1)
    into_new = gradient * (1 - update) * (1 - new.square())
    into_update = gradient * (state - new) * update * (1 - update)
    into_reset = into_new * new_on * reset * (1 - reset)
    given = torch.cat([into_reset, into_update, into_new], 1)
    hidden = torch.cat([into_reset, into_update, into_new * reset], 1)
    biases = (given.sum(0), hidden.sum(0)) if has_bias else (None, None)
    return given, hidden, gradient * update, *biases


CELLS: dict[str, Callable[..., Any]] = {
    "_thnn_fused_lstm_cell": _lstm_cell,
    "_thnn_fused_lstm_cell_backward_impl": _lstm_cell_backward,
    "_thnn_fused_gru_cell": _gru_cell,
    "_thnn_fused_gru_cell_backward": _gru_cell_backward,
}
"""By the name of the operation."""
