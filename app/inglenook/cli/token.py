"""`inglenook models token`: the access token for models that ask for a login, typed without an echo or by a pipe."""

from __future__ import annotations

import argparse
import getpass
import sys

from inglenook.cli.services import Services
from inglenook.cli.terminal import BadInputError
from inglenook.core.errors import UserError
from inglenook.core.i18n import N_, tr
from inglenook.library.remote.access_token import Kept

_LONGEST = 4096  # characters that are read of a pipe

_KEPT = {
    Kept.KEYRING: N_("The token is kept in this computer's keyring."),
    Kept.THIS_RUN: N_(
        "This computer has no keyring that can be used, so the token was not kept. It is never written to a file; "
        "enter it in the window's settings, which keeps it until it is closed."
    ),
}


def run(services: Services, arguments: argparse.Namespace) -> int:
    """Keeps or removes it; 1 where it could not be kept."""
    if arguments.remove:
        services.token.remove()
        print(tr(N_("No access token is kept.")), file=sys.stderr)
    else:
        try:
            kept = services.token.set(_typed())
        except UserError as error:
            raise BadInputError.of(error.info) from None
        print(tr(_KEPT[kept]), file=sys.stderr)
        if kept is not Kept.KEYRING:
            return 1
    services.settings.flush()
    return 0


def _typed() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.read(_LONGEST)
    return getpass.getpass(tr(N_("Access token (it is not shown): ")))
