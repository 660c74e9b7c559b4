"""FedAvg: clients descend their own loss, and the server takes the mean of their updates.

McMahan et al. 2017, arXiv 1602.05629, algorithm 1. The contract's defaults are this algorithm.
"""

from __future__ import annotations

from fedcore.algorithms.contract import Algorithm


class FedAvg(Algorithm): ...
