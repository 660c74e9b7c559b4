"""Client-level privacy, audited through the very code that closes a round."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fedcore.errors import PrivacyError
from fedcore.messages import ClientUpdate
from fedcore.parameters import Layout, Parameters
from fedcore.plan import RunPlan
from fedcore.privacy.central import CentralPrivacy
from fedcore_server.rounds import close_round, plan_round
from fedcore_server.state import ServerState

_GAIN = 10.0


class ClientLevelSubject:
    """A federation of canary clients: each pushes a coordinate of its own, or sends nothing at all.

    The server's own functions plan and close all of the plan's rounds. The clip norm is fixed at the plan's first one:
    an adaptive one would follow the canaries, which are no usual clients. The server optimizer is plain averaging.

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
            "server-momentum": 0.0,
            "server-learning-rate": 1.0,
            "averaging": 0.0,
            "transforms": [],
            "quorum": 1,
        }
        if privacy.sampling_rate == 1.0:
            plain["cohort-size"] = None  # the promise covers a client that is asked in every round
        self._plan = plan.updated(federation=plain, privacy={"clip-quantile": None}, training={"precision": "float64"})
        self.layout = Layout(("canaries",), ((num_canaries,),), num_canaries)

    def canary_scores(self, coins: Tensor) -> Tensor:
        """Run all rounds with those canaries whose coin is true; see `RecordLevelSubject.canary_scores`."""
        return self._released(coins, rounds=self.privacy.rounds) / self.privacy.clip_norm

    def noise(self) -> Tensor:
        """What one round without any client's update releases, in units of the promised standard deviation."""
        silence = torch.zeros(self.num_canaries, dtype=torch.bool)
        promised = self.privacy.noise_multiplier * self.privacy.clip_norm
        return self._released(silence, rounds=1) / promised

    def _released(self, coins: Tensor, *, rounds: int) -> Tensor:
        """Sum of what the rounds released, before the public divisor."""
        names = [f"canary-{index:06d}" for index in range(self.num_canaries)]
        zeros = torch.zeros(self.num_canaries, dtype=torch.float64)
        state = ServerState(round=0, parameters=Parameters(zeros, self.layout))
        for _ in range(rounds):
            request = plan_round(state, self._plan, names)
            asked = set(request.cohort)
            updates = (
                self._update(names[index], state.round + 1, index, request.parameters)
                for index in torch.nonzero(coins).flatten().tolist()
                if names[index] in asked
            )
            state, report = close_round(state, self._plan, request, updates)
            if not report.committed:  # no coin fell: as an empty cohort
                empty = plan_round(state, self._plan, [])
                state, _ = close_round(state, self._plan, empty, iter(()))
        return state.parameters.buffer * self.privacy.cohort

    def _update(self, name: str, round: int, index: int, like: Parameters) -> ClientUpdate:
        difference = torch.zeros_like(like.buffer)
        difference[index] = _GAIN * self.privacy.clip_norm
        return ClientUpdate(client=name, round=round, difference=Parameters(difference, self.layout), num_examples=None)
