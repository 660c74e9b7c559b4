"""``synthetic``: the Synthetic(α, β) federation of the FedProx paper, any number of clients."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedcore.data.examples import Attribute, Examples
from fedcore.errors import PlanError
from fedcore.seeding import numpy_generator
from fedcore.storage.free_memory import check_free
from fedcore.task_families import Classification
from fedcore.tasks.bundled import refuse_path

if TYPE_CHECKING:
    from fedcore.plan import RunPlan

NUM_FEATURES = 60
NUM_CLASSES = 10
_STANDARD_DEVIATIONS = np.arange(1, NUM_FEATURES + 1) ** -0.6  # of a diagonal covariance j^-1.2
_LEAST_ROWS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientData:
    """Rows of one client.

    Attributes:
        features: float64, shape ``(rows, 60)``.
        classes: int64, shape ``(rows,)``.
    """

    features: NDArray[np.float64]
    classes: NDArray[np.int64]


class Synthetic(Classification):
    """Synthetic(α, β): the clients' true models and inputs differ, the more so the larger α and β.

    Client k labels by ``argmax(softmax(W x + b))`` with elements of W and b from N(u_k, 1), u_k from N(0, α);
    its x come from N(v_k, Σ), Σ diagonal with j^-1.2, elements of v_k from N(B_k, 1), B_k from N(0, β). It has
    50 rows and a log-normal number (4, 2) more. α and β are standard deviations, as in the authors' code.
    u_k adds the same to the score of every class, so that it is β that sets the clients apart.
    Source: Li et al. 2020, "Federated optimization in heterogeneous networks", arXiv 1812.06127, appendix C.1.

    A client's rows depend on the seed and its number alone, so that more clients leave the others as they are.

    Args:
        alpha: α, 0 or more.
        beta: β, 0 or more.
        iid: One true model for all, and B_k itself as every element of v_k (the paper's "IID" with β = 0).

    Raises:
        PlanError: Lists every argument that is out of range.
    """

    name = "synthetic"
    labels = tuple(str(number) for number in range(NUM_CLASSES))
    makes_clients = True
    preprocessing = "public: the rows are drawn from a published distribution, and used as they are"

    def __init__(
        self, *, alpha: float = 1.0, beta: float = 1.0, clients: int = 30, seed: int = 0, iid: bool = False
    ) -> None:
        problems = [*_range_problems("alpha", alpha), *_range_problems("beta", beta)]
        problems += [*_count_problems("clients", clients, least=1), *_count_problems("seed", seed, least=0)]
        if not isinstance(iid, bool):
            problems.append(f"task.options.iid: expected true or false, found {iid!r}")
        if problems:
            raise PlanError(problems)
        self.alpha, self.beta, self.clients, self.seed, self.iid = float(alpha), float(beta), clients, seed, iid

    @classmethod
    def from_plan(cls, plan: RunPlan) -> Synthetic:
        """The plan's number of clients and seed, unless ``task.options`` set others."""
        return cls(**{"clients": plan.federation.clients, "seed": plan.federation.seed, **plan.task.options})

    def build_model(self) -> nn.Module:
        return nn.Linear(NUM_FEATURES, NUM_CLASSES)

    def load_data(self, path: Path | None) -> Examples:
        """The rows of all clients in order; attribute ``client`` names the client. A `path` is refused."""
        refuse_path(self.name, path)
        ends = np.cumsum([_num_rows(self._generator(number)) for number in range(self.clients)])
        num_bytes = int(ends[-1]) * (NUM_FEATURES * 4 + 2 * 8)
        what = f"the {ends[-1]:,} rows of {self.clients:,} clients, and a copy sorted by client,"
        check_free(2 * num_bytes, what, "lower federation.clients (--clients)")
        features, classes = np.empty((ends[-1], NUM_FEATURES), dtype=np.float32), np.empty(ends[-1], dtype=np.int64)
        for number, end in enumerate(ends):
            part = self.client_data(number)
            rows = slice(end - len(part.classes), end)
            features[rows], classes[rows] = part.features, part.classes
        owner = np.repeat(np.arange(self.clients), np.diff(ends, prepend=0))
        width = len(str(self.clients - 1))
        names = tuple(f"client-{number:0{width}d}" for number in range(self.clients))
        return Examples(
            columns={"inputs": torch.from_numpy(features), "targets": torch.from_numpy(classes)},
            attributes={"client": Attribute(codes=torch.from_numpy(owner), vocabulary=(*names, "unknown"))},
        )

    def client_data(self, number: int) -> ClientData:
        generator = self._generator(number)
        rows = _num_rows(generator)
        model_mean, input_mean = generator.normal(0.0, self.alpha), generator.normal(0.0, self.beta)
        center = np.full(NUM_FEATURES, input_mean) if self.iid else generator.normal(input_mean, 1.0, NUM_FEATURES)
        features = center + generator.standard_normal((rows, NUM_FEATURES)) * _STANDARD_DEVIATIONS
        drawn = numpy_generator(self.seed, "synthetic", "model") if self.iid else generator
        mean = 0.0 if self.iid else model_mean
        weight = drawn.normal(mean, 1.0, (NUM_FEATURES, NUM_CLASSES))
        bias = drawn.normal(mean, 1.0, NUM_CLASSES)
        # The softmax keeps the order, so that the largest score is its largest probability too.
        return ClientData(features=features, classes=np.argmax(features @ weight + bias, axis=1))

    def _generator(self, number: int) -> np.random.Generator:
        return numpy_generator(self.seed, "synthetic", number)


def _num_rows(generator: np.random.Generator) -> int:
    """A client's number of rows: the first number of its generator."""
    return _LEAST_ROWS + int(generator.lognormal(4.0, 2.0))


def _range_problems(name: str, value: Any) -> list[str]:
    right = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")
    return [] if right else [f"task.options.{name}: expected a number of 0 or more, found {value!r}"]


def _count_problems(name: str, value: Any, *, least: int) -> list[str]:
    right = isinstance(value, int) and not isinstance(value, bool) and value >= least
    return [] if right else [f"task.options.{name}: expected a whole number of {least} or more, found {value!r}"]
