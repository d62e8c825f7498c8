"""Masks by convolutions whose weights come from the queries (CondInst, Tian et al. 2020).

Letters in shapes: N frames, Q queries, C channels, h and w of the mask map at stride 4.
"""

import torch
from torch import Tensor, nn

from mmvl.layers import MLP

STRIDE = 4


class DynamicMaskHead(nn.Module):
    """Three 1x1 convolutions for each query, over the mask map and two relative coordinates.

    Args:
        embed_dims: channels C.
        hidden: channels between the convolutions.
    """

    def __init__(self, embed_dims: int, hidden: int = 8) -> None:
        super().__init__()
        self.hidden = hidden
        weights = (embed_dims + 2) * hidden, hidden * hidden, hidden
        self.numbers = [*weights, hidden, hidden, 1]
        self.controller = MLP(embed_dims, embed_dims, sum(self.numbers), 3)
        for parameter in self.controller.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
            else:
                nn.init.zeros_(parameter)

    def forward(self, states: Tensor, centres: Tensor, features: Tensor) -> Tensor:
        """Make masks.

        Args:
            states: (N, Q, C) of queries.
            centres: (N, Q, 2) xy of their objects, in pixels of the network's input.
            features: (N, C, h, w).

        Returns:
            (N, Q, h, w) float32 logits.
        """
        parameters = self.controller(states).float()
        # coordinates are hundreds of pixels: too much for half precision
        with torch.autocast(features.device.type, enabled=False):
            return self._convolve(parameters, centres.float(), features.float())

    def _convolve(self, parameters: Tensor, centres: Tensor, features: Tensor) -> Tensor:
        count, queries = parameters.shape[:2]
        height, width = features.shape[-2:]
        w0, w1, w2, b0, b1, b2 = parameters.split(self.numbers, -1)
        kernel, along = w0.unflatten(-1, (self.hidden, -1)).split([features.shape[1], 2], -1)
        x = kernel.flatten(1, 2) @ features.flatten(2)
        x = x.view(count, queries, self.hidden, height, width)
        # a coordinate differs in one direction only
        columns = torch.arange(width, device=x.device) * STRIDE + STRIDE // 2
        rows = torch.arange(height, device=x.device) * STRIDE + STRIDE // 2
        from_columns = along[..., 0, None] * (centres[..., :1] - columns)[:, :, None]
        from_rows = along[..., 1, None] * (centres[..., 1:] - rows)[:, :, None]
        x = x + from_columns[..., None, :] + (from_rows + b0[..., None])[..., None]
        x = x.flatten(3).relu_()
        x = (w1.unflatten(-1, (self.hidden, -1)) @ x + b1[..., None]).relu_()
        x = w2[..., None, :] @ x + b2[..., None]
        return x.view(count, queries, height, width)
