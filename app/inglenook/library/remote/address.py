"""What people paste for a model on the Hub: a repository's name, or the address of its page or of one of its files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from inglenook.core.errors import UserError
from inglenook.core.i18n import N_
from inglenook.library.remote.hub import check_repository

_HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")
_LONGEST = 2000  # characters
_PAGES = ("tree", "blob", "resolve", "raw")
_REVISION = re.compile(r"[A-Za-z0-9][\w.\-]{0,99}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Address:
    """A repository; `name` is a file in it, or "" for any. `tag` is a part of that, as in owner/name:Q4_K_M."""

    repository: str
    revision: str = "main"
    name: str = ""
    tag: str = ""


def parse(text: str, mirror: str = "") -> Address:
    """Understands "owner/name", "owner/name/file", both "@revision", "owner/name:tag" and addresses of pages.

    Raises `UserError`; also for other servers than the Hub's and that of the `mirror` (its address).
    """
    text = text.strip()
    if len(text) > _LONGEST:
        raise _no_address(text)
    if "://" in text or text.lower().startswith(tuple(f"{host}/" for host in _HOSTS)):
        return _of_page(text, mirror)
    repository, _, revision = text.partition("@")
    repository, _, tag = repository.partition(":")
    owner, _, name = repository.partition("/")
    name, _, file = name.partition("/")
    check_repository(f"{owner}/{name}")
    return Address(f"{owner}/{name}", _revision(revision or "main", text), file, tag)


def _of_page(text: str, mirror: str) -> Address:
    try:
        url = urlsplit(text if "://" in text else f"https://{text}")
        host = (url.hostname or "").lower()
        known = host in _HOSTS or (mirror and host == urlsplit(mirror).hostname)
    except ValueError:
        raise _no_address(text) from None
    if url.scheme not in ("http", "https"):
        raise _no_address(text)
    if not known:
        raise UserError(
            N_("Models are fetched from huggingface.co, or from the mirror in the settings, and not from {host}."),
            host=host or text[:80],
        )
    parts = [unquote(part) for part in url.path.strip("/").split("/")]
    if len(parts) < 2:
        raise _no_address(text)
    name, _, tag = parts[1].partition(":")
    repository = f"{parts[0]}/{name}"
    check_repository(repository)
    if len(parts) == 2:
        return Address(repository, tag=tag)
    if len(parts) < 4 or parts[2] not in _PAGES:
        raise _no_address(text)
    is_file = parts[2] != "tree"
    return Address(repository, _revision(parts[3], text), "/".join(parts[4:]) if is_file else "")


def _revision(found: str, text: str) -> str:
    if not _REVISION.fullmatch(found) or ".." in found:
        raise _no_address(text)
    return found


def _no_address(text: str) -> UserError:
    return UserError(
        N_("{text} is no address of a model. Paste owner/name, or the address of its page on huggingface.co."),
        text=" ".join(text.split())[:80],
    )
