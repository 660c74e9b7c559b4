"""Flower's row: its ClientApp and FedAvg's aggregation on its simulation engine, which is Ray. In its own environment.

A node is told which client it is in the message; Flower's nodes are as many as the cohort.
"""

from __future__ import annotations

import os

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.common import MessageType
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

from peer_work.flower_client import DIRECTORY, app
from peer_work.peer_process import asked, save, serve


def main() -> None:
    assignment = asked()
    os.environ[DIRECTORY] = str(assignment.directory)
    cohort, server = assignment.facts["cohort"], ServerApp()

    @server.main()
    def run(grid: Grid, context: Context) -> None:
        strategy, arrays = FedAvg(), ArrayRecord(assignment.weights)

        def round_of(number: int) -> None:
            nonlocal arrays
            messages = [
                Message(
                    content=RecordDict({"arrays": arrays, "config": ConfigRecord({"round": number, "place": place})}),
                    message_type=MessageType.TRAIN,
                    dst_node_id=node,
                )
                for place, node in zip(range(cohort), grid.get_node_ids(), strict=True)
            ]
            found, _ = strategy.aggregate_train(number, grid.send_and_receive(messages))
            if found is None:
                raise SystemExit("expected replies from Flower's clients, found none")
            arrays = found

        serve(round_of)
        save(assignment, arrays.to_torch_state_dict())

    run_simulation(
        server_app=server,
        client_app=app,
        num_supernodes=cohort,
        backend_config={"client_resources": {"num_cpus": 1}, "init_args": {"num_cpus": assignment.facts["actors"]}},
    )


if __name__ == "__main__":
    main()
