"""DP-SGD of many clients at once: what `fedcore_clients.training.train` does for each of them, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fedcore.errors import FedcoreError, PrivacyError
from fedcore.messages import TrainRequest
from fedcore.privacy.isolation import Level
from fedcore.privacy.mechanisms import clip_factors, poisson_batch, release
from fedcore.privacy.noise import Randomness
from fedcore.privacy.plan import NoiseKind, PrivacyPlan
from fedcore_clients.training.device import is_out_of_memory, lacks_memory
from fedcore_clients.training.dp.full_precision import full_precision, refuse_settings
from fedcore_clients.training.dp.ghost import GhostGradients
from fedcore_clients.training.dp.ghost_rules import Rule, rule_of
from fedcore_clients.training.dp.per_example import record_losses
from fedcore_clients.training.dp.rows_at_once import RowsAtOnce
from fedcore_clients.training.dp.rowwise import RowwiseTask
from fedcore_clients.training.local_model import Client, LocalModel
from fedcore_clients.training.train import client_randomness
from fedcore_simulations.engines.batched.cohort_model import CohortModel
from fedcore_simulations.engines.batched.population import Population


def why_not_private(model: nn.Module, rowwise: RowwiseTask, client: Client) -> str | None:
    """Why a pass over many clients cannot keep records apart, or would not pay; ``None`` where it can."""
    if any(isinstance(layer, nn.Conv1d | nn.Conv2d) for layer in model.modules()):
        return "record-level privacy with convolutions, which cost more over batches that are filled up to one length"
    found = rowwise.isolation(client.training.batch(slice(0, 1)))
    if found.level is Level.PROVEN:
        return None
    return f"record-level privacy, and that records stay apart is not proven of this model and loss ({found.why})"


class PrivateSteps:
    """Releases the steps of a cohort's clients, each into its row of the cohort's gradient.

    Guarantee:
        Each client's steps are those of `PrivacyPlan`: a record is drawn by its own client, its gradient over the
        weights of that client is clipped, the sum holds the records of that client alone, and each number of each sum
        has noise of its own. Noise and batches that are secret come from one key stream for all, whose numbers are
        independent; those of a test from each client's own stream, as in `train_locally`.
    """

    def __init__(self, local: LocalModel, privacy: PrivacyPlan, cohort: CohortModel, population: Population) -> None:
        self._local, self._privacy, self._cohort, self._population = local, privacy, cohort, population
        rules: dict[nn.Module, Rule] = {}
        for layer, module in cohort.layers:
            rule = rule_of(module)
            if rule is None:
                raise PrivacyError(f"{type(module).__name__} has no rule for gradients of records")
            layer.leaves_gradients = False
            rules[layer] = partial(_by, rule, module)
        self._ghost = GhostGradients(cohort.trained, rules)
        self._rows_at_once = RowsAtOnce(local.plan.training.max_physical_batch, local.device)
        self._fails: dict[int, bool] = {}  # rows whose gradient cannot be computed; the weights do not matter to that

    def steps(self, request: TrainRequest, order: Sequence[int], factors: Tensor | None) -> Iterator[None]:
        """Before each step of the optimizer, leave what is released in the cohort's gradient.

        Args:
            order: Places of the clients in the population.
            factors: Weight of the loss of each row of the population.
        """
        drawn = self._randomness(request, order)
        for _ in range(self._privacy.steps_per_round):
            batches = self._batches(drawn, order)
            released = self._cohort.gradient[: len(order)]
            self._release(self._clipped_sums(batches, order, factors), drawn, released)
            yield

    def _randomness(self, request: TrainRequest, order: Sequence[int]) -> list[Randomness]:
        """One for each client, or one for all."""
        names = [self._population.names[client] for client in order]
        if self._privacy.noise is NoiseKind.SECURE:
            names = names[:1]
        return [client_randomness(self._local, "train", request.round, request.attempt, name) for name in names]

    def _batches(self, drawn: Sequence[Randomness], order: Sequence[int]) -> list[Tensor]:
        """Each client's rows of the population for one step."""
        sizes = [self._population.sizes[client] for client in order]
        if len(drawn) == len(order):
            found = [poisson_batch(size, self._privacy, own) for size, own in zip(sizes, drawn, strict=True)]
        else:
            chosen = poisson_batch(sum(sizes), self._privacy, drawn[0])
            ends = torch.tensor(sizes).cumsum(0)
            counts = torch.bincount(torch.searchsorted(ends, chosen, right=True), minlength=len(sizes))
            before = (ends - torch.tensor(sizes)).tolist()
            found = [own - start for own, start in zip(torch.split(chosen, counts.tolist()), before, strict=True)]
        return [own + self._population.starts[client] for own, client in zip(found, order, strict=True)]

    def _clipped_sums(self, batches: Sequence[Tensor], order: Sequence[int], factors: Tensor | None) -> Tensor:
        """Of each client; float64, shape ``(k, t)``. In several passes where batches are large."""
        refuse_settings(self._local.device)
        total = torch.zeros_like(self._cohort.gradient[: len(order)], dtype=torch.float64)
        longest = max(len(batch) for batch in batches)

        def summed(most: int) -> Tensor:
            total.zero_()
            for start in range(0, longest, most):
                part = [batch[start : start + most] for batch in batches]
                rows = torch.nn.utils.rnn.pad_sequence(part, batch_first=True, padding_value=-1)
                total.add_(self._sums_of_good(rows, factors))
            return total

        return self._rows_at_once.run(longest, summed)

    def try_blank_rows(self, clients: int) -> None:
        """A pass over a blank row of each client, before anything is drawn: memory must suffice for it.

        What was drawn is never drawn anew for want of memory: small batches would then be likelier than they are
        accounted for. Later passes that do not fit have fewer rows of the same batches.
        """
        self._cohort.activate(clients)
        try:
            self._sums(torch.full((clients, 1), -1), None)
        except Exception as error:
            if lacks_memory(error):
                raise
            # A model that cannot compute a blank row is trained by the client, as any row that fails.

    def _sums_of_good(self, rows: Tensor, factors: Tensor | None) -> Tensor:
        """As `_sums`; a row that fails adds zero, and moves no other by another size of the batch."""
        try:
            return self._sums(rows, factors)
        except FedcoreError:
            raise
        except Exception as error:
            if rows.shape[1] > 1 and is_out_of_memory(error):
                raise  # to be tried again with fewer rows at once
            for place, row in enumerate(rows.flatten().tolist()):
                if row >= 0 and row not in self._fails:
                    alone = torch.full_like(rows, -1)
                    alone.view(-1)[place] = row
                    self._fails[row] = not self._works(alone, factors)
            bad = torch.tensor([row for row, fails in self._fails.items() if fails], dtype=torch.int64)
            return self._sums(torch.where(torch.isin(rows, bad), -1, rows), factors)

    def _works(self, rows: Tensor, factors: Tensor | None) -> bool:
        try:
            self._sums(rows, factors)
        except FedcoreError:
            raise
        except Exception:
            return False
        return True

    def _sums(self, rows: Tensor, factors: Tensor | None) -> Tensor:
        """Clipped sums over rows of shape ``(k, n)``; where a row is -1, a blank one stands in and adds zero."""
        rows = rows.flatten().to(self._local.device)
        absent, places = rows < 0, rows.clamp(min=0)
        batch = self._population.rows.batch(places)
        for column in batch.values():  # a blank row can be computed, and shows nothing of any client
            column.masked_fill_(absent.view(-1, *(1,) * (column.dim() - 1)), 0)
        weights = None if factors is None else factors[places].masked_fill(absent, 1.0)
        model, dtype = self._cohort.model, self._local.dtype
        with full_precision():
            found = self._ghost.contributions(
                lambda: record_losses(self._local.task, model, batch, weights, dtype), len(rows)
            )
            clipping = clip_factors(found.squared_norms, self._privacy.clip_norm).masked_fill(absent, 0.0)
            return found.sums_of_groups(clipping, self._cohort.active)

    def _release(self, sums: Tensor, drawn: Sequence[Randomness], out: Tensor) -> None:
        if len(drawn) < len(sums):
            release(sums.view(-1), self._privacy, drawn[0], out=out.view(-1))
            return
        for own, randomness, row in zip(sums, drawn, out, strict=True):
            release(own, self._privacy, randomness, out=row)


def _by(rule: Callable[..., Any], module: Any, layer: object, calls: list[Any]) -> Any:
    """A layer's rule, with the settings of the module whose place it has taken."""
    return rule(module, calls)
