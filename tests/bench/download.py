"""How fast a download is: bytes a second from a loopback Hub, beside curl followed by sha256sum in the same run.

Prints one JSON object: medians of `--runs`, in turns so that a busy machine troubles both. `ratio` compares with
`curl && sha256sum`, which does not wait for the disk as we do; `ratio_synced` with `curl && sha256sum && sync FILE`.
`worst_tick_ms` is how late a thread of the downloading process was that wakes every 10 ms, as a window does, and
`median_tick_ms` how late it usually was.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.library.fetching import Client, some_bytes  # noqa: E402
from tests.library.hub import LoopbackHub  # noqa: E402

from inglenook.library.control import Control  # noqa: E402
from inglenook.library.remote.download import Download  # noqa: E402
from inglenook.library.remote.hub import RemoteFile  # noqa: E402
from inglenook.library.remote.part import remove_part  # noqa: E402

_TICK_SECONDS = 0.01


def serve(mebibytes: int) -> None:
    """The other process: a Hub with one file, until standard input ends."""
    with LoopbackHub() as hub:
        file = hub.add("model.gguf", some_bytes(1 << 20) * mebibytes)
        print(json.dumps([hub.endpoint, hub.store, file.size, file.digest, file.repository, file.revision]), flush=True)
        sys.stdin.read()


class Ticker:
    """A stand-in for a window's event loop, in the downloading process."""

    def __init__(self) -> None:
        self.late: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Ticker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            before = time.perf_counter()
            time.sleep(_TICK_SECONDS)
            self.late.append(time.perf_counter() - before - _TICK_SECONDS)


def ours(client: Client, file: RemoteFile) -> tuple[float, list[float]]:
    """Bytes a second, and the delays of the ticker."""
    target = client.target(file)
    with Ticker() as ticker:
        began = time.perf_counter()
        Download(client.hub, file, target, Control(), lambda _: None).run()
        seconds = time.perf_counter() - began
    target.unlink()
    target.with_name(f".{target.name}.verified").unlink()
    remove_part(target)
    return file.size / seconds, ticker.late


def curls(url: str, file: RemoteFile, folder: Path) -> tuple[float, float]:
    """Bytes a second of `curl && sha256sum`, and with `sync` of the file."""
    target = folder / "curl.gguf"
    began = time.perf_counter()
    subprocess.run(["curl", "-sS", "-L", "-o", target, url], check=True)
    done = subprocess.run(["sha256sum", target], check=True, capture_output=True, text=True)
    plain = time.perf_counter() - began
    subprocess.run(["sync", target], check=True)
    synced = time.perf_counter() - began
    assert done.stdout.split()[0].lstrip("\\") == file.digest
    target.unlink()
    return file.size / plain, file.size / synced


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--mebibytes", type=int, default=256)
    parser.add_argument("--folder", type=Path, help="on which disk; the system's temporary folder if not given")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.mebibytes)
        return
    command = [sys.executable, __file__, "--serve", "--mebibytes", str(arguments.mebibytes)]
    with (
        tempfile.TemporaryDirectory(dir=arguments.folder) as folder,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server,
    ):
        assert server.stdout is not None
        assert server.stdin is not None
        endpoint, _, size, digest, repository, revision = json.loads(server.stdout.readline())
        file = RemoteFile(repository, revision, "model.gguf", size, digest)
        client = Client(Path(folder), _At(endpoint))
        rows = [(*ours(client, file), *curls(client.hub.url(file), file, Path(folder))) for _ in range(arguments.runs)]
        server.stdin.close()
    rate, curl, synced = (statistics.median(row[i] for row in rows) for i in (0, 2, 3))
    late = [1000 * seconds for row in rows for seconds in row[1]]
    result = {
        "mb_per_second": rate / 1e6,
        "curl_sha256sum_mb_per_second": curl / 1e6,
        "curl_sha256sum_sync_mb_per_second": synced / 1e6,
        "ratio": statistics.median(row[0] / row[2] for row in rows),
        "ratio_synced": statistics.median(row[0] / row[3] for row in rows),
        "ratio_spread": [f(row[0] / row[2] for row in rows) for f in (min, max)],
        "median_tick_ms": statistics.median(late),
        "worst_tick_ms": max(late),
    }
    print(json.dumps({k: [round(x, 3) for x in v] if isinstance(v, list) else round(v, 3) for k, v in result.items()}))


class _At:
    """An address, which is all that a client needs of a Hub in another process."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint


if __name__ == "__main__":
    main()
