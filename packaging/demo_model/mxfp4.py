"""MXFP4 in torch: rounding while training, packing for the checkpoint, and the decoding that both must agree with.

A block is 32 numbers along the last axis with one power-of-two scale (stored with bias 127); a number is a sign and one
of eight magnitudes. Source: OCP Microscaling Formats 1.0, section 5.3.
"""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 32
MAGNITUDES = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
_MIDDLES = (MAGNITUDES[1:] + MAGNITUDES[:-1]) / 2


def encode(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Codes 0..15 (uint8, shape [..., n/32, 32]) and exponents (int32, [..., n/32]) of `weight` [..., n].

    Of the two exponents around the block's largest magnitude it takes the one with the smaller squared error.
    """
    blocks = weight.detach().float().reshape(*weight.shape[:-1], -1, BLOCK)
    largest = blocks.abs().amax(-1).clamp_min(2.0**-100)
    low = (torch.floor(torch.log2(largest)) - 2).to(torch.int32)
    best_codes = _codes(blocks, low)
    best_error = (_values(best_codes, low) - blocks).square().sum(-1)
    high = low + 1
    codes = _codes(blocks, high)
    better = (_values(codes, high) - blocks).square().sum(-1) < best_error
    return torch.where(better.unsqueeze(-1), codes, best_codes), torch.where(better, high, low)


def _codes(blocks: Tensor, exponent: Tensor) -> Tensor:
    scaled = torch.ldexp(blocks, -exponent.unsqueeze(-1))
    magnitude = torch.bucketize(scaled.abs(), _MIDDLES)
    negative = (scaled < 0) & (magnitude > 0)
    return (magnitude + 8 * negative).to(torch.uint8)


def _values(codes: Tensor, exponent: Tensor) -> Tensor:
    magnitude = MAGNITUDES[(codes & 7).long()]
    signed = torch.where(codes >= 8, -magnitude, magnitude)
    return torch.ldexp(signed, exponent.unsqueeze(-1))


def rounded(weight: Tensor) -> Tensor:
    """`weight` with values that MXFP4 can hold; the gradient passes as if nothing had happened (straight-through)."""
    return weight + (_values(*encode(weight)).flatten(-2) - weight).detach()


def packed(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Blocks (uint8, [..., n/32, 16]: element 2i in the low half of byte i) and scales (uint8, [..., n/32])."""
    codes, exponent = encode(weight)
    return codes[..., 0::2] | (codes[..., 1::2] << 4), (exponent + 127).to(torch.uint8)


def unpacked(blocks: Tensor, scales: Tensor) -> Tensor:
    """The numbers that `packed` wrote, [..., n]."""
    codes = torch.stack((blocks & 15, blocks >> 4), -1).flatten(-2)
    return _values(codes, scales.to(torch.int32) - 127).flatten(-2)
