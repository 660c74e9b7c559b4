"""Record-level privacy, audited with the code that trains."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from fedcore.data.examples import Examples
from fedcore.errors import PrivacyError
from fedcore.messages import TrainRequest
from fedcore.parameters import Layout, Parameters
from fedcore.plan import RunPlan
from fedcore.privacy.isolation import Level
from fedcore.privacy.plan import PrivacyPlan
from fedcore.schedules.learning_rate import planned_rate
from fedcore.task import Task
from fedcore_clients.training.dp.probe import isolation_of
from fedcore_clients.training.local_model import Client, LocalModel
from fedcore_clients.training.train import train_locally
from fedcore_simulations.privacy_audit.bare_probe import NEXT_TO_NONE, Bare, longest_of
from fedcore_simulations.privacy_audit.canary_task import CanaryTask, blank, loudest, with_canaries
from fedcore_simulations.privacy_audit.client_level import PLAIN_METHOD
from fedcore_simulations.privacy_audit.releases import CanaryRun, Silence

_HEAD = "head.weight"
_GAIN = 10.0
_SILENT_ROUNDS = 3  # each as large as the model, for each of two clients
_BARE_ROUNDS = 40
_LOUD_ROWS, _LOUD_GAIN = 5, 1e6
_AUDITED, _OTHER = "audited", "another"


class RecordLevelSubject:
    """One client of a plan, trained for all of its rounds on rows that the audit chooses.

    The client's own code runs as in any round. Its optimizer is plain SGD, whatever the plan says: the optimizer is
    post-processing, and with SGD the released gradients can be read off the weights.

    Args:
        plan: Resolved, with unit ``record``.
        examples: The client's training rows.
    """

    def __init__(self, task: Task, plan: RunPlan, examples: Examples, *, num_canaries: int) -> None:
        privacy = PrivacyPlan.from_run_plan(plan)
        if privacy is None:
            raise PrivacyError("an audit of record-level privacy needs a plan with unit record")
        self.privacy, self.num_canaries = privacy, num_canaries
        plain: dict[str, Any] = {
            "optimizer": "SGD",
            "optimizer-options": {},
            "schedule": None,
            "device": "cpu",
            "precision": "float64",
        }
        # The canaries go the way that the run's own records go.
        apart = isolation_of(task, task.build_model(), examples, plan, torch.device("cpu")).level is Level.ISOLATED
        way = {"isolation": "isolated" if apart else "probed"}
        self._plan = plan.updated(training=plain, privacy=way, **PLAIN_METHOD)
        self._step = planned_rate(plan)
        self._examples = examples
        self._task = CanaryTask(task, num_canaries)
        self._local = LocalModel(self._task, self._plan, torch.device("cpu"))

    @property
    def layout(self) -> Layout:
        return self._local.parameters.layout

    def canary_run(self, coins: Tensor) -> CanaryRun:
        """Train once with those canaries whose coin is true; a canary is counted ``Binomial(steps, rate)`` times."""
        rows = with_canaries(self._examples, coins, gain=_GAIN * self.privacy.clip_norm)
        released = sum(self._releases(rows), torch.zeros(self.layout.size, dtype=torch.float64))
        return CanaryRun(scores=self._head(released))

    def silence(self) -> Silence:
        """Train two clients for the first rounds on blank records only, in turn: they must not share their noise."""
        rows = blank(self._examples)
        both = zip(self._releases(rows, _AUDITED), self._releases(rows, _OTHER), strict=True)
        rounds = [each[: self.layout.num_trained] for pair in islice(both, _SILENT_ROUNDS) for each in pair]
        released = torch.stack(rounds)
        return Silence(rounds=released / (self.privacy.noise_std * math.sqrt(self.privacy.steps_per_round)))

    def bare(self) -> Bare:
        """Train almost without noise: how often each canary is counted, and how long one record over all layers is."""
        quiet = self._plan.updated(privacy={"noise-multiplier": NEXT_TO_NONE})
        rows = with_canaries(
            self._examples, torch.ones(self.num_canaries, dtype=torch.bool), gain=_GAIN * self.privacy.clip_norm
        )
        both = zip(self._releases(rows, _AUDITED, plan=quiet), self._releases(rows, _OTHER, plan=quiet), strict=True)
        heads = [[self._head(each) for each in pair] for pair in islice(both, _BARE_ROUNDS)]
        return Bare(
            counts=torch.stack([torch.stack(pair) for pair in heads], dim=1).round(),
            steps=self.privacy.steps_per_round,
            rate=self.privacy.sampling_rate,
            longest=longest_of(torch.stack(list(self._loud(quiet))), self.privacy.clip_norm),
            slack=self._slack(),
        )

    def _head(self, released: Tensor) -> Tensor:
        return Parameters(released, self.layout)[_HEAD].flatten()[1:] / -self.privacy.clip_norm

    def _slack(self) -> float:
        """Rounding of weights from whose difference a sum is read, in clip norms."""
        weights = Parameters.from_model(self._task.build_model(), self._local.dtype)
        per_number = torch.finfo(torch.float64).eps * self.privacy.nominal_batch / self._step / self.privacy.clip_norm
        return per_number * (weights.norm() + math.sqrt(self.layout.size))

    def _loud(self, quiet: RunPlan) -> Iterator[Tensor]:
        """One step's release for a single record, for a few records."""
        once = quiet.updated(privacy={"sampling-rate": 1.0, "steps-per-round": 1}, federation={"rounds": 1})
        for row in torch.linspace(0, len(self._examples) - 1, min(_LOUD_ROWS, len(self._examples))).long().tolist():
            rows = loudest(self._examples, row, gain=_LOUD_GAIN * self.privacy.clip_norm)
            yield next(self._releases(rows, _AUDITED, plan=once))

    def _releases(self, examples: Examples, name: str = _AUDITED, *, plan: RunPlan | None = None) -> Iterator[Tensor]:
        """Each round's released sum, before the public divisor."""
        local = self._local if plan is None else LocalModel(self._task, plan, torch.device("cpu"))
        client = Client(name=name, training=examples, held_out=None).to(dtype=local.dtype, device=local.device)
        current = Parameters.from_model(self._task.build_model(), local.dtype)
        for number in range(1, local.plan.federation.rounds + 1):
            request = TrainRequest(round=number, attempt=0, cohort=(name,), parameters=current)
            difference = train_locally(local, client, request).values["update"]
            yield difference.to(torch.float64) * (self.privacy.nominal_batch / self._step)
            current = Parameters(current.buffer + difference, current.layout)
