"""The algorithms that a plan names in ``algorithm.name``."""

from __future__ import annotations

from fedcore.plugins import Registry

ALGORITHMS = Registry(
    what="algorithm",
    rows={
        "fedavg": "fedcore.algorithms.fedavg:FedAvg",
        "fedprox": "fedcore.algorithms.fedprox:FedProx",
        "scaffold": "fedcore.algorithms.scaffold:Scaffold",
        "reweighing": "fedcore.algorithms.reweighing:Reweighing",
        "fedminmax": "fedcore.algorithms.fedminmax:FedMinMax",
        "fairfed": "fedcore.algorithms.fairfed:FairFed",
        "agnostic": "fedcore.algorithms.agnostic:Agnostic",
        "q-fedavg": "fedcore.algorithms.q_fedavg:QFedAvg",
    },
    parts=("adjust", "finish", "start", "step", "learn", "weigh", "row_weights", "check", "refusal", "report"),
)
