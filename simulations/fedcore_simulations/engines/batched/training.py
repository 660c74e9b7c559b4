"""Local training of many clients at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fedcore.algorithms.contract import Algorithm, LocalWork
from fedcore.errors import EngineError, FedcoreError
from fedcore.local_optimizer import build_optimizer
from fedcore.messages import TrainRequest, UpdateBlock
from fedcore.metrics import MetricColumns
from fedcore.plan import TrainingSection
from fedcore.schedules.learning_rate import learning_rate
from fedcore.seeding import derive_seeds
from fedcore.storage.large_vectors import rows_of
from fedcore_clients.training.device import lacks_memory
from fedcore_clients.training.local_model import Client, LocalModel
from fedcore_clients.training.train import loss_factors, public_size, train_locally
from fedcore_simulations.engines.batched.cohort_model import CohortModel
from fedcore_simulations.engines.batched.cohort_rows import CohortRows, Step, steps_of
from fedcore_simulations.engines.batched.device_request import DeviceRequest
from fedcore_simulations.engines.batched.device_steps import steps_on
from fedcore_simulations.engines.batched.population import Population
from fedcore_simulations.engines.batched.private import PrivateSteps
from fedcore_simulations.engines.failures import Failure, for_client

ELEMENTWISE = ("SGD", "Adam", "AdamW", "Adamax", "Adagrad", "Adadelta", "NAdam", "RAdam", "RMSprop", "Rprop")
"""Optimizers that treat each number by itself, so that a cohort's weights can be one parameter of them."""

Vectors = dict[str, Tensor]


class CohortTraining:
    """Trains clients of a population as `train_locally` trains each of them.

    Args:
        size: Clients at once, at most.

    Attributes:
        on_trial: Whether what fails is raised.
    """

    def __init__(self, local: LocalModel, clients: Sequence[Client], size: int) -> None:
        self._local, self._clients, self._population = local, clients, Population.of(clients)
        self.on_trial = False
        self._on_device = DeviceRequest(local.device)
        self._algorithm, self._training = local.exchange.algorithm, local.plan.training
        self._adjusts = type(self._algorithm).adjust is not Algorithm.adjust
        self._prepare(size)

    def _prepare(self, size: int) -> None:
        """Make room for so many clients."""
        local = self._local
        self._descends = is_plain(self._training) and not self._adjusts and local.privacy is None
        self._cohort = CohortModel(local, size, descends=self._descends)
        self._weights = self._cohort.weights
        self._private = PrivateSteps(local, local.privacy, self._cohort, self._population) if local.privacy else None
        if self._private is not None:
            self._private.try_blank_rows(size)

    def train(self, request: TrainRequest, clients: Sequence[int]) -> list[UpdateBlock | Failure]:
        """Updates of clients, given by their places in the population: a block in this order, and then failures.

        Where a pass over all of them fails, each is trained by itself, so that a client that fails costs only its own.

        Raises:
            EngineError: Memory ran out after noise was drawn.
            MemoryError: It ran out without noise, as this or as what `lacks_memory` knows; fewer clients may fit.
        """
        try:
            return [self._trained(request, clients)]
        except FedcoreError:
            raise
        except Exception as error:
            if self.on_trial or (lacks_memory(error) and self._private is None):
                raise
            if lacks_memory(error):
                raise EngineError(
                    f"memory ran out in round {request.round} after noise was drawn, which is never drawn anew; lower "
                    "training.max-physical-batch or engine.workers, or use a machine with more memory"
                ) from error
            alone = [for_client(train_locally, self._local, self._clients[client], request) for client in clients]
        blocks = [UpdateBlock.of(reply) for reply in alone if not isinstance(reply, Failure)]
        found: list[UpdateBlock | Failure] = [reply for reply in alone if isinstance(reply, Failure)]
        return [UpdateBlock.joined(blocks), *found] if blocks else found

    def _trained(self, request: TrainRequest, clients: Sequence[int]) -> UpdateBlock:
        order = self._ordered(clients)
        kept = [self._local.memory.recall(self._population.names[client], request) for client in order]
        placed, own = self._on_device.of(request), _stacked(kept, self._local.device)
        losses = self._run(placed, order, own)
        sent, keeps = self._finished(placed, order, own)
        block = _Block(self._local, request, self._population, order, losses)
        places = {client: row for row, client in enumerate(order)}
        return block.made(sent, keeps, kept, rows=[places[client] for client in clients])

    def _ordered(self, clients: Sequence[int]) -> Sequence[int]:
        """Who has no more rows drops out at the end."""
        return sorted(clients, key=lambda client: -self._population.sizes[client])

    def _run(self, request: TrainRequest, order: Sequence[int], kept: Vectors) -> Tensor:
        """Leave the trained weights in `_weights`; returns the sum of losses that each client met."""
        cohort, received, trained = self._cohort, request.parameters.buffer, self._local.parameters.layout.num_trained
        cohort.receive(received, len(order))
        stepping = _Stepping(self._local, cohort, len(order), request.round)
        vectors = {"received": received, **request.shared} if self._adjusts else {}
        shared = {name: vector[:trained] for name, vector in vectors.items()}
        own = {name: rows[:, :trained] for name, rows in kept.items()} if self._adjusts else {}
        met = torch.zeros(len(order), dtype=self._local.dtype, device=self._local.device)
        for _ in self._gradients(request, order, stepping, met):
            active = cohort.active
            if self._adjusts:
                given = {name: vector.expand(active, -1) for name, vector in shared.items()}
                mine = {name: rows[:active] for name, rows in own.items()}
                gradient, weights = cohort.gradient[:active], cohort.weights[:active, :trained]
                self._algorithm.adjust(gradient, weights, given.pop("received"), given, mine)
            if not self._descends:
                stepping.step()
        stepping.leave(0)
        cohort.finish(len(order))
        return met

    def _gradients(
        self, request: TrainRequest, order: Sequence[int], stepping: _Stepping, met: Tensor
    ) -> Iterator[None]:
        """Before each step, leave the gradients in the cohort; adds the losses that each client meets."""
        factors = loss_factors(self._local, self._population.rows, request)
        if self._private is not None:
            yield from self._private.steps(request, order, factors)
            return
        rate = learning_rate(self._local.plan, request.round)
        for step in self._steps(request, order):
            stepping.leave(len(step.rows))
            losses = self._losses(step, factors, rate)
            met[: len(step.rows)] += (losses if step.real is None else torch.where(step.real, losses, 0.0)).sum(1)
            yield

    def _losses(self, step: Step, factors: Tensor | None, rate: float) -> Tensor:
        """Loss of each row, shape ``(k, n)``; leaves the gradients of the clients' means."""
        rows, weights = step.rows.flatten(), step.weights.flatten()
        losses = self._local.task.loss(self._cohort.model, self._population.rows.batch(rows))
        weights = weights if factors is None else weights * factors[rows]
        self._cohort.backward(losses, weights, rate)
        return losses.detach().view(step.rows.shape)

    def _steps(self, request: TrainRequest, order: Sequence[int]) -> Iterator[Step]:
        starts, sizes = self._population.starts, self._population.sizes
        names, seed = [self._population.names[client] for client in order], self._local.plan.federation.seed
        return steps_on(
            self._local.device,
            CohortRows(
                [starts[client] for client in order],
                [sizes[client] for client in order],
                derive_seeds(seed, "order", request.round, request.attempt, names=names),
                epochs=self._training.local_epochs,
                batch_size=self._training.batch_size,
                dtype=self._local.dtype,
            ),
        )

    def _finished(self, request: TrainRequest, order: Sequence[int], kept: Vectors) -> tuple[Mapping[str, Any], Any]:
        """What the algorithm sends and keeps of each client; shape ``(k, d)``. It may have the weights' memory."""
        if type(self._algorithm).finish is Algorithm.finish:  # the same, without another block of memory
            return {"update": self._weights[: len(order)].sub_(request.parameters.buffer)}, {}
        sizes = [self._population.sizes[client] for client in order]
        steps = steps_of(sizes, epochs=self._training.local_epochs, batch_size=self._training.batch_size)
        if (privacy := self._local.privacy) is not None:
            steps = [privacy.steps_per_round] * len(sizes)
        work = LocalWork(
            steps=torch.tensor(steps, dtype=self._local.dtype).clamp(min=1).unsqueeze(1).to(self._local.device),
            learning_rate=learning_rate(self._local.plan, request.round),
            trained=self._local.parameters.layout.num_trained,
        )
        rows = len(order)
        received = request.parameters.buffer.expand(rows, -1)
        shared = {name: vector.expand(rows, -1) for name, vector in request.shared.items()}
        return self._algorithm.finish(self._weights[:rows], received, shared, kept, work)


def is_plain(training: TrainingSection) -> bool:
    """Whether a step is the gradient times the learning rate."""
    return training.optimizer == "SGD" and not training.optimizer_options


class _Stepping:
    """The clients' optimizer on the weights of all of them. Who has no more rows stays as it is."""

    def __init__(self, local: LocalModel, cohort: CohortModel, clients: int, round: int) -> None:
        self._cohort, self._trained, self._active = cohort, local.parameters.layout.num_trained, clients
        training = local.plan.training
        self._plain, self._rate = is_plain(training), learning_rate(local.plan, round)
        if not self._plain:
            weights = nn.Parameter(cohort.weights[:clients, : self._trained])
            weights.grad = cohort.gradient[:clients]
            self._optimizer = build_optimizer(local.plan, [weights], round=round)
            self._gone: list[tuple[slice, Tensor]] = []

    def leave(self, active: int) -> None:
        """From now on only the first clients are trained."""
        if active == self._active:
            return
        if not self._plain:
            gone = slice(active, self._active)
            self._gone.append((gone, self._cohort.weights[gone].clone()))
            self._cohort.gradient[gone] = 0.0
        self._active = active
        if active:
            self._cohort.activate(active)
        elif not self._plain:
            for gone, weights in self._gone:
                self._cohort.weights[gone] = weights

    def step(self) -> None:
        if self._plain:
            active = slice(0, self._active)
            self._cohort.weights[active, : self._trained].sub_(self._cohort.gradient[active], alpha=self._rate)
        else:
            self._optimizer.step()


class _Block:
    """From a cohort's vectors to its replies."""

    def __init__(
        self, local: LocalModel, request: TrainRequest, population: Population, order: Sequence[int], losses: Tensor
    ) -> None:
        self._local, self._request, self._epochs = local, request, local.plan.training.local_epochs
        self._names = [population.names[client] for client in order]
        self._sizes, self._losses = [population.sizes[client] for client in order], losses.tolist()

    def made(
        self, sent: Mapping[str, Tensor], keeps: Mapping[str, Tensor], kept: Sequence[Vectors], *, rows: list[int]
    ) -> UpdateBlock:
        if self._local.exchange.remembers or self._local.exchange.encodings:
            # Memory and encodings are the host's, row by row.
            sent, keeps = ({name: rows.cpu() for name, rows in each.items()} for each in (sent, keeps))
            values = _stacked([self._encoded(row, sent, keeps, kept[row]) for row in range(len(self._names))])
        else:
            values = dict(sent)
        if rows != list(range(len(rows))):
            values = {name: rows_of(vectors, rows) for name, vectors in values.items()}
        privacy = self._local.privacy
        seen = [float(self._sizes[row] * self._epochs) for row in rows]
        loss = MetricColumns(sums={"loss": [self._losses[row] for row in rows]}, counts={"loss": seen})
        return UpdateBlock(
            clients=tuple(self._names[row] for row in rows),
            round=self._request.round,
            values=values,
            num_examples=tuple(public_size(privacy, self._sizes[row]) for row in rows),
            metrics=MetricColumns() if privacy else loss,
            privacy_event=privacy.event(1) if privacy else None,
        )

    def _encoded(self, row: int, sent: Mapping[str, Tensor], keeps: Mapping[str, Tensor], before: Vectors) -> Vectors:
        """What travels of one client; what it keeps is stored."""
        local, own = self._local, {name: rows[row] for name, rows in sent.items()}
        seed, name = local.plan.federation.seed, self._names[row]
        values, remembered = local.codec.encode(own, before, client=name, round=self._request.round, seed=seed)
        after = {name: rows[row] for name, rows in keeps.items()} | remembered
        local.memory.keep(name, self._request, before=before, after=after)
        return values


def _stacked(rows: Sequence[Mapping[str, Tensor]], device: torch.device | None = None) -> Vectors:
    return {name: torch.stack([row[name] for row in rows]).to(device) for name in (rows[0] if rows else {})}
