"""What a network computes: a digest of its recorded operations, so that an edited network is another one."""

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from equivariance.layers.record import evaluating


def computation_digest(model: nn.Module, shape: Sequence[int]) -> str:
    """Identifies what a network computes in evaluation mode, apart from its weights.

    One grey image passes through the network. The digest covers every operation with its operands (by their place
    in the order of computation, or the weight's name), numbers, shapes and types, and the content of constants that
    are no weights. Comments and names in the code do not matter. The operations may differ between devices and
    versions of PyTorch: call it on the CPU.
    """
    parameter = next(model.parameters(), None)
    image = torch.full((1, *shape), 0.5)
    image = image if parameter is None else image.to(parameter)
    names = [*model.named_parameters(), *model.named_buffers()]
    recorded = _Operations({id(tensor): name for name, tensor in [*names, ("image", image)]})
    with evaluating(model), torch.no_grad(), recorded:
        model(image)
    return recorded.content.hexdigest()


class _Operations(TorchDispatchMode):
    """Adds every operation to `content`; tensors are numbered as they are computed."""

    _should_skip_dynamo = staticmethod(lambda: False)  # as in `layers.record`

    def __init__(self, names: dict[int, str]):
        super().__init__()
        self.names, self.count, self.content = names, 0, hashlib.blake2b(digest_size=8)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        operands = self._text((args, kwargs or {}))  # before the operation, which may write into them
        out = func(*args, **(kwargs or {}))
        self.content.update(f"{func}{operands}{self._numbered(out)}".encode())
        return out

    def _text(self, value: Any) -> str:
        if isinstance(value, Tensor):
            name = self.names.get(id(value)) or getattr(value, "_number", None)
            if name is None:
                content = value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes()
                name = hashlib.blake2b(content).hexdigest()
            return f"{name}{tuple(value.shape)}{value.dtype}"
        if isinstance(value, list | tuple):
            return f"[{','.join(map(self._text, value))}]"
        if isinstance(value, dict):
            return f"{{{','.join(f'{key}:{self._text(each)}' for key, each in value.items())}}}"
        return "" if isinstance(value, torch.device) else repr(value)

    def _numbered(self, value: Any) -> str:
        """Number the tensors of an output; their shapes and types as text."""
        if isinstance(value, Tensor):
            self.count += 1
            value._number = f"#{self.count}"  # type: ignore[attr-defined]
            return f"{tuple(value.shape)}{value.dtype}"
        return ",".join(map(self._numbered, value)) if isinstance(value, list | tuple) else ""
