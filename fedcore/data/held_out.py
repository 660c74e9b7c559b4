"""The rows that are held out for evaluation and never trained on."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fedcore.seeding import derive_seed, torch_generator

if TYPE_CHECKING:
    from fedcore.data.examples import Examples
    from fedcore.plan import RunPlan


def choose_held_out(examples: Examples, plan: RunPlan, seed: int, *, owner: str = "") -> Tensor:
    """Mark the held-out rows: by content if the plan's privacy makes the number of rows a secret.

    Otherwise that number is public, and the share is exact.

    Args:
        seed: The plan's in a simulation, the client's own secret in a deployment.
        owner: Name of the client in a deployment; empty for the pooled rows of a simulation.

    Returns:
        Boolean, shape ``(len(examples),)``.
    """
    share = plan.federation.held_out
    if size_is_secret(plan):
        return held_out_by_content(examples, share, seed, owner=owner)
    return held_out_rows(len(examples), share, seed, owner=owner)


def size_is_secret(plan: RunPlan) -> bool:
    """Whether the plan's privacy hides the presence of one record."""
    return plan.privacy.unit == "record" and plan.privacy.relation == "add-remove"


def held_out_rows(num_rows: int, share: float, seed: int, *, owner: str = "") -> Tensor:
    """Mark the held-out rows of a data set of `num_rows`.

    The choice depends only on the number of rows and the seed, never on a value, so that anything
    drafted from training rows (a schema, a range) can exclude them before the data is read. One row more changes the
    whole choice, so it must not be used where the number of rows is a secret.

    Args:
        owner: Name of the client in a deployment; empty for the pooled rows of a simulation.

    Returns:
        Boolean, shape ``(num_rows,)``; ``round(share * num_rows)`` are true, at least one row is not.
    """
    count = min(round(share * num_rows), num_rows - 1)
    order = torch.randperm(num_rows, generator=torch_generator(seed, "held-out", owner))
    marked = torch.zeros(num_rows, dtype=torch.bool)
    marked[order[:count]] = True
    return marked


def held_out_by_content(examples: Examples, share: float, seed: int, *, owner: str = "") -> Tensor:
    """Mark the held-out rows by a keyed hash (BLAKE2b, RFC 7693) of each row's own columns.

    Guarantee:
        A row's side depends on seed, owner, share and the bytes of its own columns, and on nothing else: not on the
        other rows, their number or their order. Adding or removing a record therefore changes the side of no other,
        so that neighbouring data sets have training rows that differ in this record at most. A larger share holds
        out the same rows and more.

    Rows of equal bytes fall on the same side. Attributes do not count, so that asking for other groups moves nothing;
    a row that is encoded otherwise is another row. Where `load_data` lets one row's columns depend on other rows,
    nothing is guaranteed.

    Args:
        share: Probability of a row to be held out. How many are is left to chance: none, or all, in small data.

    Returns:
        Boolean, shape ``(len(examples),)``.
    """
    key = derive_seed(seed, "held-out by content", owner).to_bytes(8, "big")
    bound = share * 2.0**64
    digests = (hashlib.blake2b(row, digest_size=8, key=key).digest() for row in examples.rows_as_bytes())
    return torch.tensor([int.from_bytes(digest, "big") < bound for digest in digests], dtype=torch.bool)
