"""AdamW by the kernel that ``torch.optim.AdamW(fused=True)`` calls, bit for bit the same.

The class of torch imports the whole of torch.compile as it is made: over a processor second in
every worker, whether or not it compiles anything.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from ray_slm.training.scale import Optimizer

MEAN, SQUARE, STEP = "exp_avg", "exp_avg_sq", "step"  # as torch names them


class AdamW:
    """The moments of named parameters; weight decay spares the norms."""

    def __init__(self, values: Optimizer, named: Mapping[str, Tensor]) -> None:
        self._values, self._named = values, named
        self._groups = [  # names, weight decay
            ([name for name, p in named.items() if p.ndim > 1], values.weight_decay),
            ([name for name, p in named.items() if p.ndim == 1], 0.0),
        ]
        self._state: dict[str, dict[str, Tensor]] = {
            kind: {name: torch.zeros_like(p, requires_grad=False) for name, p in named.items()}
            for kind in (MEAN, SQUARE)
        }
        self._state[STEP] = {
            name: torch.zeros((), dtype=torch.float32, device=p.device) for name, p in named.items()
        }

    def step(self, rate: float, unless: Tensor) -> None:
        """Change every parameter by its gradient, under no_grad, then drop the gradients.

        Nothing changes where the device finds ``unless``, a truth value on it, to hold.
        """
        skip = unless.float()
        for names, weight_decay in self._groups:
            parameters = [self._named[name] for name in names]
            means, squares, steps = (
                [self._state[kind][name] for name in names] for kind in (MEAN, SQUARE, STEP)
            )
            torch._foreach_add_(steps, 1)
            torch._fused_adamw_(
                parameters,
                [parameter.grad for parameter in parameters],
                means,
                squares,
                [],
                steps,
                lr=rate,
                beta1=self._values.beta1,
                beta2=self._values.beta2,
                weight_decay=weight_decay,
                eps=self._values.epsilon,
                amsgrad=False,
                maximize=False,
                found_inf=skip,
            )
            torch._foreach_sub_(steps, [skip] * len(steps))
        self.forget()

    def forget(self) -> None:
        """Drop the gradients."""
        for parameter in self._named.values():
            parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """All moments, as ``<parameter>/<kind>``."""
        return {
            f"{name}/{kind}": tensor
            for kind, tensors in self._state.items()
            for name, tensor in tensors.items()
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over moments that ``state`` gave.  Raises KeyError when one is missing."""
        for key, tensor in self.state().items():
            tensor.copy_(state[key])
