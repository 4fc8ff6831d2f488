"""Models in any repository of the Hub: which there are, and whether one is a gpt-oss before it is fetched.

What the server says is not trusted: names that would lead elsewhere are left out, a header is read only so far and goes
through the same checks as a file that is here.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from inglenook.core.errors import UserError
from inglenook.core.i18n import N_
from inglenook.library.catalogue import CatalogueFile, Entry, Format
from inglenook.library.remote.address import Address
from inglenook.library.remote.answers import TryLater, check_answer
from inglenook.library.remote.hub import Hub, Listing, RemoteFile
from inglenook.library.remote.jobs import target_of
from inglenook.library.remote.network import LOOK_UP, Lost, unpacked, without_secret
from inglenook_convert.config import parse_config
from inglenook_convert.errors import ConvertError
from inglenook_convert.headers import GgufSummary, HeaderError, check_gguf
from inglenook_convert.known import ARCHITECTURE, check_known

MOST = 50  # models of a repository that are offered
_PART = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)
_BESIDE = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "model.safetensors.index.json",
)
_LARGEST_CONFIG = 1 << 20  # bytes
_FIRST, _LARGEST = 16 << 20, 64 << 20  # bytes of a header that are fetched, and at most


def models_at(hub: Hub, address: Address) -> list[Entry]:
    """The models at an address, one for each GGUF file (or set of files) and one for a checkpoint.

    They have the commit of now and the Hub's hashes. Raises `UserError` if there is none.
    """
    listing = hub.listing(address.repository, address.revision)
    found = [*_ggufs(listing), *_checkpoint(listing)]
    if address.name:
        found = [one for one in found if address.name in (file.name for file in one.files)]
    if address.tag:
        found = [one for one in found if address.tag.lower() in one.files[0].name.lower()]
    if not found:
        raise UserError(
            N_("There is no model in {repository} that Inglenook could use: no GGUF file and no safetensors."),
            repository=address.repository,
        )
    return found[:MOST]


def check_remote(hub: Hub, entry: Entry) -> Entry:
    """Reads the header (or config.json) from the Hub, for layers and experts. `UserError` if it is no gpt-oss."""
    if entry.format is Format.SAFETENSORS:
        return _check_config(hub, entry)
    file = entry.remote()[0]
    with tempfile.TemporaryDirectory() as folder:
        beginning = Path(folder, PurePosixPath(file.name).name)
        length = 0
        for size in (min(_FIRST, file.size), min(_LARGEST, file.size)):
            if size > length:
                _fetch(hub, file, beginning, length, size)
                length = size
            try:
                summary = check_gguf(beginning, file.size)
                check_known(beginning, summary)
                return _described(entry, summary)
            except HeaderError as error:
                problem = error
    raise UserError(
        N_("{name} is not fetched: {reason}"),
        name=file.name,
        reason=str(problem).replace(str(beginning), PurePosixPath(file.name).name),
    )


def _check_config(hub: Hub, entry: Entry) -> Entry:
    """The same of a checkpoint, by its config.json."""
    file = next(file for file in entry.remote() if file.name == "config.json")
    if file.size > _LARGEST_CONFIG:
        raise UserError(
            N_("{name} is not fetched: {reason}"), name=entry.key, reason=f"config.json: {file.size:,} bytes"
        )
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "config.json")
        _fetch(hub, file, target, 0, file.size)
        try:
            found = json.loads(target.read_bytes())
            config = parse_config(found if isinstance(found, dict) else {})
        except (ValueError, RecursionError):
            raise UserError(N_("{name} is not fetched: its config.json is no JSON."), name=entry.key) from None
        except ConvertError as error:
            raise UserError(N_("{name} is not fetched: {reason}"), name=entry.key, reason=error) from None
    return replace(entry, layers=config.layers, experts=config.experts)


def _described(entry: Entry, summary: GgufSummary) -> Entry:
    layers, experts = (summary.values.get(f"{ARCHITECTURE}.{key}") for key in ("block_count", "expert_count"))
    assert isinstance(layers, int)
    assert isinstance(experts, int)
    return replace(entry, layers=layers, experts=experts)


def _fetch(hub: Hub, file: RemoteFile, target: Path, start: int, end: int) -> None:
    """Appends bytes [start, end) of `file` to `target`."""
    headers = {"Range": f"bytes={start}-{end - 1}"}
    try:
        with hub.network.client(LOOK_UP) as client, hub.open(client, "GET", hub.url(file), headers) as (answer, _):
            check_answer(answer, file.name)
            left = end - start if answer.status_code == 206 else end
            skip = 0 if answer.status_code == 206 else start
            with target.open("ab") as out:
                for chunk in unpacked(answer):
                    piece = chunk[:left]
                    left -= len(piece)
                    out.write(piece[skip:])
                    skip = max(0, skip - len(piece))
                    if left <= 0:
                        break
    except (Lost, TryLater) as error:
        text = N_("{host} cannot be reached: {reason}. Check the network, or try again later.")
        raise UserError(text, host=without_secret(hub.endpoint), reason=error) from error


def _ggufs(listing: Listing) -> Iterator[Entry]:
    files = {file.name: file for file in listing.files if file.name.lower().endswith(".gguf") and _is_safe(file)}
    for name, file in sorted(files.items()):
        part = _PART.fullmatch(name)
        if part is None:
            yield _entry(listing, name, Format.GGUF, [file])
        elif int(part["number"]) == 1:
            count = int(part["count"])
            ending = name[-5:]
            names = [f"{part['stem']}-{i:05d}-of-{part['count']}{ending}" for i in range(1, min(count, 500) + 1)]
            if count <= 500 and all(one in files for one in names):
                yield _entry(listing, name, Format.GGUF, [files[one] for one in names])


def _checkpoint(listing: Listing) -> Iterator[Entry]:
    top = {file.name: file for file in listing.files if "/" not in file.name and _is_safe(file)}
    shards = [file for name, file in sorted(top.items()) if name.endswith(".safetensors")]
    if shards and "config.json" in top:
        files = [*(top[name] for name in _BESIDE if name in top), *shards]
        yield _entry(listing, "", Format.SAFETENSORS, files)


def _is_safe(file: RemoteFile) -> bool:
    try:
        target_of(Path(), file)
    except UserError:
        return False
    return file.size > 0 and file.name.isprintable()


def _entry(listing: Listing, name: str, kind: Format, files: Sequence[RemoteFile]) -> Entry:
    repository = listing.repository
    return Entry(
        key=f"{repository}/{name}" if name else repository,
        title=PurePosixPath(name).stem or repository.partition("/")[2],
        note=N_("From a repository that you named."),
        repository=repository,
        revision=listing.commit,
        licence=listing.licence,
        format=kind,
        files=tuple(CatalogueFile(file.name, file.size, file.digest) for file in files),
    )
