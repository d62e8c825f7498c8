"""Multi-layer perceptron."""

from torch import Tensor, nn


class MLP(nn.Module):
    """Linear layers with ReLU between them; the box heads of the DETR family.

    Args:
        in_dims: input channels.
        hidden_dims: channels of every hidden layer.
        out_dims: output channels.
        num_layers: linear layers in all.
    """

    def __init__(self, in_dims: int, hidden_dims: int, out_dims: int, num_layers: int) -> None:
        super().__init__()
        widths = [in_dims, *[hidden_dims] * (num_layers - 1), out_dims]
        self.layers = nn.ModuleList(
            nn.Linear(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in_dims) to (..., out_dims)."""
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return self.layers[-1](x)
