"""Write docs/privacy-linter.md from the rules: ``python docs/privacy_linter.py > docs/privacy-linter.md``."""

from __future__ import annotations

from fedcore.privacy.linter import RULES

HEAD = """# The privacy linter

Written by `python docs/privacy_linter.py`; do not edit.

A guarantee is lost in silence: training runs, ε is printed, and it is false. The linter knows the ways in which that
happens, and looks for each of them:

```bash
fedcore lint privacy plan.toml
```

It reads the plan, the layers of the model, and the code of loss, forward passes and transforms; it tries out sampler,
clipping and noise as they are installed; and where the plan's data can be opened it measures gradients on it
(`--no-measure` leaves the data alone). Each finding is one line with its reason and its fix; `--json` prints all of
them as one object. The exit code is 1 when something is refused, 0 when nothing is, and 2 when the plan cannot be read.

The same rules are applied before every run: by `fedcore simulate` before anything is written, by the server before it
asks anyone, and by each client before it opens its data. What is refused there is not trained. Warnings do not stop a
run; they stand in its privacy statement, under `verification`.

Reading code finds what is written plainly, and a measurement sees the rows that it tries: a clean report is evidence
and no proof. What the linter cannot see is listed in [what is not covered](privacy.md#what-is-not-covered).

## Rules

`refuse` is where the claim would be false, `warn` where it is less than it seems.

| rule | severity | what goes wrong | what to do |
|---|---|---|---|
"""


def page() -> str:
    """The whole page."""
    return HEAD + "".join(f"| `{rule.id}` | {rule.severity} | {rule.why} | {rule.fix} |\n" for rule in RULES)


if __name__ == "__main__":
    print(page(), end="")
