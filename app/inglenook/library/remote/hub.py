"""The Hugging Face Hub's HTTP, as far as we need it: the list of a repository, and where a file's bytes are.

Spoken by ourselves, through `network`: huggingface_hub would bring a second HTTP library and a native transport that
both pass outside the place where requests are listed and forbidden. A mirror is another `endpoint`.

A file's address (`/REPO/resolve/REVISION/NAME`) answers with a redirect to where the bytes are, usually another host.
The redirect itself says what will come: X-Linked-Size, X-Linked-Etag (the sha256 of large files; of small ones ETag is
git's hash) and X-Repo-Commit.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import quote

from inglenook.core.errors import UserError
from inglenook.core.i18n import N_
from inglenook.library.remote.answers import Odd, TryLater, check_answer, length
from inglenook.library.remote.network import LOOK_UP, Lost, Network, address, unpacked, without_secret

if TYPE_CHECKING:
    import httpx

HUB = "https://huggingface.co"
MAX_REDIRECTS = 10
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_DIGEST = re.compile(r"[0-9a-f]{64}|[0-9a-f]{40}")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_LICENCE = re.compile(r"[\w.+-]{1,40}", re.ASCII)
_MAX_LISTING = 16 << 20  # bytes


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file to fetch. `digest` is its sha256 (64 hexadecimal digits) or git's hash of it as a blob (40).

    "" is a hash that is not known yet (see `Hub.pinned`).
    """

    repository: str
    revision: str
    name: str  # with folders, separated by /
    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class Listing:
    """A repository at one commit. `licence` is what its card says, "" if that says nothing."""

    repository: str
    commit: str
    files: tuple[RemoteFile, ...]
    licence: str = ""


@dataclass(frozen=True, slots=True)
class Linked:
    """What the Hub itself said of a file on the way to its bytes. -1 or "" where it said nothing."""

    size: int = -1
    etag: str = ""
    commit: str = ""

    def joined(self, headers: Mapping[str, str]) -> Linked:
        """With what `headers` add."""
        size = headers.get("X-Linked-Size", "")
        return Linked(
            self.size if (given := length(size)) < 0 else given,
            _digest(headers.get("X-Linked-Etag", "")) or self.etag,
            headers.get("X-Repo-Commit", self.commit),
        )


class Hub:
    """The Hub at `endpoint`. The `token` is sent to that host only, and kept nowhere but here."""

    def __init__(self, network: Network, endpoint: str = HUB, token: str | None = None) -> None:
        self.network = network
        self.endpoint = endpoint.rstrip("/")
        self._token = token

    def __repr__(self) -> str:
        return f"Hub({without_secret(self.endpoint)!r})"

    def url(self, file: RemoteFile) -> str:
        """Where the Hub has `file`."""
        check_repository(file.repository)
        return f"{self.endpoint}/{file.repository}/resolve/{quote(file.revision, safe='')}/{quote(file.name)}"

    def listing(self, repository: str, revision: str = "main") -> Listing:
        """All files of a repository. Raises `UserError`."""
        check_repository(repository)
        url = f"{self.endpoint}/api/models/{repository}/revision/{quote(revision, safe='')}?blobs=true"
        with (
            _for_people(self.endpoint),
            self.network.client(LOOK_UP) as client,
            self.open(client, "GET", url) as (response, _),
        ):
            check_answer(response, repository)
            data = b""
            for chunk in unpacked(response):
                data += chunk
                if len(data) > _MAX_LISTING:
                    break
        try:
            return _listing(repository, json.loads(data))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise Odd(
                N_("{host} sent no list of files. Check the address of the mirror, or try again later."),
                host=response.url.host,
            ) from error

    def pinned(self, file: RemoteFile, check: Callable[[], None] = lambda: None) -> RemoteFile:
        """`file` with its hash, for which the Hub is asked. Raises `UserError`, `Lost`, `TryLater`, or as `check` does.

        Such a hash is worth what the Hub's word is: that of small files, which only a revision pins.
        """
        url = self.url(file)
        with self.network.client(LOOK_UP, check) as client, self.open(client, "HEAD", url) as (response, linked):
            check_answer(response, file.name)
            digest = linked.etag
            if not digest and self._is_own(str(response.url)):
                digest = _digest(response.headers.get("ETag", ""))
        if not digest or linked.commit != file.revision:
            raise Odd(
                N_("{host} does not say which version of {name} it has. Choose another mirror."),
                host=response.url.host,
                name=file.name,
            )
        return replace(file, digest=digest)

    @contextlib.contextmanager
    def open(
        self, client: httpx.Client, method: str, url: str, headers: Mapping[str, str] | None = None
    ) -> Iterator[tuple[httpx.Response, Linked]]:
        """The answer for `url` after redirects, its body unread, with what the Hub said of the file on the way.

        The token goes to the endpoint's host and to no other. `Odd` where redirects lead nowhere.
        """
        linked = Linked()
        seen: set[str] = set()
        while True:
            own = self._is_own(url)
            request = client.build_request(method, address(url), headers=headers)
            request.headers["Accept-Encoding"] = "identity"
            if own and self._token and _keeps_secrets(request.url):
                request.headers["Authorization"] = f"Bearer {self._token}"
            response = client.send(request, stream=True)
            try:
                if own:
                    linked = linked.joined(response.headers)
                if response.status_code not in _REDIRECTS:
                    yield response, linked
                    return
                seen.add(url)
                url = _next(response, seen)
            finally:
                response.close()

    def _is_own(self, url: str) -> bool:
        ours, theirs = address(self.endpoint), address(url)
        return (ours.scheme, ours.host, ours.port) == (theirs.scheme, theirs.host, theirs.port)


def check_repository(repository: str) -> None:
    """`UserError` unless `repository` looks like OWNER/NAME."""
    if not _REPOSITORY.fullmatch(repository) or ".." in repository:
        raise UserError(
            N_("{repository} is no name of a repository. It must be of the form owner/name."), repository=repository
        )


def _digest(etag: str) -> str:
    """The hash that an ETag is on the Hub; "" if it is something else."""
    etag = etag.removeprefix("W/").strip('"').lower()
    return etag if _DIGEST.fullmatch(etag) else ""


@contextlib.contextmanager
def _for_people(endpoint: str) -> Iterator[None]:
    """A look-up is not tried again by itself: a person waits for it."""
    try:
        yield
    except (Lost, TryLater) as error:
        raise UserError(
            N_("{endpoint} cannot be reached: {reason}. Check the network, or try again later."),
            endpoint=without_secret(endpoint),
            reason=error,
        ) from error


def _keeps_secrets(url: httpx.URL) -> bool:
    return url.scheme == "https" or url.host in ("localhost", "127.0.0.1", "::1")


def _next(response: httpx.Response, seen: set[str]) -> str:
    """Where a redirect leads."""
    host = response.url.host
    url = address(response.headers.get("Location", ""), response.url)
    if str(url) in seen or len(seen) >= MAX_REDIRECTS:
        raise Odd(N_("{host} sends us round in circles. Try again later, or choose another mirror."), host=host)
    if url.scheme == "http" and response.url.scheme == "https":
        raise Odd(
            N_("{host} sends us to an address that is not safe ({url}). Choose another mirror."), host=host, url=url
        )
    return str(url)


def _listing(repository: str, found: dict[str, object]) -> Listing:
    commit, siblings = found["sha"], found["siblings"]
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit) or not isinstance(siblings, list):
        raise TypeError
    files = []
    for one in siblings:
        lfs = one.get("lfs") or {}
        size, digest = lfs.get("size", one["size"]), lfs.get("sha256") or one["blobId"]
        if type(size) is not int or not 0 <= size < 1 << 63 or not _DIGEST.fullmatch(digest):
            raise ValueError
        files.append(RemoteFile(repository, commit, str(one["rfilename"]), size, digest))
    card = found.get("cardData")
    licence = card.get("license") if isinstance(card, dict) else None
    is_name = isinstance(licence, str) and _LICENCE.fullmatch(licence)
    return Listing(repository, commit, tuple(files), str(licence) if is_name else "")
