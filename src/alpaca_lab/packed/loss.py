"""The loss of response tokens from their hidden states, without the logits of a whole pass.

Half of Alpaca's tokens are prompt and carry no loss, so their logits are never made. The others'
are made a piece at a time, and the gradient with them: 16,000 tokens' logits over a vocabulary of
32,000 would take two GB in float32, twice.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

PIECE = 1024
"""Tokens whose logits exist at one time."""


class _ResponseLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden, weight, bias, targets):
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        for start in range(0, len(hidden), PIECE):
            part = slice(start, start + PIECE)
            logits = F.linear(hidden[part], weight, bias).float()
            wanted = targets[part, None]
            log_z = logits.logsumexp(-1, keepdim=True)
            total += (log_z - logits.gather(-1, wanted)).sum()
            if gradient is not None:
                # The softmax, less one at the wanted token, in the logits' own memory.
                logits.sub_(log_z).exp_()
                logits.scatter_add_(-1, wanted, logits.new_full((1, 1), -1.0).expand_as(wanted))
                torch.mm(logits.to(weight.dtype), weight, out=gradient[part])
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx, scale):
        (gradient,) = ctx.saved_tensors
        return gradient * scale.to(gradient.dtype), None, None, None


def response_loss(hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    """Return the sum of the negative log-likelihoods of `targets`, in nats, as float32.

    Args:
        hidden: (n, hidden size), the states that predict the targets.
        weight: (vocabulary, hidden size), the output embedding; frozen.
        bias: (vocabulary,) or None; frozen.
        targets: (n,) token ids.
    """
    return _ResponseLoss.apply(hidden, weight, bias, targets)
