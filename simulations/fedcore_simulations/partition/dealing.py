"""Rows dealt to clients as a plan says, so that every client has a row to train on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcore.data.examples import Examples
from fedcore.errors import DataError
from fedcore.plan import FederationSection
from fedcore.plugins import name_of
from fedcore.seeding import numpy_generator
from fedcore.text.wording import counted
from fedcore_simulations.partition.contract import Owner, Partitioner, Rows
from fedcore_simulations.partition.registry import PARTITIONERS

_TRIES = 1000
_ROWS_IN_ALL_TRIES = 20_000_000  # a few seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """Which client has which rows.

    Attributes:
        names: Name of each client.
        owner: For each row the client's position in `names`; shape ``(rows,)``.
    """

    names: tuple[str, ...]
    owner: Owner


def partition(examples: Examples, held_out: NDArray[np.bool_], settings: FederationSection) -> Partition:
    """Split rows as the plan says.

    The draw is over all rows, so that one row more deals them anew, under relation ``add-remove`` too. A deployed
    client's rows are its own, and nobody deals them: to deal is part of an experiment's set-up, and what the run
    promises holds for the rows that each client was dealt. A draw by each row's content would leave no client its
    share, and no class its concentration.

    Args:
        held_out: Which rows are not trained on.

    Raises:
        PlanError: The partition is unknown, or the data lacks what it needs.
        DataError: There are more clients than training rows, or no draw gave every client a row.
    """
    partitioner: Partitioner = PARTITIONERS.make(settings.partition)
    names = partitioner.names(examples)
    clients, training = settings.clients if names is None else len(names), int((~held_out).sum())
    if names is None and clients > training:
        raise DataError(
            f"{counted(clients, 'client')} cannot share {counted(training, 'training row')}: each needs one at "
            "least; lower --clients, or bring more data"
        )
    rows = Rows(examples=examples, held_out=held_out, clients=clients, seed=settings.seed)
    owner = _dealt(partitioner, rows, name_of(settings.partition))
    return Partition(names=_numbered(clients) if names is None else names, owner=owner)


def _dealt(partitioner: Partitioner, rows: Rows, specification: str) -> Owner:
    """The first draw that leaves no client without a training row."""
    bare = rows.clients
    for attempt in range(max(5, min(_TRIES, _ROWS_IN_ALL_TRIES // len(rows)))):
        owner = partitioner.deal(rows, numpy_generator(rows.seed, "partition", attempt))
        _check_owner(owner, rows, specification)
        found = rows.clients - int(np.count_nonzero(np.bincount(owner[~rows.held_out], minlength=rows.clients)))
        if found == 0:
            return owner
        bare = min(bare, found)
    raise DataError(
        f"{specification} left {bare} of {counted(rows.clients, 'client')} without a training row in the best "
        f"of {attempt + 1} draws; use {partitioner.remedy}, fewer clients, or iid, which gives every client a row"
    )


def _check_owner(owner: Owner, rows: Rows, specification: str) -> None:
    if not isinstance(owner, np.ndarray):
        found = f"an object of type {type(owner).__name__}"
    elif owner.shape != (len(rows),) or owner.dtype != np.int64:
        found = f"{owner.dtype} of shape {owner.shape}"
    elif (wrong := (owner < 0) | (owner >= rows.clients)).any():
        row = int(wrong.argmax())
        found = f"client {owner[row]} for row {row}"
    else:
        return
    raise DataError(
        f"partition {specification!r}: expected an int64 array with a client from 0 to {rows.clients - 1} for each "
        f"of {counted(len(rows), 'row')}, found {found}"
    )


def _numbered(clients: int) -> tuple[str, ...]:
    width = len(str(clients - 1))
    return tuple(f"client-{index:0{width}d}" for index in range(clients))
