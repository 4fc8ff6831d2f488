"""A LoRA adapter as PEFT writes it: its options, its pairs of factors, and the tensors that it has in full.

An adapted matrix W becomes W + s B A, with s = alpha / rank (rank-stabilised: alpha / sqrt(rank)), A [rank, in] and B
[out, rank]. For the experts PEFT has two ways: on 3-D parameters [E, p, q], where A is [E * rank, in] with a whole
expert after the other and B [out, rank * E] with the experts alternating; and on a linear layer for each expert.
Source: LoraLayer, ParamWrapper and get_pattern_key of peft 0.17 to 0.19. Pure, standard library only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from inglenook_convert.errors import ConvertError
from inglenook_convert.headers import StoredTensor, shown

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"

# In a pattern of alpha_pattern: with many repetitions, or nested ones, matching one name could take for ever.
_REPEATED = re.compile(r"[*+?{]")
_MOST_REPEATED = 2
_NESTED = re.compile(r"\)[*+?{]")
_PREFIX = "base_model.model."
_FACTOR = re.compile(r"base_model\.model\.(.+?)((?:\.base_layer)*)\.lora_([AB])(?:\.default)?\.weight")
_UNSUPPORTED = (
    "use_dora", "use_qalora", "use_bdlora", "lora_bias", "fan_in_fan_out", "layer_replication",
    "alora_invocation_tokens", "trainable_token_indices",
)  # fmt: skip
# Other ways to begin change the base as well, and the adapter does not say how.
_BEGINNINGS = (None, True, False, "gaussian", "eva", "orthogonal")

_REMEDY = "Merge it with PEFT's merge_and_unload, save that model, and convert it."

_FLOATS = ("BF16", "F16", "F32")

Tensors = Mapping[str, StoredTensor]
Pair = tuple[StoredTensor, StoredTensor]


def check_config(config: Mapping[str, Any], where: str) -> None:
    """Raises `ConvertError` for what is not plain LoRA; `where` is the file's name for the message."""
    kind = config.get("peft_type")
    if kind != "LORA":
        raise ConvertError(f"{where}: peft_type is {shown(kind)}; only LORA adapters can be merged. {_REMEDY}")
    for option in _UNSUPPORTED:
        if config.get(option):
            raise ConvertError(f"{where}: {option} is set, which is not plain LoRA. {_REMEDY}")
    if (beginning := config.get("init_lora_weights")) not in _BEGINNINGS:
        raise ConvertError(f"{where}: init_lora_weights is {shown(beginning)}, which changes the base too. {_REMEDY}")
    patterns = config.get("alpha_pattern") or {}
    if not isinstance(patterns, dict) or not all(map(_is_number, [config.get("lora_alpha"), *patterns.values()])):
        raise ConvertError(f"{where}: lora_alpha or alpha_pattern is not given in numbers.")
    for pattern in patterns:
        try:
            re.compile(pattern)
            usable = len(_REPEATED.findall(pattern)) <= _MOST_REPEATED and not _NESTED.search(pattern)
        except (re.error, RecursionError, OverflowError):
            usable = False
        if not usable:
            raise ConvertError(f"{where}: alpha_pattern has the unusable pattern {shown(pattern)}.")


def combined(base: Tensors, adapter: Tensors) -> dict[str, StoredTensor]:
    """The tensors of both. Those that an adapter has in full (modules_to_save, biases, lm_head) replace the base's.

    Raises `ConvertError` for a tensor that is neither that nor a factor.
    """
    found = dict(base)
    for name, tensor in adapter.items():
        whole = name.removeprefix(_PREFIX).replace(".base_layer", "")  # so where the module is adapted too
        if _FACTOR.fullmatch(name):
            found[name] = tensor
        elif name.startswith(_PREFIX) and whole in base:
            if base[whole].shape != tensor.shape or tensor.dtype not in _FLOATS or base[whole].dtype not in _FLOATS:
                raise ConvertError(
                    f"{tensor.file}: tensor {name!r} is {tensor.dtype} {list(tensor.shape)}, and in the base it is"
                    f" {base[whole].dtype} {list(base[whole].shape)}. Give the adapter's own base with --base."
                )
            found[whole] = StoredTensor(whole, tensor.dtype, tensor.shape, tensor.file, tensor.offset, tensor.nbytes)
        else:
            raise ConvertError(f"{tensor.file}: tensor {name!r} cannot be merged into this base. {_REMEDY}")
    return found


def pairs_of(tensors: Tensors) -> dict[tuple[str, int], Pair]:
    """A and B by module and by how many wrappers there are around it. Raises `ConvertError` if one is missing."""
    halves: dict[str, dict[tuple[str, int], StoredTensor]] = {"A": {}, "B": {}}
    for name, tensor in tensors.items():
        if match := _FACTOR.fullmatch(name):
            if tensor.dtype not in _FLOATS or len(tensor.shape) != 2 or not all(tensor.shape):
                raise misshapen(tensor, "a matrix of BF16, F16 or F32")
            halves[match.group(3)][match.group(1), match.group(2).count(".base_layer")] = tensor
    for one, other in ("AB", "BA"):
        for key, tensor in halves[one].items():
            if key not in halves[other]:
                raise ConvertError(
                    f"{tensor.file}: tensor {tensor.name!r} has no lora_{other} beside it. Get it again."
                )
    return {key: (a, halves["B"][key]) for key, a in halves["A"].items()}


def scale_of(config: Mapping[str, Any], rank: int, *names: str) -> float:
    """What is the product's factor, in the module or parameter that has any of `names` in the model."""
    patterns: Mapping[str, float] = config.get("alpha_pattern") or {}
    alpha = config["lora_alpha"]
    for pattern, value in patterns.items():
        if any(re.match(rf"(.*\.)?({pattern})$", name) for name in names):
            alpha = value
            break
    return float(alpha / (math.sqrt(rank) if config.get("use_rslora") else rank))


def misshapen(tensor: StoredTensor, wanted: str) -> ConvertError:
    """The error for a factor that does not fit its base."""
    return ConvertError(
        f"{tensor.file}: tensor {tensor.name!r} is {tensor.dtype} {list(tensor.shape)}, and the base calls for"
        f" {wanted}. Give the adapter's own base with --base."
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e30
