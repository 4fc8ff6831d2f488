"""The whole way, checkpoint to GGUF, held against gguf-py's reader and decoder and against llama.cpp."""

import ctypes
from collections.abc import Iterator
from pathlib import Path

import gguf
import llama_cpp
import numpy as np
import pytest
from tests.converter.checkpoints import Shape, Tensors, bf16, slow_mxfp4, tensors, write_checkpoint

from inglenook_convert.__main__ import convert
from inglenook_convert.headers import check_gguf
from inglenook_convert.progress import make_progress

SHAPES = [
    Shape(),
    Shape(layers=3, hidden=96, intermediate=64, experts=32, used=4, heads=2, kv_heads=1, head_dim=64),
    Shape(layers=1, hidden=64, intermediate=64, experts=4, used=1),
]


def convert_quietly(source: Path, target: Path) -> dict[str, gguf.ReaderTensor]:
    convert(source, target, make_progress("json"))
    return {tensor.name: tensor for tensor in gguf.GGUFReader(target).tensors}


def expert_values(content: Tensors, layer: int, name: str) -> np.ndarray:
    """Of a projection, [experts, rows, columns], by the slow definition."""
    at = f"model.layers.{layer}.mlp.experts.{name}"
    return slow_mxfp4(content[f"{at}_blocks"][1], content[f"{at}_scales"][1]).astype(np.float32)


def decoded(tensor: gguf.ReaderTensor) -> np.ndarray:
    values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    return values.reshape(tuple(int(n) for n in reversed(tensor.shape)))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("shards", [1, 3])
def test_every_tensor_has_the_checkpoints_values(tmp_path: Path, shape: Shape, shards: int) -> None:
    content = tensors(shape)
    target = tmp_path / "out.gguf"
    found = convert_quietly(write_checkpoint(tmp_path / "model", shape, content, shards=shards), target)
    assert len(found) == 3 + 19 * shape.layers == check_gguf(target).n_tensors
    for layer in range(shape.layers):
        fused = expert_values(content, layer, "gate_up_proj")
        biases = bf16(content[f"model.layers.{layer}.mlp.experts.gate_up_proj_bias"])
        for name, start in (("gate", 0), ("up", 1)):
            tensor = found[f"blk.{layer}.ffn_{name}_exps.weight"]
            assert tensor.tensor_type is gguf.GGMLQuantizationType.MXFP4
            assert np.array_equal(decoded(tensor), fused[:, start::2])
            assert not np.array_equal(decoded(tensor), fused[:, 1 - start :: 2])  # gate and up swapped would be noticed
            assert np.array_equal(decoded(found[f"blk.{layer}.ffn_{name}_exps.bias"]), biases[:, start::2])
        down = found[f"blk.{layer}.ffn_down_exps.weight"]
        assert np.array_equal(decoded(down), expert_values(content, layer, "down_proj"))
    assert_dense(found, content, shape)


def assert_dense(found: dict[str, gguf.ReaderTensor], content: Tensors, shape: Shape) -> None:
    exact = {"output_norm.weight": "model.norm.weight"}
    matrices = {"token_embd.weight": "model.embed_tokens.weight", "output.weight": "lm_head.weight"}
    for i in range(shape.layers):
        at, blk = f"model.layers.{i}.", f"blk.{i}."
        exact |= {
            f"{blk}attn_norm.weight": f"{at}input_layernorm.weight",
            f"{blk}post_attention_norm.weight": f"{at}post_attention_layernorm.weight",
            f"{blk}attn_sinks.weight": f"{at}self_attn.sinks",
            f"{blk}ffn_gate_inp.weight": f"{at}mlp.router.weight",
            f"{blk}ffn_gate_inp.bias": f"{at}mlp.router.bias",
            f"{blk}ffn_down_exps.bias": f"{at}mlp.experts.down_proj_bias",
        }
        for ours, theirs in (("q", "q"), ("k", "k"), ("v", "v"), ("output", "o")):
            matrices[f"{blk}attn_{ours}.weight"] = f"{at}self_attn.{theirs}_proj.weight"
            exact[f"{blk}attn_{ours}.bias"] = f"{at}self_attn.{theirs}_proj.bias"
    for name, source in exact.items():
        assert found[name].tensor_type is gguf.GGMLQuantizationType.F32, name
        assert np.array_equal(decoded(found[name]), bf16(content[source])), name
    for name, source in matrices.items():
        assert found[name].tensor_type is gguf.GGMLQuantizationType.Q8_0, name
        expected = gguf.quants.quantize(bf16(content[source]), gguf.GGMLQuantizationType.Q8_0)
        assert found[name].data.tobytes() == expected.tobytes(), name


def test_the_same_input_gives_the_same_file(tmp_path: Path) -> None:
    source = write_checkpoint(tmp_path / "model")
    convert_quietly(source, tmp_path / "a.gguf")
    convert_quietly(source, tmp_path / "b.gguf")
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()


@pytest.fixture(scope="module")
def quiet_llama() -> Iterator[None]:
    """llama.cpp initialised, with its log kept off the test's output."""
    callback = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(callback, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    yield
    llama_cpp.llama_log_set(llama_cpp.llama_log_callback(0), ctypes.c_void_p(0))


def meta(model: object, key: str) -> str:
    buffer = ctypes.create_string_buffer(4096)
    assert llama_cpp.llama_model_meta_val_str(model, key.encode(), buffer, len(buffer)) >= 0, key
    return buffer.value.decode()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.usefixtures("quiet_llama")
def test_llama_cpp_loads_it_and_reads_the_same_metadata(tmp_path: Path, shape: Shape) -> None:
    content = tensors(shape)
    for layer in range(shape.layers):  # llama.cpp computes with these: no extremes here
        for name in ("gate_up_proj", "down_proj"):
            scales = content[f"model.layers.{layer}.mlp.experts.{name}_scales"][1]
            scales.reshape(-1)[:4] = 120
    target = tmp_path / "out.gguf"
    convert_quietly(write_checkpoint(tmp_path / "gpt-oss-toy", shape, content), target)
    parameters = llama_cpp.llama_model_default_params()
    parameters.check_tensors = True
    parameters.use_extra_bufts = False  # its AMX code crashes if some versions of GCC built it
    model = llama_cpp.llama_model_load_from_file(str(target).encode(), parameters)
    assert model
    try:
        vocab = llama_cpp.llama_model_get_vocab(model)
        assert llama_cpp.llama_vocab_n_tokens(vocab) == shape.vocabulary
        assert llama_cpp.llama_vocab_get_text(vocab, llama_cpp.llama_vocab_eos(vocab)) == b"<|return|>"
        assert llama_cpp.llama_vocab_get_text(vocab, llama_cpp.llama_vocab_bos(vocab)) == b"<|startoftext|>"
        assert llama_cpp.llama_model_n_layer(model) == shape.layers
        assert llama_cpp.llama_model_n_embd(model) == shape.hidden
        assert llama_cpp.llama_model_n_swa(model) == 128
        assert llama_cpp.llama_model_chat_template(model, None) == b"{{ messages }}"
        assert meta(model, "general.name") == "gpt-oss-toy"
        assert meta(model, "gpt-oss.expert_count") == str(shape.experts)
        assert finite_logits(model, shape.vocabulary)
    finally:
        llama_cpp.llama_model_free(model)


def finite_logits(model: object, size: int) -> bool:
    context = llama_cpp.llama_init_from_model(model, llama_cpp.llama_context_default_params())
    tokens = (llama_cpp.llama_token * 5)(1, 2, 3, 4, 5)
    try:
        assert llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(tokens, 5)) == 0
        logits = np.ctypeslib.as_array(llama_cpp.llama_get_logits(context), (size,))
        return bool(np.isfinite(logits).all() and logits.std() > 0)
    finally:
        llama_cpp.llama_free(context)
