"""The tests that every algorithm must pass; subclass `AlgorithmContract` in a test module of your own."""

from __future__ import annotations

import json
from collections.abc import Mapping

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
        assert "update" in self.make_algorithm().sends

    def test_it_sends_and_keeps_what_it_declares(self) -> None:
        algorithm = self.make_algorithm()
        sent, kept = _finished(algorithm, _vectors(algorithm, 0))
        assert set(sent) == set(algorithm.sends)
        assert set(kept) == set(algorithm.keeps)
        assert all(vector.shape == (_SIZE,) for vector in (*sent.values(), *kept.values()))

    def test_a_cohort_gives_what_its_clients_give_one_by_one(self) -> None:
        algorithm = self.make_algorithm()
        clients = [_vectors(algorithm, number) for number in range(_CLIENTS)]
        cohort = {name: torch.stack([client[name] for client in clients]) for name in clients[0]}
        together = _adjusted(algorithm, cohort), *_finished(algorithm, cohort, cohort=True)
        for number, client in enumerate(clients):
            alone = _adjusted(algorithm, client), *_finished(algorithm, client)
            torch.testing.assert_close(together[0][number], alone[0])
            for many, one in zip(together[1:], alone[1:], strict=True):
                for name in one:
                    torch.testing.assert_close(many[name][number], one[name])

    def test_it_changes_nothing_but_the_gradient(self) -> None:
        algorithm, vectors = self.make_algorithm(), _vectors(self.make_algorithm(), 0)
        before = {name: vector.clone() for name, vector in vectors.items()}
        _adjusted(algorithm, vectors)
        _finished(algorithm, vectors)
        assert all(torch.equal(vectors[name], vector) for name, vector in before.items())

    def test_its_state_has_what_it_shares_and_can_be_stored(self) -> None:
        algorithm = self.make_algorithm()
        state = algorithm.start(_SIZE)
        direction, after = algorithm.step(_mean(algorithm), state, Cohort(counted=2, clients=4))
        assert direction.shape == (_SIZE,)
        assert direction.dtype == torch.float64
        for each in (state, after):
            assert set(algorithm.shares) <= set(each)
            json.dumps({name: value for name, value in each.items() if not isinstance(value, Tensor)})
        json.dumps(algorithm.report(after))

    def test_without_updates_a_model_that_stands_still_stays_finite(self) -> None:
        algorithm = self.make_algorithm()
        nothing = {name: torch.zeros(_SIZE, dtype=torch.float64) for name in algorithm.sends}
        direction, _ = algorithm.step(nothing, algorithm.start(_SIZE), Cohort(counted=0, clients=4))
        assert bool(torch.isfinite(direction).all())

    def test_it_stands_to_each_privacy_unit(self) -> None:
        for unit in ("record", "client"):
            why = self.make_algorithm().refusal(unit)
            assert why is None or why


def _vectors(algorithm: Algorithm, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    names = ("gradient", "weights", "received", *algorithm.shares, *algorithm.keeps)
    return {name: torch.randn(_SIZE, generator=generator, dtype=torch.float64) for name in names}


def _mean(algorithm: Algorithm) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(9)
    return {name: torch.randn(_SIZE, generator=generator, dtype=torch.float64) for name in algorithm.sends}


def _adjusted(algorithm: Algorithm, vectors: Mapping[str, Tensor]) -> Tensor:
    gradient = vectors["gradient"].clone()
    shared = {name: vectors[name] for name in algorithm.shares}
    kept = {name: vectors[name] for name in algorithm.keeps}
    algorithm.adjust(gradient, vectors["weights"], vectors["received"], shared, kept)
    return gradient


def _finished(
    algorithm: Algorithm, vectors: Mapping[str, Tensor], *, cohort: bool = False
) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
    steps = torch.full((_CLIENTS, 1), 5.0, dtype=torch.float64) if cohort else 5
    shared = {name: vectors[name] for name in algorithm.shares}
    kept = {name: vectors[name] for name in algorithm.keeps}
    work = LocalWork(steps=steps, learning_rate=0.1)
    return algorithm.finish(vectors["weights"], vectors["received"], shared, kept, work)
