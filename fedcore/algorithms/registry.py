"""The algorithms that a plan names in ``algorithm.name``."""

from __future__ import annotations

from fedcore.plugins import Registry

ALLOWED = {
    "fedavg": "fedcore.algorithms.fedavg:FedAvg",
    "fedprox": "fedcore.algorithms.fedprox:FedProx",
    "scaffold": "fedcore.algorithms.scaffold:Scaffold",
    "feddyn": "fedcore.algorithms.feddyn:FedDyn",
    "fednova": "fedcore.algorithms.fednova:FedNova",
    "fairfed": "fedcore.algorithms.fairfed:FairFed",
    "agnostic": "fedcore.algorithms.agnostic:Agnostic",
    "q-fedavg": "fedcore.algorithms.q_fedavg:QFedAvg",
}
"""What a client's policy allows by default."""

WEIGH_ROWS = {
    "reweighing": "fedcore.algorithms.reweighing:Reweighing",
    "fedminmax": "fedcore.algorithms.fedminmax:FedMinMax",
}
"""What weighs rows by group: a client's policy must name it."""

ASYNCHRONOUS = {
    "fedbuff": "fedcore.algorithms.asynchronous.fedbuff:FedBuff",
    "fedasync": "fedcore.algorithms.asynchronous.fedasync:FedAsync",
}
"""What runs in simulated time only."""

ALGORITHMS = Registry(
    what="algorithm",
    rows={**ALLOWED, **WEIGH_ROWS, **ASYNCHRONOUS},
    parts=("adjust", "finish", "start", "step", "learn", "weigh", "row_weights", "check", "refusal", "report"),
)
