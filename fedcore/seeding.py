"""Random streams that depend on their purpose, never on when or where they are drawn.

Every stream is named by a path such as ``("train", round, client)``. The same seed and path give the same
numbers on any number of workers, in a simulation and in a deployment alike.
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    import torch
    from numpy.typing import NDArray


def derive_seed(seed: int, *path: str | int) -> int:
    """Return the 63-bit seed of the stream that `path` names under `seed`.

    SHA-256 makes streams of neighbouring seeds, rounds or clients independent, unlike sums of their numbers.
    """
    text = "/".join(str(part) for part in (seed, *path))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def derive_seeds(seed: int, *path: str | int, names: Sequence[str]) -> NDArray[np.int64]:
    """`derive_seed` of ``(*path, name)`` for each name, where the path is hashed once."""
    import numpy as np

    begun = hashlib.sha256("".join(f"{part}/" for part in (seed, *path)).encode())
    digests = []
    for name in names:
        whole = begun.copy()
        whole.update(name.encode())
        digests.append(whole.digest()[:8])
    return (np.frombuffer(b"".join(digests), ">u8") >> 1).astype(np.int64)


def numpy_generator(seed: int, *path: str | int) -> np.random.Generator:
    import numpy as np

    return np.random.default_rng(derive_seed(seed, *path))


def torch_generator(seed: int, *path: str | int) -> torch.Generator:
    """A CPU generator for the stream that `path` names."""
    import torch

    return torch.Generator().manual_seed(derive_seed(seed, *path))


def seed_global_streams(device: torch.device, seed: int) -> None:
    """Seed torch's global generators of the CPU and of `device`, used by dropout, and of no other device."""
    import torch

    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    elif device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


@contextmanager
def global_streams_kept(device: torch.device) -> Iterator[None]:
    import torch

    if device.type == "cpu":
        with torch.random.fork_rng(devices=[]):
            yield
    else:
        with torch.random.fork_rng(devices=[device], device_type=device.type):
            yield
