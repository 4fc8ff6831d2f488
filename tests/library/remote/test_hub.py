"""Names and sizes from the Hub, and the loopback Hub itself against the real client as an oracle."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.library.fetching import TOKEN, Client
from tests.library.hub import COMMIT, REPOSITORY, Fault, LoopbackHub, retry_after

from inglenook.core.errors import UserError
from inglenook.library.remote.answers import LONGEST_WAIT, length
from inglenook.library.remote.answers import retry_after as seconds_of
from inglenook.library.remote.hub import Hub, RemoteFile


def test_the_list_of_a_repository(client: Client, hub: LoopbackHub, file: RemoteFile) -> None:
    small = hub.add("config.json", b"{}", small=True)
    listing = client.hub.listing(REPOSITORY)
    assert (listing.commit, listing.files) == (COMMIT, (file, small))
    (seen,) = hub.seen
    assert seen.headers["Authorization"] == f"Bearer {TOKEN}"
    assert [r.purpose for r in client.traffic.requests()] == ["look-up"]


@pytest.mark.parametrize("fault", [Fault(html=True, where="api"), Fault(status=200, where="api")])
def test_a_list_that_is_none(client: Client, hub: LoopbackHub, fault: Fault) -> None:
    hub.always = fault
    with pytest.raises(UserError):
        client.hub.listing(REPOSITORY)


def test_a_busy_hub_and_no_hub_are_told_to_a_person_who_looks_something_up(client: Client, hub: LoopbackHub) -> None:
    hub.always = Fault(status=429, headers=retry_after(60), where="api")
    with pytest.raises(UserError, match="cannot be reached: HTTP 429"):
        client.hub.listing(REPOSITORY)
    hub.__exit__()
    with pytest.raises(UserError, match="cannot be reached"):
        client.hub.listing(REPOSITORY)


@pytest.mark.parametrize("name", ["model", "../x", "a/../b", "a/b/c", "a/b?x", "http://x/y", "a /b", ""])
def test_a_name_of_a_repository_that_is_none(client: Client, hub: LoopbackHub, name: str) -> None:
    with pytest.raises(UserError, match="owner/name"):
        client.hub.listing(name)
    assert not hub.seen


def test_the_hub_is_asked_for_a_hash_that_is_not_known(client: Client, hub: LoopbackHub) -> None:
    data = b'{"a": 1}'
    small = hub.add("config.json", data, small=True)
    large = hub.add("model.safetensors", b"x" * 1000)
    for file in (small, large):
        assert client.hub.pinned(replace(file, digest="")) == file
    assert small.digest == hashlib.sha1(b"blob 8\0" + data).hexdigest()


@pytest.mark.parametrize("header", [("X-Repo-Commit", "f" * 40), ("ETag", '"no hash"')])
def test_another_revision_than_the_pinned_one_is_refused(
    client: Client, hub: LoopbackHub, header: tuple[str, str]
) -> None:
    file = hub.add("config.json", b"{}", small=True)
    hub.always = Fault(headers=(header,), where="hub")
    with pytest.raises(UserError, match="which version"):
        client.hub.pinned(replace(file, digest=""))


def test_a_token_is_not_sent_over_an_open_line(
    client: Client, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", hub.endpoint)  # so that a host of any name ends here
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(UserError):
        Hub(client.network, "http://mirror.invalid", TOKEN).listing(REPOSITORY)
    (seen,) = hub.seen
    assert "Authorization" not in seen.headers


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("0", 0), ("120", 120), (" 7 ", 7), ("999999", LONGEST_WAIT), ("Fri, 31 Dec 1999 23:59:59 GMT", 0)]
    + [(v, None) for v in ("", "soon", "-5", "1.5", "٣", "Fri, 99 Dec 1999 23:59:59 GMT")],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    assert seconds_of(value) == seconds


ORACLE = """
import sys
from huggingface_hub import HfApi, hf_hub_download
endpoint, folder, commit = sys.argv[1:]
api = HfApi(endpoint=endpoint, token=False)
info = api.model_info("owner/model", files_metadata=True)
assert info.sha == commit
lfs, small = info.siblings
print(lfs.rfilename, lfs.size, lfs.lfs.sha256, small.rfilename, small.size, small.blob_id)
for name in (lfs.rfilename, small.rfilename):
    print(hf_hub_download("owner/model", name, revision=commit, local_dir=folder, endpoint=endpoint, token=False))
"""


def test_the_real_client_understands_the_loopback_hub(hub: LoopbackHub, file: RemoteFile, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub", reason="comes with transformers, an oracle")
    small = hub.add("config.json", b"{}", small=True)
    environment = {
        **os.environ,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_ENDPOINT": hub.endpoint,
    }
    command = [sys.executable, "-c", ORACLE, hub.endpoint, str(tmp_path / "out"), COMMIT]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    facts = done.stdout.splitlines()[0].split()
    assert facts == [file.name, str(file.size), file.digest, small.name, str(small.size), small.digest]
    for name in (file.name, small.name):
        assert (tmp_path / "out" / name).read_bytes() == hub.files[name]


@pytest.mark.parametrize("text", ["", "-5", "٣", "1" * 5000, "1e5", " 5"])
def test_what_is_no_length_is_none(text: str) -> None:
    assert length(text) == -1
    assert length("12100000000") == 12_100_000_000
