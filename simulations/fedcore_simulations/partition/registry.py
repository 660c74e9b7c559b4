"""The partitioners that a plan names in ``federation.partition``."""

from __future__ import annotations

from fedcore.plugins import Registry

PARTITIONERS = Registry(
    what="partition",
    rows={
        "iid": "fedcore_simulations.partition.iid:Iid",
        "dirichlet": "fedcore_simulations.partition.dirichlet:Dirichlet",
        "shards": "fedcore_simulations.partition.shards:Shards",
        "by": "fedcore_simulations.partition.by_column:ByColumn",
        "sizes": "fedcore_simulations.partition.sizes:Sizes",
    },
    parts=("names", "deal"),
)
