"""Tensors of a pretended device: their memory is the CPU's, used only by the device's own operations."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

NAME = "pretended"
"""The device type."""


class PretendedTensor(Tensor):
    """A tensor on a pretended device.

    To PyTorch it is a tensor without memory, whose storage carries the CPU's memory as an attribute. Views, ``.data``
    and in-place changes therefore share memory as they would on a device.
    """

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def holding(cls, values: Tensor, device: torch.device) -> PretendedTensor:
        """A tensor on `device` over the memory of `values`, a tensor of the CPU."""
        storage = torch.UntypedStorage(values.untyped_storage().nbytes(), device="meta")  # type: ignore[no-untyped-call]
        storage.memory = values.untyped_storage()  # type: ignore[attr-defined]
        return cls._over(storage, values, device)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Refuse: the device does not exist. Only operations without computation are answered."""
        if func.overloadpacket.__name__ == "device":
            return torch.device(NAME, 0)
        if func.overloadpacket.__name__ == "_has_compatible_shallow_copy_type":
            return all(isinstance(each, PretendedTensor) for each in args)
        raise RuntimeError("a tensor of a pretended device was used outside of the device's with statement")

    def tolist(self) -> Any:
        """The values; the host waits for them."""
        return self.cpu().tolist()

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        copy = self.detach().clone()
        copied = nn.Parameter(copy, self.requires_grad) if isinstance(self, nn.Parameter) else copy
        memo[id(self)] = copied
        return copied

    def shares_memory(self, values: Tensor) -> bool:
        return bool(_memory(self)._cdata == values.untyped_storage()._cdata)

    def viewed_as(self, values: Tensor) -> PretendedTensor:
        """The tensor over the same memory with the offset, sizes, strides and type of `values`."""
        return self._over(self.untyped_storage(), values, torch.device(NAME, 0))

    @classmethod
    def _over(cls, storage: torch.UntypedStorage, like: Tensor, device: torch.device) -> PretendedTensor:
        bare = torch.empty(0, dtype=like.dtype, device="meta")
        bare.set_(storage, like.storage_offset(), like.size(), like.stride())
        made: PretendedTensor = Tensor._make_subclass(
            cls, bare, False, dispatch_device=True, device_for_backend_keys=device
        )
        return made


def memory_of(value: Any) -> Any:
    """The CPU tensor behind one of the device; other values unchanged."""
    if not isinstance(value, PretendedTensor):
        return value
    bare = torch.empty(0, dtype=value.dtype)
    return bare.set_(_memory(value), value.storage_offset(), value.size(), value.stride())


def _memory(tensor: PretendedTensor) -> torch.UntypedStorage:
    memory: torch.UntypedStorage = tensor.untyped_storage().memory  # type: ignore[attr-defined]
    return memory
