"""The models that the program offers, pinned: which file of which revision, how long, with which hash.

Sizes and hashes are those of the published files (facts/gguf-conversion.md, section 2). A name alone is not enough: the
repositories hold several files of nearly the same name, and a branch moves.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from inglenook.core.i18n import N_
from inglenook.library.remote.hub import RemoteFile

APACHE_2 = "Apache-2.0"


class Format(StrEnum):
    """What the files of an entry are."""

    GGUF = "gguf"  # runs as it is; of several files, llama.cpp is given the first
    SAFETENSORS = "safetensors"  # a checkpoint, to be converted


@dataclass(frozen=True, slots=True)
class CatalogueFile:
    """A file of a repository. `digest` is its sha256; "" where only the revision pins it (see `Hub.pinned`)."""

    name: str
    size: int
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A model on offer. `title` and `note` are message ids; `revision` is a full commit."""

    key: str
    title: str
    note: str
    repository: str
    revision: str
    licence: str
    format: Format
    files: tuple[CatalogueFile, ...]
    recommended: bool = False
    layers: int = 24
    experts: int = 32

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def remote(self) -> tuple[RemoteFile, ...]:
        """The files as something to fetch."""
        return tuple(RemoteFile(self.repository, self.revision, f.name, f.size, f.digest) for f in self.files)


GPT_OSS_20B = Entry(
    "gpt-oss-20b",
    N_("gpt-oss-20b"),
    N_("The model that this program is made for."),
    "ggml-org/gpt-oss-20b-GGUF",
    "ef9b12f2ff56c69cf32153a02784e7a3c88bf524",
    APACHE_2,
    Format.GGUF,
    (
        CatalogueFile(
            "gpt-oss-20b-MXFP4.gguf",
            12_109_566_624,
            "27cd6c432c7672cb812a92f611cf3ba7bbc35928262bb1e1253ff4ee6ae35901",
        ),
    ),
    recommended=True,
)
GPT_OSS_20B_EARLIER = Entry(
    "gpt-oss-20b-earlier",
    N_("gpt-oss-20b, the file of 2025"),
    N_("The same weights under the file's earlier name, for those who have it already."),
    "ggml-org/gpt-oss-20b-GGUF",
    "e1dc459feff949ff451ce107337a2026daa80df8",
    APACHE_2,
    Format.GGUF,
    (
        CatalogueFile(
            "gpt-oss-20b-mxfp4.gguf",
            12_109_566_560,
            "be37a636aca0fc1aae0d32325f82f6b4d21495f06823b5fbc1898ae0303e9935",
        ),
    ),
)
GPT_OSS_20B_Q4_K_M = Entry(
    "gpt-oss-20b-q4-k-m",
    N_("gpt-oss-20b, Q4_K_M"),
    N_("Half a gigabyte smaller, from another publisher."),
    "unsloth/gpt-oss-20b-GGUF",
    "d449b42d93e1c2c7bda5312f5c25c8fb91dfa9b4",
    APACHE_2,
    Format.GGUF,
    (
        CatalogueFile(
            "gpt-oss-20b-Q4_K_M.gguf",
            11_624_759_488,
            "c27536640e410032865dc68781d80a08b98f8db5e93575919af8ccc0568aeb4f",
        ),
    ),
)
GPT_OSS_120B = Entry(
    "gpt-oss-120b",
    N_("gpt-oss-120b"),
    N_("The big one: for a computer with 80 GB of memory or more."),
    "ggml-org/gpt-oss-120b-GGUF",
    "238abdd290bb874b90a5da1b4549881b7d05c091",
    APACHE_2,
    Format.GGUF,
    (
        CatalogueFile(
            "gpt-oss-120b-MXFP4.gguf",
            63_387_346_208,
            "582bd40f6886200101f4c4ed9f25f3fe80cc14c86e9e2b37746cd8904a0c622d",
        ),
    ),
    layers=36,
    experts=128,
)
GPT_OSS_120B_SPLIT = Entry(
    "gpt-oss-120b-split",
    N_("gpt-oss-120b, in three files"),
    N_("The same model in parts, for disks that take no file of 63 GB."),
    "ggml-org/gpt-oss-120b-GGUF",
    "d932fcea62f83e088d8f076a2cd2d7eb02dfa682",
    APACHE_2,
    Format.GGUF,
    (
        CatalogueFile(
            "gpt-oss-120b-mxfp4-00001-of-00003.gguf",
            12_980_384,
            "e2865eb6c1df7b2ffbebf305cd5d9074d5ccc0fe3b862f98d343a46dad1606f9",
        ),
        CatalogueFile(
            "gpt-oss-120b-mxfp4-00002-of-00003.gguf",
            31_738_487_200,
            "346492f65891fb27cac5c74a8c07626cbfeb4211cd391ec4de37dbbe3109a93b",
        ),
        CatalogueFile(
            "gpt-oss-120b-mxfp4-00003-of-00003.gguf",
            31_635_878_880,
            "66dca81040933f5a49177e82c479c51319cefb83bd22dad9f06dad45e25f1463",
        ),
    ),
    layers=36,
    experts=128,
)
GPT_OSS_20B_ORIGINAL = Entry(
    "gpt-oss-20b-original",
    N_("gpt-oss-20b, as OpenAI published it"),
    N_("A checkpoint to convert on this computer."),
    "openai/gpt-oss-20b",
    "6cee5e81ee83917806bbde320786a8fb61efebee",
    APACHE_2,
    Format.SAFETENSORS,
    (
        # Small ones first: what is wrong with a repository shows before gigabytes have come.
        CatalogueFile("config.json", 1_806),
        CatalogueFile("generation_config.json", 177),
        CatalogueFile("special_tokens_map.json", 98),
        CatalogueFile("tokenizer_config.json", 4_200),
        CatalogueFile("model.safetensors.index.json", 36_355),
        CatalogueFile(
            "chat_template.jinja", 16_738, "a4c9919cbbd4acdd51ccffe22da049264b1b73e59055fa58811a99efbd7c8146"
        ),
        CatalogueFile("tokenizer.json", 27_868_174, "0614fe83cadab421296e664e1f48f4261fa8fef6e03e63bb75c20f38e37d07d3"),
        CatalogueFile(
            "model-00000-of-00002.safetensors",
            4_792_272_488,
            "16d0f997dcfc4462089d536bffe51b4bcea2f872f5c430be09ef8ed392312427",
        ),
        CatalogueFile(
            "model-00001-of-00002.safetensors",
            4_798_702_184,
            "4fbe328ab445455d6f58dc73852b85873bd626986310abd91cd4d2ce3245eaea",
        ),
        CatalogueFile(
            "model-00002-of-00002.safetensors",
            4_170_342_232,
            "a18106b209e9ab35c3406db4f6f12a927364a058b21e9d1373d682e20674b303",
        ),
    ),
)

ENTRIES = (
    GPT_OSS_20B,
    GPT_OSS_120B,
    GPT_OSS_120B_SPLIT,
    GPT_OSS_20B_Q4_K_M,
    GPT_OSS_20B_EARLIER,
    GPT_OSS_20B_ORIGINAL,
)


BY_ADDRESS = (("gpt-oss-safeguard-20b", "openai/gpt-oss-safeguard-20b"),)
"""Names and repositories of models of which we know no revision and hashes to pin: they are looked up."""


def entry(key: str) -> Entry:
    """The entry of that key; KeyError if there is none."""
    return {e.key: e for e in ENTRIES}[key]
