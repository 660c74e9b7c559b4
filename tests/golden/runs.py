"""The golden runs: from a plan's name to the texts and numbers that may not change."""

from __future__ import annotations

import csv
import hashlib
import importlib.metadata
import json
import random
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from fedcore_simulations import simulate

HERE = Path(__file__).parent
GOLDEN = HERE / "golden.json"
PLANS: dict[str, dict[str, Any]] = tomllib.loads((HERE / "plans.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenRun:
    """The normalised text of each file by its name, and numbers that another kind of CPU changes only a little."""

    texts: dict[str, str]
    numbers: dict[str, float]

    def hashes(self) -> dict[str, str]:
        return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in self.texts.items()}


def golden_run(name: str, directory: Path, **sections: dict[str, Any]) -> GoldenRun:
    """Simulate a plan, with keys of `sections` laid over it, through the public door only."""
    plan = {"engine": {"workers": 1, "name": "loop"}, **PLANS[name]}
    plan["training"] = {"device": "cpu", **plan.get("training", {})}
    plan |= {section: {**plan.get(section, {}), **keys} for section, keys in sections.items()}
    if "data" in plan.get("task", {}):
        plan["task"] = {**plan["task"], "data": str(_write_patients(directory / plan["task"]["data"]))}
    simulate(plan=plan, out=directory / "run")
    return _read(directory / "run")


def _read(run: Path) -> GoldenRun:
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    (model,) = run.glob("*.safetensors")  # its name says whether it was withheld
    tensors = load_file(model)
    texts = {name: (run / name).read_text(encoding="utf-8") for name in ("bias.json", "privacy.json", "report.html")}
    norm = sum(float(tensor.double().square().sum()) for tensor in tensors.values()) ** 0.5
    numbers = {"norm of the parameters": norm, **summary["metrics"], "epsilon": summary["epsilon"]}
    return GoldenRun(
        texts={"model": model.name + "\n" + "".join(_tensor_line(*each) for each in sorted(tensors.items()))}
        | {name: normalised(text, summary) for name, text in texts.items()},
        numbers={name: value for name, value in numbers.items() if value is not None},
    )


def normalised(text: str, summary: dict[str, Any]) -> str:
    """A file without what rightly changes from run to run, or with a version or the spelling of the plan."""
    text = text.replace(summary["plan_sha256"], "PLAN-SHA-256")
    for version in sorted(set(summary["versions"].values())):
        text = re.sub(rf"(?<![\w.+]){re.escape(version)}(?![\w.+])", "VERSION", text)
    text = re.sub(r"\b20\d\d-\d\d-\d\d\b", "DATE", text)
    if text.startswith("<"):
        text = _replaced_once(r'(?<=<h2>Wall time</h2>\n<p class="value">)[^<]+', "WALL TIME", text)
        text = _replaced_once(r" [\d.e-]+ Wh, estimated[^<]+?core\.", "", text)
        text = _replaced_once(r"[\d.,]+(?= client-rounds a second)", "RATE", text)
        text = _replaced_once(r"(?<=<summary>The plan, every key written out</summary>).*?(?=</details>)", "PLAN", text)
    return text


def _replaced_once(pattern: str, by: str, text: str) -> str:
    text, count = re.subn(pattern, by, text, flags=re.S)
    if count != 1:
        raise ValueError(
            f"expected {pattern!r} once in report.html, found it {count} times: adapt tests/golden/runs.py"
        )
    return text


def _tensor_line(name: str, tensor: torch.Tensor) -> str:
    digest = hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()
    return f"{name} {tensor.dtype} {list(tensor.shape)} {digest}\n"


def _write_patients(path: Path) -> Path:
    """A made-up table: one ward is so small that it is suppressed, some ages are missing, and one sex is ill more."""
    drawn = random.Random(7)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["pressure", "age", "sex", "ward", "ill"])
        for _ in range(400):
            pressure, age = round(100 + 60 * drawn.random(), 1), int(18 + 70 * drawn.random())
            sex = "f" if drawn.random() < 0.4 else "m"
            ward = next(name for name, upto in (("east", 0.04), ("north", 0.5), ("south", 1)) if drawn.random() < upto)
            ill = pressure + 30 * drawn.random() + 10 * (sex == "f") > 150
            rows.writerow([pressure, age if drawn.random() < 0.9 else "", sex, ward, "yes" if ill else "no"])
    return path


def canary() -> dict[str, str]:
    """Where these differ from the recorded ones, other bits are right: another kind of CPU, or other libraries."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the engine does
    made = torch.Generator().manual_seed(0)
    images, kernels = (torch.randn(*shape, generator=made) for shape in ((16, 1, 8, 8), (32, 1, 5, 5)))
    found = torch.nn.functional.conv2d(images, kernels, padding=2).tanh().flatten(1)
    results = (found, found @ found.T, found.double() @ found.double().T, found.log_softmax(1).exp(), found.norm())
    torch.set_num_threads(threads)
    reals = np.random.default_rng(0).normal(size=1000)
    numbers = (np.exp(reals), np.log(reals**2), np.outer(reals, reals) @ reals)
    bits = b"".join(result.numpy().tobytes() for result in results) + b"".join(each.tobytes() for each in numbers)
    libraries = ("torch", "numpy", "scipy", "scikit-learn", "dp-accounting", "opacus")
    return {name: importlib.metadata.version(name) for name in libraries} | {"bits": hashlib.sha256(bits).hexdigest()}
