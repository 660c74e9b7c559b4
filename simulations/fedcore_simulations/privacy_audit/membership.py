"""How well an attacker distinguishes members from others by the model's losses alone: LiRA, with few shadow models.

Carlini et al. 2022, "Membership inference attacks from first principles", arXiv 2112.03570: the loss of a row under
the attacked model is compared with Gaussians fitted to its losses under models trained with and without it. A measured
attack says nothing about better ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fedcore.data.examples import Examples
from fedcore_clients.training.local_model import Client
from fedcore_server.rounds.rounds import close_round, done, init_state, plan_round
from fedcore_simulations.engines.registry import build_engine
from fedcore_simulations.preparation import Preparation

FALSE_ALARMS = (0.01, 0.001)
_ROWS_AT_ONCE = 2048
_LEAST_MODELS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackRates:
    """What the attack reached on some rows.

    Attributes:
        rows: Pairs of a row and a model that it was guessed for; half of them members, about.
        true_positive_rates: Share of members found, by the share of false alarms that is allowed; ``None`` where there
            are too few rows to speak of so few false alarms.
        area: Under the whole curve; ½ is guessing.
    """

    rows: int
    true_positive_rates: Mapping[float, float | None]
    area: float


def attack(
    ready: Preparation, *, models: int, generator: torch.Generator, progress: Callable[[int], None] = lambda _: None
) -> dict[str, AttackRates]:
    """Train `models` federations, each on a random half of every client's rows, and attack each by the others.

    Args:
        models: Four or more; each costs a whole run.
        progress: Called after each model with the number trained.

    Returns:
        Rates over all rows under ``all``, and for each group of the audited attributes under ``attribute=group``.
    """
    models = max(_LEAST_MODELS, models)
    rows = Examples.joined([client.training for client in ready.clients])
    members = torch.rand(models, len(rows), generator=generator) < 0.5
    scores = torch.empty(models, len(rows), dtype=torch.float64)
    for number in range(models):
        scores[number] = _confidence(ready, rows, members[number])
        progress(number + 1)
    evidence = _likelihood_ratios(scores.numpy(), members.numpy())
    truth = members.numpy()
    return {name: _rates(evidence[:, chosen], truth[:, chosen]) for name, chosen in _groups(ready, rows)}


def _confidence(ready: Preparation, rows: Examples, member: torch.Tensor) -> torch.Tensor:
    """Train on the members; the logit of each row's likelihood ``exp(-loss)``, which is near to Gaussian."""
    clients, start = [], 0
    for client in ready.clients:
        end = start + len(client.training)
        kept = torch.nonzero(member[start:end]).flatten()
        if len(kept):
            clients.append(Client(name=client.name, training=client.training.select(kept), held_out=None))
        start = end
    state = init_state(ready.task, ready.plan)
    with build_engine("loop", ready.task, ready.plan, tuple(clients), ready.device) as engine:
        while not done(state, ready.plan):
            request = plan_round(state, ready.plan, engine.available())
            state, _ = close_round(state, ready.plan, request, engine.train(request))
    model = ready.task.build_model().to(state.parameters.buffer.dtype)
    state.released.copy_to(model)
    model.eval()
    return _logits(ready, model, rows.to(dtype=state.parameters.buffer.dtype, device=torch.device("cpu")))


def _logits(ready: Preparation, model: torch.nn.Module, rows: Examples) -> torch.Tensor:
    losses = []
    with torch.no_grad():
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            losses.append(ready.task.loss(model, rows.batch(slice(start, start + _ROWS_AT_ONCE))).to(torch.float64))
    loss = torch.cat(losses).clamp(1e-12, 500.0)
    return -loss - torch.log(-torch.expm1(-loss))


def _likelihood_ratios(scores: NDArray[np.float64], members: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Of "member" against "not", for each model by all the others; the variance is pooled, for models are few."""
    evidence = np.empty_like(scores)
    for target in range(len(scores)):
        others = np.delete(np.arange(len(scores)), target)
        inside, outside = (_means(scores[others], members[others] == side) for side in (True, False))
        spread = max(1e-12, float(np.mean(_squares(scores[others], members[others], inside, outside))))
        evidence[target] = ((scores[target] - outside) ** 2 - (scores[target] - inside) ** 2) / (2.0 * spread)
    return evidence


def _means(scores: NDArray[np.float64], chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Each row's mean over the chosen models; over all of them where none is."""
    counts = chosen.sum(0)
    summed = np.where(chosen, scores, 0.0).sum(0)
    means: NDArray[np.float64] = np.where(counts > 0, summed / np.maximum(counts, 1), scores.mean(0))
    return means


def _squares(
    scores: NDArray[np.float64],
    members: NDArray[np.bool_],
    inside: NDArray[np.float64],
    outside: NDArray[np.float64],
) -> NDArray[np.float64]:
    squares: NDArray[np.float64] = (scores - np.where(members, inside, outside)) ** 2
    return squares


def _rates(evidence: NDArray[np.float64], members: NDArray[np.bool_]) -> AttackRates:
    flat, truth = evidence.ravel(), members.ravel()
    inside, outside = np.sort(flat[truth]), np.sort(flat[~truth])
    return AttackRates(
        rows=len(flat),
        true_positive_rates={share: _found(inside, outside, share) for share in FALSE_ALARMS},
        area=_area(inside, outside),
    )


def _found(inside: NDArray[np.float64], outside: NDArray[np.float64], share: float) -> float | None:
    allowed = math.floor(share * len(outside))
    if allowed < 1 or not len(inside):
        return None
    threshold = outside[len(outside) - allowed - 1]  # `allowed` of the others lie above it
    return float((inside > threshold).mean())


def _area(inside: NDArray[np.float64], outside: NDArray[np.float64]) -> float:
    """Probability that a member's evidence is above another's, ties by half."""
    if not len(inside) or not len(outside):
        return 0.5
    below = np.searchsorted(outside, inside, side="left") + np.searchsorted(outside, inside, side="right")
    return float(below.mean() / (2.0 * len(outside)))


def _groups(ready: Preparation, rows: Examples) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    yield "all", np.ones(len(rows), dtype=bool)
    for name in ready.plan.audit.sensitive:
        attribute = rows.attributes.get(name)
        for code, word in enumerate(attribute.vocabulary if attribute is not None else ()):
            chosen = attribute.codes.numpy() == code if attribute is not None else np.zeros(len(rows), dtype=bool)
            if int(chosen.sum()) >= ready.plan.audit.min_cell:
                yield f"{name}={word}", chosen
