"""Whose choice the held-out rows are: the client's."""

import pytest
import torch
import typer

from fedcore_clients.client_commands import _paths
from fedcore_clients.client_home import ClientHome
from fedcore_clients.owner_data import load_client
from tests.builders import TinyTask, build_plan


def held_out(plan, secret=5):
    return load_client(TinyTask(), plan, "north", None, secret=secret).held_out.columns["inputs"]


def test_no_seed_of_a_plan_changes_which_rows_are_held_out():
    chosen = [held_out(build_plan(federation={"seed": seed})) for seed in range(5)]
    assert all(torch.equal(chosen[0], other) for other in chosen[1:])


def test_another_clients_secret_holds_out_other_rows():
    assert not torch.equal(held_out(build_plan()), held_out(build_plan(), secret=6))


def test_the_secret_is_drawn_once_and_kept_from_others(tmp_path):
    home = ClientHome(tmp_path)
    first = home.secret()
    assert ClientHome(tmp_path).secret() == first
    assert home.secret_file.stat().st_mode & 0o077 == 0


def test_one_data_set_cannot_have_two_names_and_so_two_budgets(tmp_path):
    rows = tmp_path / "rows.csv"
    rows.touch()
    with pytest.raises(typer.BadParameter, match="twice"):
        _paths([f"a={rows}", f"b={tmp_path}/../{tmp_path.name}/rows.csv"])
    with pytest.raises(typer.BadParameter, match="twice"):
        _paths([f"a={rows}", f"a={tmp_path}"])
