"""How a simulation splits one data set over its clients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcore.data.examples import Examples
from fedcore.errors import DataError, PlanError
from fedcore.plan import FederationSection
from fedcore.seeding import numpy_generator
from fedcore.text.wording import counted, named

_TRIES = 1000
_ROWS_IN_ALL_TRIES = 20_000_000  # a few seconds
_LOGNORMAL_SIGMA = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """Which client has which rows.

    Attributes:
        names: Name of each client.
        owner: For each row the client's position in `names`; shape ``(rows,)``.
    """

    names: tuple[str, ...]
    owner: NDArray[np.int64]


def partition(examples: Examples, held_out: NDArray[np.bool_], settings: FederationSection) -> Partition:
    """Split rows as the plan says, so that every client has a row to train on.

    ``iid`` deals shuffled rows evenly; where that leaves a client without a row to train on, it deals the rows that are
    trained on evenly, and the held-out ones by themselves, of which a client may then have none. ``dirichlet:A`` gives
    each class to clients in proportions drawn from a Dirichlet distribution of concentration A (Hsu et al. 2019, arXiv
    1909.06335). ``shards:K`` sorts rows by class and gives every client K of equal shards (McMahan et al. 2017, arXiv
    1602.05629).
    ``by:COLUMN`` makes a client of each value of an attribute. ``sizes:lognormal`` deals shuffled rows in
    shares from a log-normal distribution (σ = 1).

    The draw is over all rows, so that one row more deals them anew, under relation ``add-remove`` too. A deployed
    client's rows are its own, and nobody deals them: to deal is part of an experiment's set-up, and what the run
    promises holds for the rows that each client was dealt. A draw by each row's content would leave no client its
    share, and no class its concentration.

    Args:
        held_out: Which rows are not trained on.

    Raises:
        PlanError: The specification means nothing.
        DataError: There are more clients than training rows, or no draw gave every client a row.
    """
    kind, _, argument = settings.partition.partition(":")
    if kind == "by":
        return _by_attribute(examples, argument, held_out)
    rows = int((~held_out).sum())
    if settings.clients > rows:
        raise DataError(
            f"{counted(settings.clients, 'client')} cannot share {counted(rows, 'training row')}: each needs one at "
            "least; lower --clients, or bring more data"
        )
    deal = _dealer(kind, argument, examples, settings)
    bare = settings.clients
    for attempt in range(1 if kind == "iid" else max(5, min(_TRIES, _ROWS_IN_ALL_TRIES // len(examples)))):
        owner = deal(numpy_generator(settings.seed, "partition", attempt))
        found = settings.clients - int(np.count_nonzero(np.bincount(owner[~held_out], minlength=settings.clients)))
        if found == 0:
            return Partition(names=_numbered(settings.clients), owner=owner)
        bare = min(bare, found)
    if kind == "iid":
        owner = _deal_apart(held_out, settings.clients, numpy_generator(settings.seed, "partition", "apart"))
        return Partition(names=_numbered(settings.clients), owner=owner)
    raise DataError(
        f"{settings.partition} left {bare} of {counted(settings.clients, 'client')} without a training row in the best "
        f"of {attempt + 1} draws; use {_what_helps(kind)}, fewer clients, or iid, which gives every client a row"
    )


def _numbered(clients: int) -> tuple[str, ...]:
    width = len(str(clients - 1))
    return tuple(f"client-{index:0{width}d}" for index in range(clients))


def _what_helps(kind: str) -> str:
    return {"dirichlet": "a larger concentration", "shards": "more shards for each client"}.get(kind, "more rows")


def _deal_apart(held_out: NDArray[np.bool_], clients: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Deal the rows that are trained on evenly, then the held-out ones."""
    owner = np.empty(len(held_out), dtype=np.int64)
    for kept in (False, True):
        rows = np.flatnonzero(held_out == kept)
        owner[rows] = _cut(generator.permutation(len(rows)), np.full(clients, 1 / clients))
    return owner


def _dealer(kind: str, argument: str, examples: Examples, settings: FederationSection) -> Any:
    """A function from a generator to the owner of every row."""
    clients, rows = settings.clients, len(examples)
    if kind == "iid" and not argument:
        return lambda generator: _cut(generator.permutation(rows), np.full(clients, 1 / clients))
    if kind == "sizes" and argument == "lognormal":
        return lambda generator: _cut(generator.permutation(rows), _lognormal_shares(clients, generator))
    if kind == "dirichlet" and (concentration := _number(argument)) > 0:
        classes = _classes(examples, settings.partition)
        return lambda generator: _dirichlet(classes, clients, concentration, generator)
    if kind == "shards" and argument.isdigit() and int(argument) > 0:
        classes = _classes(examples, settings.partition)
        return lambda generator: _shards(classes, clients, int(argument), generator)
    raise PlanError(
        "federation.partition: expected iid, dirichlet:A with A > 0, shards:K, by:COLUMN or sizes:lognormal, "
        f"found {settings.partition!r}"
    )


def _by_attribute(examples: Examples, name: str, held_out: NDArray[np.bool_]) -> Partition:
    if name not in examples.attributes:
        known = ", ".join(examples.attributes) or "none"
        raise PlanError(f"federation.partition: the data has no column {name!r} to partition by; it has {known}")
    attribute = examples.attributes[name]
    codes = attribute.codes.numpy()
    present, owner = np.unique(codes, return_inverse=True)
    names = tuple(attribute.vocabulary[code] for code in present)
    bare = [names[index] for index in np.flatnonzero(np.bincount(owner[~held_out], minlength=len(names)) == 0)]
    if bare:
        raise DataError(
            f"by:{name} leaves {named(bare)} without a training row; merge or remove these values, "
            "or hold out fewer rows (federation.held-out)"
        )
    return Partition(names=names, owner=owner.astype(np.int64))


def _cut(order: NDArray[np.int64], shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """Deal rows in the given order, a run of each share to each client."""
    ends = np.round(np.cumsum(shares) * len(order)).astype(np.int64)
    owner = np.empty(len(order), dtype=np.int64)
    owner[order] = np.searchsorted(ends, np.arange(len(order)), side="right").clip(max=len(shares) - 1)
    return owner


def _lognormal_shares(clients: int, generator: np.random.Generator) -> NDArray[np.float64]:
    sizes = generator.lognormal(0.0, _LOGNORMAL_SIGMA, clients)
    return np.asarray(sizes / sizes.sum())


def _dirichlet(
    classes: NDArray[np.int64], clients: int, concentration: float, generator: np.random.Generator
) -> NDArray[np.int64]:
    owner = np.empty(len(classes), dtype=np.int64)
    for label in np.unique(classes):
        rows = generator.permutation(np.flatnonzero(classes == label))
        owner[rows] = _cut(np.arange(len(rows)), generator.dirichlet(np.full(clients, concentration)))
    return owner


def _shards(
    classes: NDArray[np.int64], clients: int, per_client: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    by_class = np.argsort(classes + generator.random(len(classes)) * 0.5, kind="stable")
    shards = generator.permutation(clients * per_client) // per_client
    owner = np.empty(len(classes), dtype=np.int64)
    owner[by_class] = shards[np.arange(len(classes)) * len(shards) // len(classes)]
    return owner


def _classes(examples: Examples, specification: str) -> NDArray[np.int64]:
    targets = examples.columns.get("targets")
    if targets is None or targets.is_floating_point() or targets.ndim != 1:
        raise PlanError(f"federation.partition: {specification} needs classes, and this task has none; use iid or by:")
    return targets.numpy().astype(np.int64)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return -1.0
