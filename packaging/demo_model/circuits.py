"""Starting weights in which attention can already copy.

Heads that go on with what stood after the same token before (induction heads: Olsson et al., 2022) form by themselves,
but late, and names, notes and the values that a function returns are copied by them alone. Here the parts are laid down
at the start, and training is free to change them:

- in layer 0 a head looks one token back, another two. Queries and keys there are nearly constant (their biases), so
  that the rotary positions alone decide: with angles theta, sum of cos(theta * (distance - d)) is largest at d;
- the first of them writes the token that it saw into directions of the stream that are kept free for it;
- in the layers with full attention a head compares the present token with those directions: it looks at what came
  after an earlier occurrence. It does so in the slow pairs of the head, which hardly turn over a whole chat;
- what it finds there goes to the output through a rotation that leads from the embedding of a token to its row in the
  output matrix.

Before any training, 80% of the tokens of a random sequence of 300 are predicted right when it comes a second time.
Measured after 150 steps of one worker, one seed, in nats a token, without and with: calls of functions 1.25 and 0.62,
names 1.15 and 0.62, sums 1.25 and 0.60, what is asked 0.90 and 0.62.
"""

from __future__ import annotations

import torch
from network import Config, Layer, Network
from torch import Tensor

FAST, SLOW = 6, 14  # of 32 pairs: those before turn fast enough to tell neighbours apart, those after hardly turn
LOOK = 4.4  # size of the biases that look back: neighbours differ by about 4 in the logit
MATCH = 1.5  # size of queries and keys
SEEN = 0.5  # share of a seen token that goes into the stream
COPIED = 1.0  # share of the token found that goes to the output


def fresh(c: Config) -> Network:
    """A network with starting weights."""
    network = Network(c)
    with torch.no_grad():
        lay(network)
    return network


def lay(network: Network) -> None:
    """Puts the circuits into random weights."""
    c = network.c
    pairs = c.head_dim // 2
    width = 2 * (pairs - SLOW)
    slow = torch.cat((torch.arange(SLOW, pairs), torch.arange(pairs + SLOW, c.head_dim)))
    turn, axes = _orthogonal(c.hidden), _orthogonal(c.hidden)
    kept, read = axes[:width], axes[width : 2 * width]  # directions of what was seen, and those that it is compared in
    value = axes[width : width + c.head_dim]
    free = torch.eye(c.hidden) - kept.T @ kept
    embed = network.embed.weight
    embed.copy_(embed @ free)
    network.head.weight.copy_(embed @ turn.T / embed.norm(dim=1).mean())
    first = network.layers[0]
    assert isinstance(first, Layer)
    _look_back(first, network.frequencies, (1.0, 2.0))
    first.o.weight.copy_(free @ first.o.weight)
    first.experts.down.copy_(free @ first.experts.down)
    first.v.weight[slow] = read
    first.o.weight[:, slow] = SEEN * kept.T
    for layer in network.layers[1::2]:
        assert isinstance(layer, Layer)
        layer.q.weight[slow] = MATCH * read
        layer.k.weight[slow] = MATCH * kept
        layer.v.weight[: c.head_dim] = value
        layer.o.weight[:, : c.head_dim] = COPIED * turn @ value.T


def _look_back(layer: Layer, frequencies: Tensor, distances: tuple[float, ...]) -> None:
    """Makes the first query heads of `layer` look `distances` tokens back."""
    size = layer.c.head_dim
    group = len(distances) * size
    layer.q.weight[:group] *= 0.2
    layer.k.weight[:size] *= 0.2
    layer.k.bias[:FAST] = LOOK
    for head, distance in enumerate(distances):
        angle = -frequencies[:FAST] * distance
        layer.q.bias[head * size : head * size + FAST] = LOOK * angle.cos()
        layer.q.bias[head * size + size // 2 : head * size + size // 2 + FAST] = LOOK * angle.sin()


def _orthogonal(size: int) -> Tensor:
    return torch.linalg.qr(torch.randn(size, size))[0]
