"""A small gpt-oss network in torch, made for training on a CPU.

It computes what the published architecture computes (grouped-query attention with sinks, every other layer with a
sliding window, YaRN rotary positions, a mixture of experts with the clamped SwiGLU), on parameters of the published
shapes. One thing is general here: who attends to whom is given by a mask, so that one sequence can hold a prompt with
several continuations (see `batches.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from mxfp4 import rounded
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Config:
    """Sizes and constants; the constants are those of gpt-oss-20b."""

    vocab: int = 4096
    hidden: int = 128
    intermediate: int = 192  # not `hidden`, so that a missed transpose shows
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    experts: int = 4
    experts_used: int = 2
    window: int = 128
    context: int = 131072
    rope_theta: float = 150000.0
    rope_factor: float = 32.0
    rope_original: int = 4096
    rope_beta_fast: float = 32.0
    rope_beta_slow: float = 1.0
    swiglu_limit: float = 7.0
    swiglu_alpha: float = 1.702
    norm_eps: float = 1e-5


def yarn_frequencies(c: Config) -> Tensor:
    """Angle per position of each of the head_dim/2 pairs.

    The bounds of the ramp are rounded outwards, as llama.cpp does and transformers with `truncate=True`.
    """

    def pair_of(rotations: float) -> float:
        wavelengths = c.rope_original / (rotations * 2 * math.pi)
        return c.head_dim * math.log(wavelengths) / (2 * math.log(c.rope_theta))

    low = max(math.floor(pair_of(c.rope_beta_fast)), 0)
    high = min(math.ceil(pair_of(c.rope_beta_slow)), c.head_dim - 1)
    pairs = torch.arange(c.head_dim // 2, dtype=torch.float32)
    plain = c.rope_theta ** (-2 * pairs / c.head_dim)
    stretched = ((pairs - low) / max(high - low, 0.001)).clamp(0, 1)
    return plain / c.rope_factor * stretched + plain * (1 - stretched)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions in the half-split (NEOX) pairing; x [B, heads, T, head_dim], cos, sin [B, 1, T, head_dim/2]."""
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Experts(nn.Module):
    """Router and experts. Gate and up are apart here (the published rows alternate): strided slices are slow."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.c = c
        self.router = nn.Linear(c.hidden, c.experts)
        self.gate = nn.Parameter(torch.randn(c.experts, c.intermediate, c.hidden) / c.hidden**0.5)
        self.up = nn.Parameter(torch.randn(c.experts, c.intermediate, c.hidden) / c.hidden**0.5)
        self.gate_bias = nn.Parameter(torch.zeros(c.experts, c.intermediate))
        self.up_bias = nn.Parameter(torch.zeros(c.experts, c.intermediate))
        self.down = nn.Parameter(
            torch.randn(c.experts, c.hidden, c.intermediate) / (c.intermediate * 2 * c.layers) ** 0.5
        )
        self.down_bias = nn.Parameter(torch.zeros(c.experts, c.hidden))
        self.quantized = False

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """X [N, hidden] to the same shape, and the routing weights [N, experts] (zero where not chosen)."""
        c = self.c
        best, chosen = self.router(x).topk(c.experts_used, -1)
        share = torch.zeros(len(x), c.experts).scatter(1, chosen, best.softmax(-1))
        matrices = (self.gate, self.up, self.down)
        gates, ups, downs = (rounded(m) for m in matrices) if self.quantized else matrices
        out = torch.zeros_like(x)
        for e in range(c.experts):
            mine = (chosen == e).any(-1).nonzero().squeeze(-1)
            h = x[mine]
            gate = F.linear(h, gates[e], self.gate_bias[e]).clamp(max=c.swiglu_limit)
            up = F.linear(h, ups[e], self.up_bias[e]).clamp(-c.swiglu_limit, c.swiglu_limit)
            h = F.linear(gate * torch.sigmoid(c.swiglu_alpha * gate) * (up + 1), downs[e], self.down_bias[e])
            out = out.index_add(0, mine, h * share[mine, e].unsqueeze(-1))
        return out, share


class Past:
    """Keys and values of one layer for the tokens so far, [B, kv_heads, T, head_dim]."""

    def __init__(self) -> None:
        self._kept: tuple[Tensor, Tensor] | None = None

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Adds those of new tokens; returns all."""
        if self._kept is not None:
            k, v = torch.cat((self._kept[0], k), 2), torch.cat((self._kept[1], v), 2)
        self._kept = k, v
        return self._kept


class Layer(nn.Module):
    """Attention and experts, each after its norm and added to the stream."""

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.c = c
        self.norm1 = nn.RMSNorm(c.hidden, eps=c.norm_eps)
        self.q = nn.Linear(c.hidden, c.heads * c.head_dim)
        self.k = nn.Linear(c.hidden, c.kv_heads * c.head_dim)
        self.v = nn.Linear(c.hidden, c.kv_heads * c.head_dim)
        self.o = nn.Linear(c.heads * c.head_dim, c.hidden)
        self.sinks = nn.Parameter(torch.zeros(c.heads))
        self.norm2 = nn.RMSNorm(c.hidden, eps=c.norm_eps)
        self.experts = Experts(c)

    def attend(self, x: Tensor, cos: Tensor, sin: Tensor, bias: Tensor, past: Past | None) -> Tensor:
        """Attention on normed x [B, T, hidden]; see `forward`.

        A head's sink is a logit that takes its share of the softmax and adds nothing. Here it is one more key: query
        heads of a group carry a one-hot of their place in it, which meets the heads' sinks in that key alone. So the
        fused attention of torch can be used, and the sinks learn.
        """
        c, (b, t, _) = self.c, x.shape
        group = c.heads // c.kv_heads
        q = rotate(self.q(x).view(b, t, c.heads, c.head_dim).transpose(1, 2), cos, sin)
        k = rotate(self.k(x).view(b, t, c.kv_heads, c.head_dim).transpose(1, 2), cos, sin)
        v = self.v(x).view(b, t, c.kv_heads, c.head_dim).transpose(1, 2)
        if past is not None:
            k, v = past.append(k, v)
        place = torch.eye(group).repeat(c.kv_heads, 1).view(1, c.heads, 1, group).expand(b, -1, t, -1)
        q = torch.cat((q * c.head_dim**-0.5, place), -1)
        k = F.pad(k, (0, group, 0, 0))
        sink = F.pad(self.sinks.view(1, c.kv_heads, 1, group), (c.head_dim, 0)).expand(b, -1, -1, -1)
        k = torch.cat((k, sink), 2).repeat_interleave(group, 1)
        v = F.pad(v, (0, group, 0, 1)).repeat_interleave(group, 1)
        h = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0)[..., : c.head_dim]
        out: Tensor = self.o(h.transpose(1, 2).reshape(b, t, -1))
        return out

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, bias: Tensor, past: Past | None = None
    ) -> tuple[Tensor, Tensor]:
        """X [B, T, hidden]; `bias` [B, 1, T, keys + 1] is 0 where a query may look, else -inf; last is the sink."""
        x = x + self.attend(self.norm1(x), cos, sin, bias, past)
        out, share = self.experts(self.norm2(x).flatten(0, 1))
        return x + out.view_as(x), share


class Network(nn.Module):
    """Token ids to logits."""

    frequencies: Tensor

    def __init__(self, c: Config) -> None:
        super().__init__()
        self.c = c
        self.embed = nn.Embedding(c.vocab, c.hidden)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.layers))
        self.norm = nn.RMSNorm(c.hidden, eps=c.norm_eps)
        self.head = nn.Linear(c.hidden, c.vocab, bias=False)
        self.register_buffer("frequencies", yarn_frequencies(c), persistent=False)
        self.start()

    def start(self) -> None:
        """Starting weights: unit gain through each projection, small steps onto the stream."""
        c = self.c
        nn.init.normal_(self.embed.weight, std=0.5)
        nn.init.normal_(self.head.weight, std=c.hidden**-0.5)
        for module in self.modules():
            if isinstance(module, nn.Linear) and module is not self.head:
                nn.init.normal_(module.weight, std=module.in_features**-0.5)
                nn.init.zeros_(module.bias)
        # Only now, as a layer comes before its own projections in `modules`.
        for layer in (m for m in self.modules() if isinstance(m, Layer)):
            for narrow in (layer.q, layer.k):  # soft attention at first: see optimizer.py
                nn.init.normal_(narrow.weight, std=0.5 * c.hidden**-0.5)
            nn.init.normal_(layer.o.weight, std=(layer.o.in_features * 2 * c.layers) ** -0.5)

    def quantize(self, on: bool = True) -> None:
        """From now on, experts compute with weights rounded to MXFP4."""
        for module in self.modules():
            if isinstance(module, Experts):
                module.quantized = on

    def hidden(
        self,
        ids: Tensor,
        positions: Tensor,
        visible: Tensor,
        key_positions: Tensor | None = None,
        past: Sequence[Past] | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """The stream after the last norm [B, T, hidden], and each layer's routing weights.

        ids, positions [B, T]; visible [B, T, keys] says whether query i may look at key j at all (the sliding windows
        are added here, by position). Keys are the tokens themselves, or with `past` all tokens so far, at
        `key_positions` [B, keys].
        """
        angle = positions.unsqueeze(-1) * self.frequencies
        gain = 0.1 * math.log(self.c.rope_factor) + 1  # YaRN's correction of attention's temperature
        cos, sin = (angle.cos() * gain).unsqueeze(1), (angle.sin() * gain).unsqueeze(1)
        never = float("-inf")
        keys_at = positions if key_positions is None else key_positions
        full = torch.zeros(visible.shape).masked_fill(~visible, never)
        far = (positions.unsqueeze(-1) - keys_at.unsqueeze(-2)) >= self.c.window
        local = F.pad(full.masked_fill(far, never), (0, 1)).unsqueeze(1)
        full = F.pad(full, (0, 1)).unsqueeze(1)
        x = self.embed(ids)
        shares = []
        for i, layer in enumerate(self.layers):
            x, share = layer(x, cos, sin, full if i % 2 else local, past[i] if past else None)
            shares.append(share)
        return self.norm(x), shares


class Decoder:
    """Token after token: logits for the last of all the tokens fed so far."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._past = [Past() for _ in network.layers]
        self._length = 0

    @torch.no_grad()
    def feed(self, ids: Sequence[int]) -> Tensor:
        """Adds `ids`; logits [vocab] for what follows them."""
        first, self._length = self._length, self._length + len(ids)
        keys = torch.arange(self._length, dtype=torch.float32).unsqueeze(0)
        positions = keys[:, first:]
        visible = positions.unsqueeze(-1) >= keys.unsqueeze(-2)
        hidden, _ = self._network.hidden(torch.tensor([list(ids)]), positions, visible, keys, self._past)
        logits: Tensor = self._network.head(hidden[0, -1])
        return logits
