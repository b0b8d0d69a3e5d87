"""The norm over time of the Base models, over an utterance's own frames and never its padding.

transformers leaves padding in: there, the features of an utterance change with the longest one of
its batch.  Legend: B rows, C channels, T frames of the first convolution.
"""

from typing import Any

import torch


class TimeNorm(torch.nn.Module):  # type: ignore[misc]
    """``torch.nn.GroupNorm`` with a group per channel; ``lengths_B`` are samples of each row."""

    def __init__(self, norm: torch.nn.GroupNorm, kernel: int, stride: int) -> None:
        super().__init__()
        assert norm.num_groups == norm.num_channels, "one group per channel"
        self.norm, self._kernel, self._stride = norm, kernel, stride
        self.lengths_B: torch.Tensor | None = None

    def forward(self, x_BCT: torch.Tensor) -> torch.Tensor:
        """Mean 0 and deviation 1 over each row's own frames, then weight and bias."""
        if self.lengths_B is None:
            normed: torch.Tensor = self.norm(x_BCT)
            return normed
        frames_B11 = ((self.lengths_B - self._kernel) // self._stride + 1)[:, None, None]
        own_B1T = torch.arange(x_BCT.shape[2], device=x_BCT.device) < frames_B11
        x = x_BCT.float()
        mean_BC1 = (x * own_B1T).sum(2, keepdim=True) / frames_B11
        centered = (x - mean_BC1) * own_B1T
        variance_BC1 = centered.square().sum(2, keepdim=True) / frames_B11
        scale_BC1 = torch.rsqrt(variance_BC1 + self.norm.eps) * self.norm.weight[:, None].float()
        return (centered * scale_BC1 + self.norm.bias[:, None].float()).to(x_BCT.dtype)


def masked_norms(model: Any) -> list[TimeNorm]:
    """Put ``TimeNorm`` in place of a model's norm over time; none where it has none (Large)."""
    first = model.feature_extractor.conv_layers[0]
    if not isinstance(getattr(first, "layer_norm", None), torch.nn.GroupNorm):
        return []
    first.layer_norm = TimeNorm(first.layer_norm, first.conv.kernel_size[0], first.conv.stride[0])
    return [first.layer_norm]
