"""The models that the program offers, pinned: which file of which revision, how long, with which hash.

Sizes and hashes are those of the published files (facts/gguf-conversion.md, section 2; of the 120b checkpoint, those on
which two programs that pin it agree, and its tensors have just that size). A name alone is not enough: the repositories
hold several files of nearly the same name, and a branch moves.
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
_TOKENIZER = (
    CatalogueFile("generation_config.json", 177),
    CatalogueFile("special_tokens_map.json", 98),
    CatalogueFile("tokenizer_config.json", 4_200),
    CatalogueFile("chat_template.jinja", 16_738, "a4c9919cbbd4acdd51ccffe22da049264b1b73e59055fa58811a99efbd7c8146"),
    CatalogueFile("tokenizer.json", 27_868_174, "0614fe83cadab421296e664e1f48f4261fa8fef6e03e63bb75c20f38e37d07d3"),
)
"""What both checkpoints have in common."""
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
        CatalogueFile("model.safetensors.index.json", 36_355),
        *_TOKENIZER,
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
_SHARDS_120B = (
    (4_625_017_896, "695218884684c611fe08a74751ee443f971e9bd9bc062edba822da3fe45969b7"),
    (4_115_586_736, "a881aa5f561b26a22b14a8262aa61849ace349ffd73d74769e030ac90a1fcf8a"),
    (4_625_017_888, "022478dd04398c5bdb545a5be0a6437ecc2eb53d1dbd29edafcfff4b3ddf0a41"),
    (4_115_586_752, "47aee9e7b9d5bedb215042c01ccededd9bd9c30b0dddea862dc2506b9d6c74de"),
    (4_625_017_896, "f6c2752acda607b1d5ca52df9e75c1b9b2761e6875ff10c9bd6ddac473c0262e"),
    (4_115_586_696, "0c8dd401544c31cb93b8459eee7da20ea2a07626a59455d7d92b85257df9b46c"),
    (4_625_017_856, "28d839f2e027985a8b14e45f2323798862eddb7770ee9800ea6b7c803abee489"),
    (4_060_267_176, "c8958c5f183c04f6ea959cfd90562b5128124154b2bbf979b8a22b9405b30ed8"),
    (4_625_017_896, "bf1f2a88868ffc37d520dcf77d26f0e823710b5e682d473ff10f6974fa3b7517"),
    (4_170_906_304, "f72d34a4004241b45c332b61f8ffa124e9a913bc1ab442b66e717d3e94e741ce"),
    (4_625_017_896, "f48c867c2cb0a44bfc2f8768cb98e4aec9a350946fceacfebdcad5d32ad4a471"),
    (4_115_586_752, "a06851b2cfd35f48722f823bc1ab8f7bcb4a878a5b8e975f4d3544f230454eeb"),
    (4_064_660_808, "3af33667c307e20ae2a7648ea52653de46dd0171601ec5c696e47a2f5d5bf1e4"),
    (4_625_017_896, "bcbcb74b043e071d1e05471d500d74dcf661175e00878ed302ccdf1801a75aef"),
    (4_115_586_736, "54b1be1609696c307cc5ca117b1fa54feaddebffa04e9c2db117652a01964230"),
)
GPT_OSS_120B_ORIGINAL = Entry(
    "gpt-oss-120b-original",
    N_("gpt-oss-120b, as OpenAI published it"),
    N_("A checkpoint to convert on this computer."),
    "openai/gpt-oss-120b",
    "b5c939de8f754692c1647ca79fbf85e8c1e70f8a",
    APACHE_2,
    Format.SAFETENSORS,
    (
        CatalogueFile("config.json", 2_089),
        CatalogueFile("model.safetensors.index.json", 54_511),
        *_TOKENIZER,
        *(
            CatalogueFile(f"model-{number:05}-of-00014.safetensors", size, digest)
            for number, (size, digest) in enumerate(_SHARDS_120B)
        ),
    ),
    layers=36,
    experts=128,
)

ENTRIES = (
    GPT_OSS_20B,
    GPT_OSS_120B,
    GPT_OSS_120B_SPLIT,
    GPT_OSS_20B_Q4_K_M,
    GPT_OSS_20B_EARLIER,
    GPT_OSS_20B_ORIGINAL,
    GPT_OSS_120B_ORIGINAL,
)


@dataclass(frozen=True, slots=True)
class Known:
    """A model of which we know no revision and hashes to pin: it is looked up at its `repository`.

    It has the architecture of `like`, as which it runs, and of `published_like`, as which it is fetched: their figures
    are about its own.
    """

    title: str
    note: str
    repository: str
    licence: str
    like: Entry
    published_like: Entry


BY_ADDRESS = (
    Known(
        "gpt-oss-safeguard-20b",
        N_("Judges texts by rules that you give it."),
        "openai/gpt-oss-safeguard-20b",
        APACHE_2,
        like=GPT_OSS_20B,
        published_like=GPT_OSS_20B_ORIGINAL,
    ),
)


def entry(key: str) -> Entry:
    """The entry of that key; KeyError if there is none."""
    return {e.key: e for e in ENTRIES}[key]
