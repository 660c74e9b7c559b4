"""The rules and encodings that a plan names in ``aggregation.rule`` and ``aggregation.encode``."""

from __future__ import annotations

from fedcore.plugins import Registry

RULES = Registry(
    what="rule",
    rows={
        "mean": "fedcore.aggregation.mean:Mean",
        "uniform": "fedcore.aggregation.mean:Uniform",
        "trimmed-mean": "fedcore.aggregation.trimmed_mean:TrimmedMean",
        "median": "fedcore.aggregation.median:Median",
        "krum": "fedcore.aggregation.krum:Krum",
        "multi-krum": "fedcore.aggregation.krum:MultiKrum",
        "geometric-median": "fedcore.aggregation.geometric_median:GeometricMedian",
        "centered-clipping": "fedcore.aggregation.centered_clipping:CenteredClipping",
    },
    parts=("begin", "check", "sensitivity"),
)

ENCODINGS = Registry(
    what="encoding",
    rows={
        "norm-clip": "fedcore.aggregation.norm_clip:NormClip",
        "top-k": "fedcore.aggregation.top_k:TopK",
        "int8": "fedcore.aggregation.int8:Int8",
    },
    parts=("declare", "encode", "decode", "check", "refusal"),
)
