"""An optimizer that no client could build is refused by the server, with what was meant."""

import pytest

from fedcore.errors import PlanError
from fedcore_server.runs.deployable_plan import deployable
from tests.server.served import tiny_plan


@pytest.mark.parametrize(
    ("training", "told"),
    [
        ({"optimizer": "SDG"}, "no optimizer 'SDG'; did you mean 'SGD'"),
        ({"optimizer": "LBFGS"}, "which a round does not allow"),
        ({"optimizer-options": {"momentun": 0.9}}, "training.optimizer-options: SGD refuses them"),
    ],
)
def test_an_optimizer_that_no_client_could_build_is_refused_before_a_run_is_queued(training, told):
    plan = tiny_plan()
    deployable(plan)
    with pytest.raises(PlanError, match=told):
        deployable(plan.updated(training=training))
