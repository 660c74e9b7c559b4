"""A pretended accelerator: it refuses operations as a GPU would, and counts what the host waits for."""

from __future__ import annotations

import sys
from collections import Counter
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import CodeType
from typing import Any

import torch
from torch import Tensor
from torch.autograd.grad_mode import set_multithreading_enabled
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from fedcore.checkup.pretended_cells import CELLS
from fedcore.checkup.pretended_tensor import NAME, PretendedTensor, memory_of

_READS = ("_local_scalar_dense", "equal", "nonzero", "_unique2", "unique_consecutive", "unique_dim", "masked_select")
"""Operations whose result the host needs before it can continue."""
_INDEXING = ("index", "index_put", "index_put_", "_unsafe_index", "_index_put_impl_")
_COPIES = ("_to_copy", "copy_")
_OWN = str(Path(__file__).parent / "pretended_")


class PretendedRefusalError(RuntimeError):
    """What a real device would refuse."""


class PretendedDevice(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A second device without hardware, during its ``with`` statement.

    Its tensors have a device of their own and are computed by the kernels of the CPU, so that results are those of
    the CPU. As on a real device, tensors of two devices cannot be mixed, and the host waits for every value it reads.
    Speed, memory and rounding are not those of a real device.

    PyTorch has room for one more device type. If another package has registered one, this cannot be used.

    Args:
        float64: Whether it computes in float64; Apple's MPS does not.
        most_elements: Elements of the largest tensor that fits; a larger one raises ``torch.OutOfMemoryError``.

    Attributes:
        device: The device to move tensors to.
        kernels: Number of operations on the device by name, without views.
        reads: Number of times the host waited for a result, by the line of code.
        writes: Number of copies from the host to the device, by the line of code.
        bytes_read: Copied from the device to the host.
        bytes_written: Copied from the host to the device.
        refused: What a real device would refuse, with the line of code; also if the exception was caught.

    Raises:
        RuntimeError: Another package has registered a device type.
    """

    def __init__(self, *, float64: bool = True, most_elements: int | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._float64, self._most_elements = float64, most_elements
        self.device = _registered()
        self.reset()

    def reset(self) -> None:
        self.kernels: Counter[str] = Counter()
        self.reads: Counter[str] = Counter()
        self.writes: Counter[str] = Counter()
        self.bytes_read = self.bytes_written = 0
        self.refused: list[str] = []

    def __enter__(self) -> PretendedDevice:
        """Start. Backward passes run in this thread, since the device has none of its own."""
        self._threads = set_multithreading_enabled(False)
        self._swapped = torch.__future__.get_swap_module_params_on_conversion()
        # A parameter that is moved stays the same object, which modules with shared parameters rely on.
        torch.__future__.set_swap_module_params_on_conversion(True)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        """End; tensors on the device cannot be used afterwards."""
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        torch.__future__.set_swap_module_params_on_conversion(self._swapped)
        self._threads.__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation with the CPU's kernel, by the rules of a second device."""
        kwargs = dict(kwargs or {})
        name = func.overloadpacket.__name__
        tensors = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        ours = [each for each in tensors if isinstance(each, PretendedTensor)]
        target = kwargs.get("device")
        onto = target is not None and torch.device(target).type == NAME
        if not ours and not onto:
            return func(*args, **kwargs)
        if name == "device":
            return self.device
        if name == "_has_compatible_shallow_copy_type":
            return len(ours) == len(tensors)
        off = bool(ours) and target is not None and not onto
        self._count_copies(name, args, tensors, off=off)
        if onto:
            kwargs["device"] = torch.device("cpu")
        result = CELLS.get(name, func)(*tree_map(memory_of, args), **tree_map(memory_of, kwargs))
        return result if off else self._placed(func, result, ours)

    def _count_copies(self, name: str, args: Any, tensors: list[Tensor], *, off: bool) -> None:
        """Count copies between host and device, and refuse operations on tensors of both."""
        on_host = [each for each in tensors if not isinstance(each, PretendedTensor)]
        if off or name in _READS or (name == "copy_" and not isinstance(args[0], PretendedTensor)):
            self.reads[_place()] += 1
            self.bytes_read += _num_bytes(args[1] if name == "copy_" else args[0]) if name in _COPIES else 0
        elif on_host and (name in _COPIES or name in _INDEXING):
            self.writes[_place()] += len(on_host)
            self.bytes_written += sum(map(_num_bytes, on_host))
        elif any(each.ndim for each in on_host):
            raise self._refusal(
                f"Expected all tensors to be on the same device, but found at least two devices, {self.device} and "
                f"cpu! (in {name} at {_place()})"
            )

    def _placed(self, func: Any, result: Any, ours: list[PretendedTensor]) -> Any:
        """The result on the device; results that share memory with an argument share it there too."""
        changed = func._schema.is_mutable
        computed = changed

        def place(value: Any) -> Any:
            nonlocal computed
            if not isinstance(value, Tensor):
                computed = True
                return value
            source = next((each for each in ours if each.shares_memory(value)), None)
            if source is None:
                computed = True
                self._check(value)
                return PretendedTensor.holding(value, self.device)
            if not changed:
                return source.viewed_as(value)
            same = next((each for each in ours if memory_of(each).is_set_to(value)), None)
            if same is None:  # changed in shape, such as by squeeze_
                same = source
                same.data = source.viewed_as(value)
            return same

        placed = tree_map(place, result)
        name = func.overloadpacket.__name__
        if computed and "empty" not in name and name != "is_set_to":
            self.kernels[name] += 1
        return placed

    def _check(self, value: Tensor) -> None:
        if value.dtype == torch.float64 and not self._float64:
            raise self._refusal(f"this device does not support float64 (at {_place()})")
        if self._most_elements is not None and value.numel() > self._most_elements:
            raise torch.OutOfMemoryError(f"{self.device} out of memory: a tensor of {value.numel()} elements")

    def _refusal(self, why: str) -> PretendedRefusalError:
        self.refused.append(why)
        return PretendedRefusalError(why)


class _DeviceModule:
    """The module that PyTorch expects at ``torch.<device type>``; its generator is never used."""

    def __init__(self) -> None:
        self._generator = torch.Generator()

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return True

    def current_device(self) -> int:
        return 0

    def device_count(self) -> int:
        return 1

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed(self, seed: int) -> None:
        self._generator.manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:
        self._generator.manual_seed(seed)

    def get_rng_state(self, device: Any = None) -> Tensor:
        return self._generator.get_state()

    def set_rng_state(self, state: Tensor, device: Any = None) -> None:
        self._generator.set_state(state)

    def empty_cache(self) -> None: ...


@cache
def _registered() -> torch.device:
    """The device, with its type registered in PyTorch; this cannot be undone."""
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

    taken = torch._C._get_privateuse1_backend_name()
    if taken != "privateuseone":
        raise RuntimeError(f"PyTorch has room for one further device type, and {taken!r} has taken it")
    # The first backward pass starts a thread for each device, and a process with such threads cannot be forked.
    torch.zeros(1, requires_grad=True).sum().backward()  # type: ignore[no-untyped-call]
    _setup_privateuseone_for_python_backend(NAME, backend_module=_DeviceModule())
    return torch.device(NAME, 0)


@cache
def _foreign() -> tuple[str, ...]:
    """Folders of code that is never the cause."""
    found = [find_spec(name) for name in ("torch", "opacus")]
    return (_OWN, *(str(Path(spec.origin).parent) for spec in found if spec is not None and spec.origin))


def _is_foreign(code: CodeType) -> bool:
    return code.co_name == "__torch_dispatch__" or code.co_filename.startswith(_foreign())


def _num_bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _place() -> str:
    frame = sys._getframe(1)
    while frame is not None and _is_foreign(frame.f_code):
        frame = frame.f_back  # type: ignore[assignment]
    if frame is None:
        return "backward pass"
    path = Path(frame.f_code.co_filename)
    return f"{path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}:{frame.f_lineno}"
