"""Client-level privacy, audited with the code that closes a round."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from fedcore.errors import PrivacyError
from fedcore.messages import ClientUpdate, TrainRequest
from fedcore.parameters import Layout, Parameters
from fedcore.plan import RunPlan
from fedcore.privacy.central import CentralPrivacy
from fedcore_server.aggregation.private_mean import clip_norm_of
from fedcore_server.rounds.rounds import close_round, plan_round
from fedcore_server.rounds.state import ServerState
from fedcore_simulations.privacy_audit.bare_probe import NEXT_TO_NONE, Bare, longest_of
from fedcore_simulations.privacy_audit.releases import NO_COUNTS, CanaryRun, Silence

_GAIN = 10.0
_SILENT_ROUNDS = 100
_TENSORS = 4
_JUST_WITHIN = 1.0 - 1e-12  # of the clip norm, so that rounding cannot put it above

PLAIN_METHOD: dict[str, dict[str, Any]] = {
    "algorithm": {"name": "fedavg", "options": {}},
    "aggregation": {"encode": []},
}
"""The promise is about clipped sums and their noise, whatever the algorithm and the encodings make of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Round:
    """A round's release, in units of its clip norm, and the error of its count."""

    mean: Tensor
    count_error: float


class ClientLevelSubject:
    """A federation of canary clients: each moves a coordinate of its own, or is blank and sends zeros.

    The server's own functions plan and close all of the plan's rounds; the server optimizer is plain averaging. Where
    the clip norm follows the updates it does so here too, and a canary moves the count beside the sum by as much as any
    client can: it is just within the clip norm where that has grown, and far above it where it has shrunk, which keeps
    it where the plan began. The canaries' scores show the sum only, since they share one count; the true count is
    known, and so its noise.

    Args:
        plan: Resolved, with unit ``client``.
    """

    def __init__(self, plan: RunPlan, *, num_canaries: int) -> None:
        privacy = CentralPrivacy.from_run_plan(plan)
        if privacy is None:
            raise PrivacyError("an audit of client-level privacy needs a plan with unit client")
        self.privacy, self.num_canaries = privacy, num_canaries
        plain: dict[str, Any] = {
            "server-optimizer": "sgd",
            "server-learning-rate": 1.0,
            "averaging": 0.0,
            "quorum": 1,
        }
        if privacy.sampling_rate == 1.0:  # the promise covers a client that is asked in every round
            plain |= {"cohort-size": None, "clients": int(privacy.cohort)}
        self._plan = plan.updated(federation=plain, training={"precision": "float64"}, **PLAIN_METHOD)
        sizes = [len(part) for part in torch.arange(num_canaries).chunk(_TENSORS)]
        names = tuple(f"canaries-{index}" for index in range(len(sizes)))
        self.layout = Layout(names, tuple((size,) for size in sizes), num_canaries)
        self._names = [f"canary-{index:06d}" for index in range(num_canaries)]

    def canary_run(self, coins: Tensor) -> CanaryRun:
        rounds = list(self._rounds(self._names, coins, self.privacy.rounds))
        scores = torch.stack([each.mean for each in rounds]).sum(0) * self.privacy.cohort
        return CanaryRun(scores=scores, counts=self._counts(rounds))

    def silence(self) -> Silence:
        """Run rounds in which one client is available and sends zeros."""
        silent = list(self._rounds(self._names[:1], torch.zeros(self.num_canaries, dtype=torch.bool), _SILENT_ROUNDS))
        promised = self.privacy.update_noise_multiplier / self.privacy.cohort
        return Silence(rounds=torch.stack([each.mean for each in silent]) / promised, counts=self._counts(silent))

    def bare(self) -> Bare:
        """Close one round almost without noise, with one client whose update is too long in every tensor."""
        plan = self._plan.updated(privacy={"noise-multiplier": NEXT_TO_NONE, "clip-quantile": None})
        state = ServerState(round=0, parameters=self._origin())
        request = plan_round(state, plan, [self._names[0]])
        loud = torch.full((self.num_canaries,), _GAIN * self.privacy.clip_norm).double()
        update = ClientUpdate(client=self._names[0], round=request.round, values={"update": loud}, num_examples=None)
        after, _ = close_round(state, plan, request, iter([update] if request.cohort else []))
        released = after.parameters.buffer[None] * self.privacy.cohort
        return Bare(counts=NO_COUNTS, steps=1, rate=1.0, longest=longest_of(released, self.privacy.clip_norm))

    def _origin(self) -> Parameters:
        return Parameters(torch.zeros(self.num_canaries, dtype=torch.float64), self.layout)

    def _rounds(self, available: list[str], coins: Tensor, rounds: int) -> Iterator[_Round]:
        origin = self._origin()
        state = ServerState(round=0, parameters=origin)
        for _ in range(rounds):
            clip_norm = clip_norm_of(self.privacy, state.part("aggregation"))
            request = plan_round(state, self._plan, available)
            within = clip_norm > self.privacy.clip_norm
            length = clip_norm * (_JUST_WITHIN if within else _GAIN)
            asked = set(request.cohort)
            present = [coin and name in asked for name, coin in zip(self._names, coins.tolist(), strict=True)]
            true_count = sum(present) * (0.5 if within else -0.5)
            state, _ = close_round(state, self._plan, request, self._updates(request, present, length))
            yield _Round(
                mean=state.parameters.buffer / clip_norm,
                count_error=self._noisy_count(clip_norm, state) - true_count,
            )
            state = replace(state, parameters=origin)  # so that a round differs from earlier ones

    def _updates(self, request: TrainRequest, present: list[bool], length: float) -> Iterator[ClientUpdate]:
        asked = set(request.cohort)
        for index, name in enumerate(self._names):
            if name in asked:
                update = torch.zeros(self.num_canaries, dtype=torch.float64)
                update[index] = length if present[index] else 0.0
                yield ClientUpdate(client=name, round=request.round, values={"update": update}, num_examples=None)

    def _noisy_count(self, clip_norm: float, after: ServerState) -> float:
        return self.privacy.noisy_count(clip_norm, clip_norm_of(self.privacy, after.part("aggregation")))

    def _counts(self, rounds: list[_Round]) -> Tensor:
        if self.privacy.quantile is None:
            return NO_COUNTS
        errors = torch.tensor([each.count_error for each in rounds], dtype=torch.float64)
        return errors / self.privacy.count_noise_std
