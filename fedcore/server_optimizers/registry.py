"""The server optimizers that a plan names in ``federation.server-optimizer``."""

from __future__ import annotations

from fedcore.plugins import Registry

SERVER_OPTIMIZERS = Registry(
    what="server optimizer",
    rows={
        "sgd": "fedcore.server_optimizers.sgd:Sgd",
        "adam": "fedcore.server_optimizers.adam:Adam",
        "yogi": "fedcore.server_optimizers.yogi:Yogi",
        "adagrad": "fedcore.server_optimizers.adagrad:Adagrad",
    },
    parts=("step",),
)
