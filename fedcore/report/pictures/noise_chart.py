"""Noise on the mean by ε, as a stand-alone picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fedcore.report.page.wording import Quantity
from fedcore.report.pictures.line_chart import Curve, LineChart

_NOISE = Quantity(name="noise over the run, in clip norms", cost=True)
_STYLE = (
    "<style>svg{background:#fff}text{font:11.5px system-ui,sans-serif;fill:#1b2128}.tick{font-size:11px;fill:#59626d}"
    ".grid{stroke:#ebecea;fill:none}.reference{stroke:#59626d;stroke-dasharray:4 3;fill:none}"
    ".line{fill:none;stroke-width:2}.line.main{stroke:#2868b0}.line.accent{stroke:#b35a00}.line.faint{stroke:#8a97a6}"
    ".dot{fill:#2868b0}.dot.accent{fill:#b35a00}.dot.faint{fill:#8a97a6}.name.accent{fill:#b35a00}"
    ".leader{stroke:#8a97a6;stroke-width:.8;fill:none}.bands path{stroke:#fff;stroke-opacity:0;fill:none}</style>"
)


def noise_picture(curves: Mapping[str, Sequence[tuple[float, float | None]]], *, useless_above: float) -> str:
    """Draw curves of the noise on the mean over ε as an SVG document, the first one highlighted.

    Args:
        useless_above: Noise above which nothing is learned.
    """
    names = list(curves)
    drawn = LineChart(
        curves=[
            Curve(name=name, points=curves[name], weight="accent" if name == names[0] else "faint")
            for name in reversed(names)
        ],
        quantity=_NOISE,
        across="ε",
        rounds=False,
        zero=True,
        reference=(useless_above, "useless above"),
        says="Length of the noise on the mean over the whole run, in clip norms, against ε",
    ).draw()
    opened = str(drawn).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    head, mark, rest = opened.partition(">")
    return f"{head}{mark}{_STYLE}{rest}\n"
