"""The energy of a run is measured, or estimated from the processor time that it used, children included."""

import subprocess
import sys
import time

import pytest
import torch

from fedcore.text.wording import energy_text
from fedcore_simulations import energy, simulate
from fedcore_simulations.energy import KG_PER_KWH, WATTS_PER_CORE, EnergyMeter
from tests.builders import TinyTask, build_plan

BURN = "import time\nwhile time.process_time() < 0.5: pass"


@pytest.fixture
def estimated(monkeypatch):
    monkeypatch.setattr(energy, "_tracker", lambda: None)


def test_an_estimate_counts_this_process_and_its_children_and_no_waiting(estimated):
    begun = time.process_time()
    with EnergyMeter(torch.device("cpu")) as meter:
        subprocess.run([sys.executable, "-c", BURN], check=True)
        time.sleep(0.5)
    least, most = 0.5, 0.5 + 0.3 + time.process_time() - begun
    assert least <= meter.energy.kwh * 3.6e6 / WATTS_PER_CORE <= most
    assert "estimated" in meter.energy.source


def test_what_a_gpu_uses_is_not_guessed(estimated):
    with EnergyMeter(torch.device("cuda")) as meter:
        pass
    assert meter.energy is None


def test_a_simulation_says_its_energy_and_how_it_is_known(estimated):
    summary = simulate(TinyTask(), build_plan(), out=None).summary
    assert summary["energy_kwh"] > 0.0
    assert summary["co2_kg"] == pytest.approx(summary["energy_kwh"] * KG_PER_KWH)
    assert summary["energy_source"] == "estimated: processor time at 12 W for each busy core"


def test_codecarbon_measures_where_it_is_installed():
    pytest.importorskip("codecarbon", reason="the extra [energy] is not installed")
    with EnergyMeter(torch.device("cpu")) as meter:
        time.sleep(2.0)
    assert meter.energy.source == "codecarbon"
    assert meter.energy.kwh > 0.0


def test_energies_are_written_with_their_unit():
    assert [energy_text(kwh) for kwh in (0.00036, 0.0123, 1.234)] == ["0.36 Wh", "12.3 Wh", "1.23 kWh"]
