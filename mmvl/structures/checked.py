"""Instance data that refuses a wrong field when it is set, not three modules later."""

from typing import Any, ClassVar

import torch
from mmengine.structures import InstanceData


class CheckedInstanceData(InstanceData):
    """:class:`InstanceData` whose known fields have a dtype and a trailing shape.

    A subclass lists its fields in ``fields``: name -> (dtype, trailing shape), where None in the
    shape is any size. Fields that are not listed are accepted as InstanceData accepts them.
    """

    fields: ClassVar[dict[str, tuple[torch.dtype, tuple[int | None, ...]]]] = {}

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a field.

        Raises:
            TypeError: a listed field is not a tensor of its dtype.
            ValueError: a listed field has another trailing shape.
        """
        if name in self.fields:
            dtype, trailing = self.fields[name]
            if not isinstance(value, torch.Tensor) or value.dtype != dtype:
                got = value.dtype if isinstance(value, torch.Tensor) else type(value).__name__
                raise TypeError(f'{type(self).__name__}.{name} must be a {dtype} tensor, got {got}')
            shape = tuple(value.shape[1:])
            fits = value.ndim == 1 + len(trailing) and all(
                want in (None, have) for want, have in zip(trailing, shape, strict=True)
            )
            if not fits:
                wanted = ', '.join(['N', *('?' if n is None else str(n) for n in trailing)])
                raise ValueError(
                    f'{type(self).__name__}.{name} must have shape ({wanted}), '
                    f'got {tuple(value.shape)}'
                )
        super().__setattr__(name, value)
