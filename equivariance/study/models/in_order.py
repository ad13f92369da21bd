"""What the networks of the papers share: layers in a row, measured under the names of their places."""

from torch import Tensor, nn


class InOrder(nn.Module):
    """Applies its modules in the order in which they were made: `stem`, each of `blocks`, `pool` and so on."""

    def forward(self, x: Tensor) -> Tensor:
        """Images (n, in_channels, h, w) to logits (n, num_classes)."""
        for module in self.children():
            for layer in module if isinstance(module, nn.ModuleList) else [module]:
                x = layer(x)
        return x

    def feature_layers(self) -> dict[str, nn.Module]:
        """The modules whose outputs are measured: `stem`, every block, `pool`, `final`, as far as there are any."""
        found: dict[str, nn.Module] = {}
        for name, module in self.named_children():
            if isinstance(module, nn.ModuleList):
                found |= {f"block{index}": block for index, block in enumerate(module, 1)}
            elif name in ("stem", "pool", "final"):
                found[name] = module
        return found
