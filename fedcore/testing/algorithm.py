"""The tests that every algorithm must pass; subclass `AlgorithmContract` in a test module of your own."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from fedcore.algorithms.contract import Algorithm, Cohort, LocalWork

_SIZE, _CLIENTS = 7, 3


class AlgorithmContract:
    """Set `make_algorithm`."""

    def make_algorithm(self) -> Algorithm:
        """A new algorithm."""
        raise NotImplementedError

    def test_update_is_among_what_it_sends(self) -> None:
        sends = self.make_algorithm().sends
        assert "update" in sends, f"sends must hold 'update', the change of the model; found {sends!r}"

    def test_it_sends_and_keeps_what_it_declares(self) -> None:
        algorithm = self.make_algorithm()
        sent, kept = _finished(algorithm, _vectors(algorithm, 0))
        sizes = algorithm.sizes_sent(_SIZE)
        assert set(sent) == set(sizes), f"finish must send {tuple(sizes)!r}; found {tuple(sent)!r}"
        assert set(kept) == set(algorithm.keeps), f"finish must keep {algorithm.keeps!r}; found {tuple(kept)!r}"
        for name, vector in {**sent, **kept}.items():
            size = sizes.get(name, _SIZE)
            assert vector.shape == (size,), f"{name!r} must have {size} elements; found shape {tuple(vector.shape)}"

    def test_it_adjusts_the_gradient_in_place(self) -> None:
        """A new gradient that is returned, or bound to the name, is lost."""
        algorithm, vectors = self.make_algorithm(), _vectors(self.make_algorithm(), 0)
        gradient = vectors["gradient"].clone()
        returned: object = _adjust(algorithm, gradient, vectors)
        assert returned is None, "adjust must change the gradient in place, such as with gradient.add_, and return None"
        changed = not torch.equal(gradient, vectors["gradient"])
        own = type(algorithm).adjust is not Algorithm.adjust
        assert changed or not own, "adjust left the gradient as it was; change it in place, such as with gradient.add_"

    def test_a_cohort_gives_what_its_clients_give_one_by_one(self) -> None:
        algorithm = self.make_algorithm()
        clients = [_vectors(algorithm, number) for number in range(_CLIENTS)]
        cohort = {name: torch.stack([client[name] for client in clients]) for name in clients[0]}
        together = _adjusted(algorithm, cohort), *_finished(algorithm, cohort, cohort=True)
        for number, client in enumerate(clients):
            alone = _adjusted(algorithm, client), *_finished(algorithm, client)
            _same(together[0][number], alone[0], "the gradient from adjust")
            for many, one in zip(together[1:], alone[1:], strict=True):
                for name in one:
                    _same(many[name][number], one[name], f"{name!r} from finish")

    def test_it_changes_nothing_but_the_gradient(self) -> None:
        algorithm, vectors = self.make_algorithm(), _vectors(self.make_algorithm(), 0)
        before = {name: vector.clone() for name, vector in vectors.items()}
        _adjusted(algorithm, vectors)
        _finished(algorithm, vectors)
        for name, vector in before.items():
            assert torch.equal(vectors[name], vector), f"adjust and finish must not change {name!r} in place"

    def test_its_state_has_what_it_shares_and_can_be_stored(self) -> None:
        algorithm = self.make_algorithm()
        state = algorithm.start(_SIZE)
        direction, after = algorithm.step(_mean(algorithm), state, Cohort(counted=2, clients=4))
        found = f"found {direction.dtype} of shape {tuple(direction.shape)}"
        assert (direction.shape, direction.dtype) == ((_SIZE,), torch.float64), (
            f"the direction from step must be float64 of the model's size; {found}"
        )
        for part, each in (("start", state), ("step", after)):
            missing = set(algorithm.shares) - set(each)
            assert not missing, f"the state from {part} must hold what shares names; it lacks {sorted(missing)}"
            _check_json({name: value for name, value in each.items() if not isinstance(value, Tensor)}, part)
        _check_json(algorithm.report(after), "report")

    def test_without_updates_a_model_that_stands_still_stays_finite(self) -> None:
        algorithm = self.make_algorithm()
        nothing = {name: torch.zeros(size, dtype=torch.float64) for name, size in algorithm.sizes_sent(_SIZE).items()}
        direction, _ = algorithm.step(nothing, algorithm.start(_SIZE), Cohort(counted=0, clients=4))
        assert bool(torch.isfinite(direction).all()), "without updates the direction from step must be finite"

    def test_it_stands_to_each_privacy_unit(self) -> None:
        for unit in ("record", "client"):
            why = self.make_algorithm().refusal(unit)
            assert why is None or why, (
                f"refusal({unit!r}) must be None where the unit holds, or a reason; found {why!r}"
            )


def _vectors(algorithm: Algorithm, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    names = ("gradient", "weights", "received", *algorithm.shares, *algorithm.keeps)
    return {name: torch.randn(_SIZE, generator=generator, dtype=torch.float64) for name in names}


def _mean(algorithm: Algorithm) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(9)
    sizes = algorithm.sizes_sent(_SIZE)
    return {name: torch.randn(size, generator=generator, dtype=torch.float64) for name, size in sizes.items()}


def _adjusted(algorithm: Algorithm, vectors: Mapping[str, Tensor]) -> Tensor:
    gradient = vectors["gradient"].clone()
    _adjust(algorithm, gradient, vectors)
    return gradient


def _adjust(algorithm: Algorithm, gradient: Tensor, vectors: Mapping[str, Tensor]) -> object:
    shared = {name: vectors[name] for name in algorithm.shares}
    kept = {name: vectors[name] for name in algorithm.keeps}
    adjust: Callable[..., object] = algorithm.adjust
    return adjust(gradient, vectors["weights"], vectors["received"], shared, kept)


def _same(found: Tensor, expected: Tensor, what: str) -> None:
    torch.testing.assert_close(
        found, expected, msg=lambda why: f"{what} must be the same for a cohort (k, d) and for each client alone\n{why}"
    )


def _check_json(values: Mapping[str, object], part: str) -> None:
    try:
        json.dumps(values)
    except TypeError as error:
        raise AssertionError(f"{part} must return tensors and plain JSON values only: {error}") from error


def _finished(
    algorithm: Algorithm, vectors: Mapping[str, Tensor], *, cohort: bool = False
) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
    steps = torch.full((_CLIENTS, 1), 5.0, dtype=torch.float64) if cohort else 5
    shared = {name: vectors[name] for name in algorithm.shares}
    kept = {name: vectors[name] for name in algorithm.keeps}
    work = LocalWork(steps=steps, learning_rate=0.1)
    return algorithm.finish(vectors["weights"], vectors["received"], shared, kept, work)
