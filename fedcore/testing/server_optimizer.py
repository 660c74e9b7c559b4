"""The tests that every server optimizer must pass; subclass `ServerOptimizerContract` in a test module of your own."""

from __future__ import annotations

import json

import torch
from torch import Tensor

from fedcore.parameters import State
from fedcore.server_optimizers.contract import ServerOptimizer

_SIZE = 7


class ServerOptimizerContract:
    """Set `make_optimizer`."""

    def make_optimizer(self) -> ServerOptimizer:
        """A new server optimizer."""
        raise NotImplementedError

    def test_a_zero_update_moves_no_model_at_the_start(self) -> None:
        step, _ = self.make_optimizer().step(torch.zeros(_SIZE, dtype=torch.float64), {})
        assert step.tolist() == [0.0] * _SIZE

    def test_steps_are_finite_vectors_of_the_models_size(self) -> None:
        steps, _ = self._run([_update(0), torch.zeros(_SIZE, dtype=torch.float64), 1e6 * _update(1)])
        for step in steps:
            assert step.shape == (_SIZE,)
            assert step.dtype == torch.float64
            assert bool(torch.isfinite(step).all())

    def test_the_same_updates_give_the_same_steps(self) -> None:
        updates = [_update(number) for number in range(3)]
        for one, other in zip(self._run(updates)[0], self._run(updates)[0], strict=True):
            assert torch.equal(one, other)

    def test_it_changes_neither_the_update_nor_the_state(self) -> None:
        _, state = self._run([_update(0)])
        update, before = _update(1), _stored(state)
        self.make_optimizer().step(update, state)
        assert torch.equal(update, _update(1))
        assert all(torch.equal(torch.as_tensor(state[name]), torch.as_tensor(before[name])) for name in before)

    def test_it_continues_from_a_checkpoint_as_if_never_stopped(self) -> None:
        _, state = self._run([_update(0), _update(1)])
        expected, _ = self.make_optimizer().step(_update(2), state)
        resumed, _ = self.make_optimizer().step(_update(2), _stored(state))
        assert torch.equal(resumed, expected)

    def _run(self, updates: list[Tensor]) -> tuple[list[Tensor], State]:
        optimizer, steps = self.make_optimizer(), []
        state: State = {}
        for update in updates:
            step, state = optimizer.step(update, state)
            steps.append(step.clone())
        return steps, state


def _update(seed: int) -> Tensor:
    return torch.randn(_SIZE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _stored(state: State) -> State:
    """The state as a checkpoint gives it back: tensors, and the rest through JSON."""
    return {
        name: value.clone() if isinstance(value, Tensor) else json.loads(json.dumps(value))
        for name, value in state.items()
    }
