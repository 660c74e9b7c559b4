"""What a finished run warns of, in ``summary.json``, report and terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fedcore.audit.metrics.rates import Rate
from fedcore.audit.tables.groups import GroupTable
from fedcore.plan import RunPlan
from fedcore.privacy.plan import NoiseKind
from fedcore.privacy.promise import Promise
from fedcore.text.wording import counted, named
from fedcore_server.evaluation.evaluation import Evaluation
from fedcore_server.rounds.driver import Outcome
from fedcore_server.rounds.norm_gate import ABSURD, TIMES
from fedcore_server.runs.participation import codes_in_words


def warnings_about(outcome: Outcome, statement: Mapping[str, Any] | None, privacy: Promise | None) -> list[str]:
    """What weakens the promise of privacy, the evaluation, or the audit.

    Args:
        statement: The privacy statement; ``None`` without privacy, as `privacy` is.
    """
    warnings = list(statement["known_deviations"]) if statement else []
    if privacy is None:
        warnings.append("no privacy: updates and model carry no guarantee")
    elif privacy.noise is NoiseKind.SECURE and statement and (statement["epsilon"] or 0) > 10:
        warnings.append(f"ε = {statement['epsilon']:.1f} is weak: above 10 it promises little in theory")
    if outcome.evaluation.rejected:
        names = ", ".join(rejection.client for rejection in outcome.evaluation.rejected)
        warnings.append(f"the released model was evaluated without {names}: their reports were rejected")
    return [*warnings, *_no_better_than_one_label(outcome.evaluation)]


def lost_clients(took_part: Mapping[str, Any] | None) -> list[str]:
    """One line about the clients that were not counted in every attempt, or none.

    Args:
        took_part: From `participation`; ``None`` where that is secret.
    """
    if took_part is None or not took_part["lost"]:
        return []
    clients = []
    for name in took_part["lost"]:
        client = took_part["clients"][name]
        codes = codes_in_words(client)
        clients.append(f"{name} (asked {client['asked']}, counted {client['counted']}{'; ' + codes if codes else ''})")
    lost, everyone = len(clients), len(took_part["clients"])
    was = "was" if lost == 1 else "were"
    return [f"{lost} of {counted(everyone, 'client')} {was} not counted each time: {named(clients)}"]


def too_long(took_part: Mapping[str, Any] | None, plan: RunPlan) -> list[str]:
    clients = took_part["clients"] if took_part else {}
    found = {name: facts["rejected"]["NORM"] for name, facts in clients.items() if "NORM" in facts["rejected"]}
    if not found:
        return []
    limit = plan.federation.max_update_norm
    usual = f"{TIMES:g} times the usual norm, or than {ABSURD:g}, which is the default of"
    why = usual if limit is None else f"{limit:g}, the plan's"
    return [
        f"{counted(sum(found.values()), 'update')} of {named(list(found))} were longer than {why} "
        "federation.max-update-norm, and not counted (NORM); if these clients are honest, raise it"
    ]


def _no_better_than_one_label(evaluation: Evaluation) -> Iterator[str]:
    """If one label is predicted for everyone no rate has a gap, so every limit on gaps holds.

    The first table suffices, since all count the same rows. Sums with noise are off, so nothing is said then.
    """
    attribute = next(iter(evaluation.audits), None)
    if attribute is None:
        return
    table, audit = evaluation.tables[attribute], evaluation.audits[attribute]
    accuracy = audit.overall.get("accuracy")
    if not isinstance(table, GroupTable) or table.variance or not isinstance(accuracy, Rate) or accuracy.value is None:
        return
    by_label = table.counts.sum(axis=(0, 2))
    most = int(by_label.argmax())
    if accuracy.n >= audit.settings.min_cell and accuracy.successes <= by_label[most]:
        yield (
            f"the model is right about {100 * accuracy.value:.1f} % of the held-out rows, as by predicting "
            f"their most frequent label, {table.labels[most]!r}, for all of them; where all are predicted alike there "
            "are no gaps, so even a useless model is within limits on gaps"
        )
