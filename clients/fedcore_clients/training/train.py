"""Local training: from received parameters to an update."""

from __future__ import annotations

import secrets

import torch
from torch import Tensor

from fedcore.audit.tables.declared import attribute_codes, empty_tables
from fedcore.audit.tables.groups import GroupTable
from fedcore.data.examples import Examples
from fedcore.data.shuffles import shuffled
from fedcore.errors import DataError, PlanError
from fedcore.local_optimizer import build_optimizer
from fedcore.messages import ClientUpdate, TrainRequest
from fedcore.metrics import Metrics
from fedcore.privacy.mechanisms import poisson_batch, release
from fedcore.privacy.noise import Randomness, SecureRandomness, SeededRandomness
from fedcore.privacy.plan import NoiseKind, PrivacyPlan, Relation
from fedcore.seeding import derive_seed, seed_global_streams, torch_generator
from fedcore_clients.training.device import device_errors
from fedcore_clients.training.local_model import Client, LocalModel
from fedcore_clients.training.session import Session


def train_locally(local: LocalModel, client: Client, request: TrainRequest) -> ClientUpdate:
    """Train the received model on a client's rows, and return what the algorithm sends, encoded.

    Without privacy the result depends on plan, request, data and the client's memory only: equal ones give equal bits
    on the CPU of one machine, and on a GPU equal numbers up to rounding. With privacy, noise and batches are fresh each
    time (``privacy.noise = "secure"``).
    """
    local.load(request.parameters)
    local.model.train()
    stream = ("train", request.round, request.attempt, client.name)
    seed_stream(local, *stream)
    optimizer = build_optimizer(local.plan, local.trained, round=request.round)
    factors = loss_factors(local, client.training, request)
    kept = local.memory.recall(client.name, request)
    session = Session(local, optimizer, request, kept)
    # Without privacy a batch is not split: the loss of a row may look at the others.
    with device_errors(local.device, advice="lower training.batch-size, or use another device"):
        if local.privacy is None:
            metrics = _train_epochs(local, client, session, request, factors)
        else:
            metrics = Metrics()
            _train_privately(local, client, session, client_randomness(local, *stream), factors)
    sent, keeps = session.finish()
    seed = local.plan.federation.seed
    values, remembered = local.codec.encode(sent, kept, client=client.name, round=request.round, seed=seed)
    local.memory.keep(client.name, request, before=kept, after={**keeps, **remembered})
    return ClientUpdate(
        client=client.name,
        round=request.round,
        values=values,
        num_examples=public_size(local.privacy, len(client.training)),
        metrics=metrics,
        privacy_event=local.privacy.event(1) if local.privacy else None,
    )


def loss_factors(local: LocalModel, rows: Examples, request: TrainRequest) -> Tensor | None:
    """Weight of each row's loss, shape ``(n,)``; ``None`` if all weigh the same.

    Judged by plan and task only: a refusal because a row's group is missing would reveal that row.
    """
    weights = request.row_weights
    if weights is None:
        return None
    if not local.exchange.algorithm.weighs_rows:
        raise DataError("row weights: the plan's algorithm does not weigh rows")
    if weights.attribute not in local.plan.audit.sensitive:
        raise DataError("row weights: the request weights by an attribute that the plan does not audit")
    table = empty_tables(local.task, local.plan)[weights.attribute]
    if not isinstance(table, GroupTable) or weights.shape != (len(table.groups), len(table.labels)):
        raise DataError("row weights: expected a factor for each group and label of the plan, and no more")
    groups = attribute_codes(rows, weights.attribute, local.plan.audit)
    labels = rows.columns["targets"].cpu().numpy()
    return torch.from_numpy(weights.for_rows(groups, labels)).to(local.dtype).to(local.device)


def _train_epochs(
    local: LocalModel,
    client: Client,
    session: Session,
    request: TrainRequest,
    factors: Tensor | None,
) -> Metrics:
    """Mini-batch training without privacy; returns the sum of the losses met on the way."""
    training, rows = local.plan.training, len(client.training)
    seed = derive_seed(local.plan.federation.seed, "order", request.round, request.attempt, client.name)
    orders = torch.from_numpy(shuffled([seed], [rows], epochs=training.local_epochs)[0]).to(local.device)
    sums: list[Tensor] = []  # read once at the end, since reading waits for the device
    for order in orders:
        for start in range(0, rows, training.batch_size):
            batch = order[start : start + training.batch_size]
            losses = local.task.loss(local.model, client.training.batch(batch))
            local.gradient.zero_()
            weighted = losses if factors is None else losses * factors[batch]
            weighted.mean().backward()  # type: ignore[no-untyped-call]
            local.binding.check()
            sums.append(losses.detach().sum())
            session.step()
    seen = float(rows * training.local_epochs)
    return Metrics(sums={"loss": _total(sums)}, counts={"loss": seen})


def _total(sums: list[Tensor]) -> float:
    total = 0.0
    for each in torch.stack(sums).cpu().tolist() if sums else ():
        total += each
    return total


def _train_privately(
    local: LocalModel,
    client: Client,
    session: Session,
    randomness: Randomness,
    factors: Tensor | None,
) -> None:
    """DP-SGD: Poisson batch, clipped sum, noise, public divisor; the optimizer only sees what is released.

    Guarantee:
        That of `PrivacyPlan`, whatever the optimizer does: it post-processes the released gradients.
    """
    privacy, per_example = local.privacy, local.per_example
    if privacy is None or per_example is None:
        raise PlanError("private training needs a plan with a privacy unit")
    # One of each for all steps: fresh memory costs more than the copy.
    before, clipped = torch.empty_like(local.parameters.buffer), per_example.zeros()
    for _ in range(privacy.steps_per_round):
        rows = poisson_batch(len(client.training), privacy, randomness).to(local.device)
        before.copy_(local.parameters.buffer)
        weights = None if factors is None else factors[rows]
        per_example.clipped_sum(client.training.batch(rows), privacy.clip_norm, weights, out=clipped)
        local.restore(before)
        release(clipped, privacy, randomness, out=local.gradient)
        session.step()


def seed_stream(local: LocalModel, *stream: str | int) -> None:
    """Seed what dropout and other layers draw from, with a secret where the noise is secret.

    What a row draws depends on its place in the batch. If the seed were known, one record more would change the numbers
    of all later rows, and move the sum by more than one record may.
    """
    if local.privacy is not None and local.privacy.noise is NoiseKind.SECURE:
        seed = secrets.randbits(63)
    else:
        seed = derive_seed(local.plan.federation.seed, *stream)
    seed_global_streams(local.device, seed)


def client_randomness(local: LocalModel, *stream: str | int) -> Randomness:
    """The source of a client's noise and batches: new each time, unless the plan's noise is for tests."""
    if local.privacy is not None and local.privacy.noise is NoiseKind.TEST:
        return SeededRandomness(torch_generator(local.plan.federation.seed, "test noise", *stream))
    return SecureRandomness()


def public_size(privacy: PrivacyPlan | None, rows: int) -> int | None:
    """The number of training rows, unless the privacy relation makes it secret."""
    secret = privacy is not None and privacy.relation is Relation.ADD_REMOVE
    return None if secret else rows
