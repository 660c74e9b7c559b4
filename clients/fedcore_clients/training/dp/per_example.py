"""Clipped sums of every record's gradient: in one pass where the layers allow it, by Opacus' hooks otherwise.

Of Opacus only the hooks are used. `PrivacyEngine.make_private` derives sampling rate, divisor and number of
steps from the data set, which voids the guarantee that it reports; here all three are the plan's.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from fedcore.data.examples import Batch
from fedcore.errors import PrivacyError
from fedcore.privacy.mechanisms import clip_factors, clipped_sum
from fedcore.task import Task
from fedcore_clients.training.device import has_float64, is_of_the_device
from fedcore_clients.training.dp.full_precision import full_precision, refuse_narrow, refuse_settings
from fedcore_clients.training.dp.ghost import Contributions, GhostGradients, NotCoveredError, written_contributions
from fedcore_clients.training.dp.ghost_rules import rules_of
from fedcore_clients.training.dp.row_outputs import halves, num_rows, raise_unless_of_the_row
from fedcore_clients.training.dp.rows_at_once import RowsAtOnce
from fedcore_clients.training.dp.rowwise import RowwiseTask

_log = logging.getLogger("fedcore.client")

_MOST_GRADIENT_NUMBERS = 2**26
"""Numbers of isolated gradients that are written down at once: 256 MB of float32."""


class PerExampleGradients:
    """Computes clipped sums of per-record gradients of one model.

    Where rows are isolated, each gradient comes from its row alone. Otherwise the model's layers decide the way once:
    `ghost` where every layer with trainable parameters has a rule, else Opacus' hooks. A model that calls a layer in an
    unforeseen way (packed sequences, rows in another than the first dimension) changes to the hooks for good when it is
    first met.

    Args:
        model: May get forward hooks; its names and its state dictionary stay unchanged.
        max_physical_batch: Rows per pass.
        rowwise: Says whether rows are isolated; without it they are not.
    """

    def __init__(
        self,
        task: Task,
        model: nn.Module,
        *,
        max_physical_batch: int,
        rowwise: RowwiseTask | None = None,
    ) -> None:
        self._task = task
        self._model = model
        self._trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        device = self._trained[0].device
        self._rows_at_once = RowsAtOnce(max_physical_batch, device)
        self._warned = False
        self._rowwise = rowwise
        self._sum_device = device if has_float64(device) else torch.device("cpu")  # sums are formed in float64
        rules = rules_of(model) if self._sum_device == device else None
        self._ghost = GhostGradients(self._trained, rules) if rules else None
        self._hooks: object = None

    @property
    def one_pass(self) -> bool:
        return self._ghost is not None

    def clipped_sum(
        self, batch: Batch, clip_norm: float, factors: Tensor | None = None, *, out: Tensor | None = None
    ) -> Tensor:
        """Sum of the clipped gradients of the rows of `batch`.

        Guarantee:
            A row contributes at most `clip_norm` in Euclidean norm, up to float64 rounding, and exactly zero where
            its gradient is not finite or cannot be computed: no row makes the sum of the others fail. What is
            computed in a narrower type than the parameters' cannot be computed.

        Args:
            batch: Any number of rows, also 0.
            factors: Weight of each row's loss, applied before clipping, shape ``(n,)``.
            out: Where to write the result; new by default, which for large models costs more than the sum.

        Returns:
            `out`: flat over the trainable parameters, float64; zeros for an empty batch.

        Raises:
            PrivacyError: The process or the environment lowers the precision of all computation.
            DeviceError: The device has too little memory for a single row.
        """
        refuse_settings(self._trained[0].device)
        total = self.zeros() if out is None else out
        most = self._most_rows(batch)  # before anything is tried: it may refuse

        def summed(rows_at_once: int) -> Tensor:
            total.zero_()
            at_once = min(rows_at_once, most)
            for start in range(0, num_rows(batch), at_once):
                rows = slice(start, start + at_once)
                part = {name: column[rows] for name, column in batch.items()}
                self._add_clipped(part, clip_norm, None if factors is None else factors[rows], total)
            return total

        return self._rows_at_once.run(min(num_rows(batch), most), summed)

    def zeros(self) -> Tensor:
        """Float64, on the device where sums are formed."""
        size = sum(parameter.numel() for parameter in self._trained)
        return torch.zeros(size, dtype=torch.float64, device=self._sum_device)

    def _add_clipped(self, batch: Batch, clip_norm: float, factors: Tensor | None, total: Tensor) -> None:
        """Add the clipped sum of the rows of a pass; where they fail together, without those that fail alone."""
        try:
            add = self._clipped(batch, clip_norm, factors)
        except Exception as error:
            if num_rows(batch) > 1 and is_of_the_device(error) and not isinstance(error, MemoryError):
                raise  # to be tried again with fewer rows at once
            fails = self._fail_alone(batch, clip_norm, factors)
            if bool(fails.all()):
                return
            add = self._without(fails, batch, clip_norm, factors)
        add(total)

    def _without(
        self, fails: Tensor, batch: Batch, clip_norm: float, factors: Tensor | None
    ) -> Callable[[Tensor], object]:
        try:
            return self._clipped(_replaced(batch, fails), clip_norm, factors, ~fails)
        except Exception:  # of rows that fail only together, as they do where a model mixes rows: each by itself
            alone = [
                self._clipped(
                    {name: column[[row]] for name, column in batch.items()},
                    clip_norm,
                    None if factors is None else factors[[row]],
                )
                for row in (~fails).nonzero().flatten().tolist()
            ]
            return lambda total: [add(total) for add in alone]

    def _clipped(
        self, batch: Batch, clip_norm: float, factors: Tensor | None, counted: Tensor | None = None
    ) -> Callable[[Tensor], object]:
        """A function that adds the clipped sum of these rows, or of those counted, to a total; no row makes it fail."""
        with full_precision():
            found = self._contributions(batch, factors)
            if found is None:
                gradients = self._gradients(batch, factors)
                if counted is not None:
                    left_out = (~counted).nonzero().flatten().to(gradients[0].device)
                    gradients = [each.index_fill(0, left_out, 0.0) for each in gradients]
                summed = clipped_sum(gradients, clip_norm)
                return lambda total: total.add_(summed)
        weights = clip_factors(found.squared_norms, clip_norm)
        weights = weights if counted is None else weights * counted.to(weights.device)
        return lambda total: found.add_weighted_sum(weights, total)

    def _fail_alone(self, batch: Batch, clip_norm: float, factors: Tensor | None) -> Tensor:
        """Which rows fail by themselves, shape ``(n,)``; found by halves."""
        try:
            self._clipped(batch, clip_norm, factors)
        except Exception as error:
            if num_rows(batch) > 1:
                parts = (None, None) if factors is None else factors.tensor_split([num_rows(batch) // 2])
                pairs = zip(halves(batch), parts, strict=True)
                return torch.cat([self._fail_alone(half, clip_norm, its_factors) for half, its_factors in pairs])
            raise_unless_of_the_row(error, batch, lambda blank: self._clipped(blank, clip_norm, factors))
            if not self._warned:
                _log.warning("a record's gradient cannot be computed (%s); such count as zero", type(error).__name__)
            self._warned = True
            return torch.ones(1, dtype=torch.bool)
        return torch.zeros(num_rows(batch), dtype=torch.bool)

    def contributions(self, batch: Batch, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Contributions of some rows of a batch to its sum before clipping, as training computes them.

        Returns:
            Their gradients, shape ``(len(rows), parameters)``, and their squared norms, float64.
        """
        found = self._contributions(batch)
        if found is None:
            flat = torch.cat([gradient[list(rows)].reshape(len(rows), -1) for gradient in self._gradients(batch)], 1)
            return flat, flat.to(torch.float64).square().sum(1)
        alone = torch.eye(num_rows(batch), dtype=torch.float64, device=found.squared_norms.device)[list(rows)]
        gradients = torch.zeros((len(rows), len(self.zeros())), dtype=torch.float64, device=alone.device)
        for row, gradient in zip(alone, gradients, strict=True):
            found.add_weighted_sum(row, gradient)
        return gradients, found.squared_norms[list(rows)]

    def norms(self, batch: Batch) -> Tensor:
        """Euclidean norms of the rows' gradients before clipping, float64, shape ``(n,)``."""
        found = self._contributions(batch)
        if found is not None:
            return found.squared_norms.sqrt()
        squares = [each.reshape(len(each), -1).double().square().sum(1) for each in self._gradients(batch)]
        return torch.stack(squares).sum(0).sqrt()

    def _losses(self, batch: Batch, factors: Tensor | None) -> Tensor:
        return record_losses(self._task, self._model, batch, factors, self._trained[0].dtype)

    def _contributions(self, batch: Batch, factors: Tensor | None = None) -> Contributions | None:
        """The rows' gradients, each from its row alone or by one pass; ``None`` where the model does not allow it."""
        if self._rowwise is not None and self._is_isolated(batch):
            written = self._rowwise.gradients(batch, factors)
            return written_contributions(self._trained, [each.to(self._sum_device) for each in written])
        if self._ghost is None:
            return None
        try:
            return self._ghost.contributions(lambda: self._losses(batch, factors), num_rows(batch))
        except NotCoveredError:
            self._ghost = None
            return None

    def _gradients(self, batch: Batch, factors: Tensor | None = None) -> list[Tensor]:
        """Per-record gradients by hooks, of shape ``(n, *parameter shape)`` for each trainable parameter."""
        if self._hooks is None:  # not before: tracing a row's operations knows no hooks
            self._hooks = _attach_hooks(self._model)
        _forget(self._model)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Full backward hook is firing")
            self._losses(batch, factors).sum().backward()  # type: ignore[no-untyped-call]
        return [self._take(parameter, num_rows(batch)) for parameter in self._trained]

    def _take(self, parameter: nn.Parameter, size: int) -> Tensor:
        """Remove a parameter's per-record gradients from it and return them."""
        gradient = getattr(parameter, "grad_sample", None)
        parameter.grad_sample = None  # type: ignore[attr-defined]
        if gradient is None:
            return torch.zeros((size, *parameter.shape), dtype=parameter.dtype, device=self._sum_device)
        if isinstance(gradient, list):
            gradient = torch.stack(gradient).sum(0)
        if gradient.shape != (size, *parameter.shape):
            raise PrivacyError(
                f"a parameter of shape {tuple(parameter.shape)} has per-record gradients of shape "
                f"{tuple(gradient.shape)} for {size} records; its layer mixes records"
            )
        return gradient.detach().to(self._sum_device)

    def _is_isolated(self, batch: Batch) -> bool:
        if self._rowwise is None:
            return False
        self._rowwise.demand(batch)
        return self._rowwise.is_isolated(batch)

    def _most_rows(self, batch: Batch) -> int:
        """All rows; fewer where gradients are materialised and the model is large."""
        rows = max(1, num_rows(batch))
        if not self._is_isolated(batch):
            return rows
        size = sum(parameter.numel() for parameter in self._trained)
        return max(1, min(rows, _MOST_GRADIENT_NUMBERS // size))


def _replaced(batch: Batch, fails: Tensor) -> Batch:
    """The same number of rows, with the first good one in the place of those that fail.

    A batch of another size would round the gradients of all its rows in another way, so that the row that fails would
    move them.
    """
    places = torch.where(fails, int((~fails).nonzero()[0]), torch.arange(len(fails)))
    return {name: column[places.to(column.device)] for name, column in batch.items()}


def record_losses(task: Task, model: nn.Module, batch: Batch, factors: Tensor | None, dtype: torch.dtype) -> Tensor:
    """The weighted loss of each record, shape ``(n,)``.

    Raises:
        PrivacyError: It has another shape, or is partly computed in a narrower type than the parameters' `dtype`.
    """
    losses = task.loss(model, batch)
    n = num_rows(batch)
    if losses.shape != (n,):  # a column times a row of factors would weigh each record by all of them
        raise PrivacyError(f"the task's loss has shape {tuple(losses.shape)} for {n} records; expected one number each")
    refuse_narrow(losses, dtype)
    return losses if factors is None else losses * factors


def _forget(model: nn.Module) -> None:
    for parameter in model.parameters():
        parameter.grad_sample, parameter._forward_counter = None, 0  # type: ignore[attr-defined]
        if hasattr(parameter, "_current_grad_sample"):
            del parameter._current_grad_sample
    for module in model.modules():
        if hasattr(module, "activations"):
            module.activations = []  # type: ignore[assignment]
        if hasattr(module, "max_batch_len"):
            del module.max_batch_len


def _attach_hooks(model: nn.Module) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from opacus.grad_sample import GradSampleHooks

    logging.getLogger("opacus").setLevel(logging.ERROR)
    # Not strict: Opacus refuses every buffer, constant ones too; fedcore.privacy.linter refuses the harmful ones.
    return GradSampleHooks(model, batch_first=True, loss_reduction="sum", strict=False)
