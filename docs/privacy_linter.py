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

It reads the plan, the layers of the model, and the code of loss, forward passes, algorithm and encodings; it tries
out sampler, clipping and noise as they are installed; and where the plan's data can be opened it measures gradients
on it (`--no-measure` leaves the data alone).

Each finding is one line with its reason and its fix; `--json` prints all of them as one object. The exit code is 1 when
something is refused, 0 when nothing is, and 2 when the plan cannot be read.

The same rules are applied before every run, and what is refused there is not trained:

- `fedcore simulate` applies all of them, those that need rows too, before anything is written;
- the server applies those that need no rows before it asks anyone;
- each client applies those that need no rows before it opens its data, and those that do (`remembers-rows`,
  `record-isolation`) before it trains. `fedcore doctor --data` applies the latter too, and warns of
  `trained-rows-evaluated`.

Warnings do not stop a run. They are in its privacy statement, under `verification`, except for
`trained-rows-evaluated`: it says something about rows, and is shown only where the rows are.

The command also says how records are kept apart in a run: `proven`, `isolated` or `probed`
([what these mean](privacy.md#records-are-kept-apart)). Measurements give every record the same random numbers in every
pass, so that dropout or noise in a forward pass is no coupling.

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
