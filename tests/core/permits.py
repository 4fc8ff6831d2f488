"""What opens no connection, and which module of the program may use something else, with the reason; see `gate`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


HARMLESS = words(
    """
    __future__ abc argparse array base64 bisect calendar codecs collections concurrent.futures contextlib copy csv
    dataclasses datetime decimal difflib email.utils enum errno fcntl fnmatch fractions functools gc getpass gettext
    glob hashlib heapq hmac html io itertools json locale logging math mmap msvcrt numbers operator os pathlib platform
    queue random re readline secrets select shlex shutil signal sqlite3 stat statistics string struct sys tempfile
    textwrap threading time tomllib traceback types typing unicodedata urllib.parse warnings weakref zlib
    importlib.metadata multiprocessing.freeze_support multiprocessing.AuthenticationError
    certifi markdown_it numpy platformdirs psutil pygments PySide6.QtCore PySide6.QtGui PySide6.QtSvg PySide6.QtWidgets
    inglenook inglenook_convert
    """
)
"""Modules and names that open no connection and start no program, save what `WATCHED` takes out of them."""

WATCHED = re.compile(
    r"""os\.(system|popen|startfile|fork\w*|exec\w*|spawn\w*|posix_spawn\w*|sys)
    |sys\.(modules|meta_path|path_hooks|path_importer_cache|_getframe)
    |logging\.(handlers|config)
    |sqlite3\.enable_\w+
    |types\.(FunctionType|CodeType|ModuleType)
    |operator\.(attrgetter|methodcaller)
    |numpy\.(DataSource|loadtxt|genfromtxt|f2py|testing|lib\.npyio|lib\._datasource|ctypeslib\.load_library)
    |pygments\.(lexers\.load_lexer_from_file|formatters\.load_formatter_from_file|plugin)
    |PySide6\.QtCore\.(QProcess|QLibrary|QPluginLoader|QFactoryLoader)
    |PySide6\.QtGui\.QDesktopServices
    |inglenook\.core\.settings\.ALLOW_NETWORK
    |inglenook\.library\.remote\.(transport|connection)""",
    re.VERBOSE,
)
MODULES_WITHIN = words(
    """
    socket _socket ssl _ssl subprocess _posixsubprocess os _os sys _sys http urllib httpx importlib _importlib ctypes
    builtins __builtins__ asyncio multiprocessing __dict__ __globals__ __loader__ __spec__
    """
)
"""Names that lead out of a harmless module: `shutil.os.system`, `platform.subprocess`."""

BUILTINS = frozenset({"__import__", "exec", "eval", "compile", "globals", "__builtins__", "__loader__", "__spec__"})
METHODS = words(
    """
    load_extension enable_load_extension startDetached setOpenExternalLinks openUrl load_module exec_module
    __import__ __globals__ __builtins__ __subclasses__ __loader__ _connection_for_address
    """
)
"""What is a way out on any object, wherever that comes from."""

NATIVE = words(
    """
    socket connect sendto sendmsg getaddrinfo gethostbyname system popen execve execvp fork posix_spawn dlopen
    WSAStartup WSASocketW WSAConnect InternetOpenW InternetOpenUrlW WinHttpOpen URLDownloadToFileW LoadLibraryW
    CreateProcessW ShellExecuteW WinExec
    """
)
"""Functions that a module with ctypes may not take from a library."""

WORDS = re.compile(
    r"(?:^|[\s/\\\"'|;&(])(?:curl|wget|aria2c|ncat|netcat|telnet|tftp|certutil|bitsadmin|Invoke-WebRequest|"
    r"Start-BitsTransfer|osascript|xdg-open|rundll32)(?:\.exe)?(?:$|[\s\"'|;&)])"
)
STRINGS = words(
    """
    AF_INET AF_INET6 nc ssh scp sftp ftp rsync git pip pip3 -c -m powershell powershell.exe pwsh cmd.exe
    /bin/sh /bin/bash ws2_32 wininet winhttp urlmon libcurl libcurl.so.4 libc.so.6
    socket _socket ssl http.client http.server urllib.request httpx httpcore requests urllib3 aiohttp websockets
    huggingface_hub hf_xet ftplib smtplib xmlrpc.client webbrowser PySide6.QtNetwork subprocess ctypes importlib
    """
)
"""Constants that name a module, a library or a program by which to go out."""


@dataclass(frozen=True)
class Permit:
    """Why a module may use the dotted names `uses` (and `strings`); `calls` are calls with their arguments, in which
    * stands for anything."""

    reason: str
    uses: frozenset[str]
    calls: frozenset[str] = frozenset()
    strings: frozenset[str] = frozenset()
    types_only: bool = False  # imported for the type checker, so that it is not there when the program runs


def permit(reason: str, uses: str, *calls: str, strings: str = "", types_only: bool = False) -> Permit:
    return Permit(reason, words(uses), frozenset(calls), words(strings), types_only)


REMOTE = "app/inglenook/library/remote/"
_PLAIN = "ctypes.byref ctypes.cast ctypes.addressof ctypes.memmove ctypes.get_errno ctypes.create_string_buffer "
_PLAIN += "ctypes.Array ctypes.Structure ctypes.POINTER ctypes.CFUNCTYPE ctypes.c_int ctypes.c_size_t ctypes.c_int64 "
_PLAIN += "ctypes.c_uint ctypes.c_uint8 ctypes.c_ubyte ctypes.c_uint32 ctypes.c_uint64 ctypes.c_void_p ctypes.c_char_p "
_SWITCH = "inglenook.core.settings.ALLOW_NETWORK"
_LLAMA = "llama_cpp.llama_cpp "

PERMITS: Mapping[str, Permit] = {
    REMOTE + "network.py": permit(
        "the gate itself: makes the only client, on the guarded transport",
        """httpx.Client httpx.Timeout httpx.URL httpx.Response httpx.InvalidURL httpx.DecodingError
        inglenook.library.remote.transport.GuardedTransport""",
        "httpx.Client(transport=GuardedTransport(self, purpose, check), trust_env=False, follow_redirects=False, *",
    ),
    REMOTE + "transport.py": permit(
        "the gate itself: asks the switch, lists the request, then sends it",
        """httpx.BaseTransport httpx.Request httpx.Response httpx.SyncByteStream httpx.URL httpx.Proxy
        httpcore.ConnectionPool httpcore.HTTPProxy httpcore.Request httpcore.Response httpcore.URL httpcore.ConnectError
        httpcore.NetworkError httpcore.ProtocolError httpcore.ProxyError httpcore.TimeoutException
        ssl.SSLContext ssl.PROTOCOL_TLS_CLIENT ssl.create_default_context ssl.SSLError ssl.SSLEOFError
        ssl.SSLZeroReturnError inglenook.library.remote.connection.Backend""",
        "httpcore.ConnectionPool(*, network_backend=self._backend)",
        "httpcore.HTTPProxy(*, network_backend=self._backend)",
    ),
    REMOTE + "connection.py": permit(
        "the gate itself: opens what the transport asks for, and breaks it when it is told to",
        """httpcore.NetworkBackend httpcore.NetworkStream httpcore.SyncBackend httpcore.SOCKET_OPTION
        httpcore.ReadTimeout ssl.SSLContext""",
    ),
    REMOTE + "proxy.py": permit(
        "asks the system's settings for a proxy",
        "httpx.URL httpx.InvalidURL urllib.request.getproxies urllib.request.proxy_bypass",
    ),
    REMOTE + "hub.py": permit("names of types", "httpx.Client httpx.Response httpx.URL", types_only=True),
    REMOTE + "answers.py": permit("names of types", "httpx.Response", types_only=True),
    REMOTE + "download.py": permit("names of types", "httpx.Client httpx.Response", types_only=True),
    REMOTE + "access_token.py": permit(
        "the system's keyring, which is asked through the system's own local bus",
        "keyring.get_keyring keyring.backend.KeyringBackend",
    ),
    "app/inglenook/bootstrap.py": permit(
        "the one gate of the process, with the user's switch",
        _SWITCH,
        "inglenook.library.remote.network.Network(traffic, self._is_network_allowed)",
    ),
    "app/inglenook/library/shelf.py": permit("goes on with downloads when the user has turned the switch", _SWITCH),
    "app/inglenook/ui/dialogs/network.py": permit("the switch itself", _SWITCH),
    "app/inglenook/ui/app.py": permit("a pair of sockets within the process, for signals", "socket.socketpair"),
    "app/inglenook/ui/main_window.py": permit(
        "a link that the user pressed goes to the browser; nothing is opened here",
        "PySide6.QtGui.QDesktopServices.openUrl",
    ),
    "app/inglenook/engine/transport.py": permit(
        "the engine's pipe: a Unix socket or a named pipe, whose family is a constant",
        """multiprocessing.connection.Client multiprocessing.connection.Listener multiprocessing.connection.Connection
        multiprocessing.connection.answer_challenge multiprocessing.connection.deliver_challenge
        socket.socket socket.AF_UNIX socket.SOL_SOCKET socket.SO_RCVTIMEO""",
        "socket.socket(socket.AF_UNIX, fileno=os.dup(connection.fileno()))",
        "multiprocessing.connection.Client(address, _FAMILY)",
        "multiprocessing.connection.Listener(address, _FAMILY, backlog=16)",
    ),
    "app/inglenook/engine/host.py": permit(
        "the other end of the engine's pipe",
        "multiprocessing.connection.Connection multiprocessing.connection.Listener",
    ),
    "app/inglenook/engine/outbox.py": permit(
        "the other end of the engine's pipe", "multiprocessing.connection.Connection"
    ),
    "app/inglenook/engine/supervise.py": permit(
        "waits for the engine's pipe", "multiprocessing.connection.wait multiprocessing.Pipe"
    ),
    "app/inglenook/engine/launch.py": permit(
        "starts the engine: this program again",
        """multiprocessing.connection.Connection subprocess.Popen subprocess.PIPE subprocess.DEVNULL subprocess.run
        subprocess.CREATE_NEW_PROCESS_GROUP subprocess.CREATE_NO_WINDOW""",
        strings="-m",
    ),
    "app/inglenook/engine/protocol.py": permit(
        "between two processes of one user, which have proved to know a secret",
        "pickle.dumps pickle.loads pickle.HIGHEST_PROTOCOL",
    ),
    "app/inglenook/library/making/conversion.py": permit(
        "starts the converter: this program again",
        "subprocess.Popen subprocess.PIPE subprocess.DEVNULL subprocess.CREATE_NO_WINDOW",
        strings="-m",
    ),
    "app/inglenook/core/awake.py": permit(
        "systemd-inhibit or caffeinate, which keep the machine awake; on Windows the system itself",
        "subprocess.Popen subprocess.PIPE subprocess.DEVNULL subprocess.TimeoutExpired ctypes.windll.kernel32 "
        + _PLAIN,
    ),
    "app/inglenook/cli/doctor.py": permit(
        "sysctl and vm_stat of macOS, the system of Windows; whether Qt is installed",
        "subprocess.run subprocess.SubprocessError importlib.util.find_spec ctypes.windll.kernel32 " + _PLAIN,
        "importlib.util.find_spec('PySide6')",
    ),
    "app/inglenook/cli/terminal.py": permit("the console of Windows", "ctypes.windll.kernel32 " + _PLAIN),
    "app/inglenook/core/logs.py": permit(
        "log files, which are not to hold addresses", "logging.handlers.RotatingFileHandler", strings="httpx httpcore"
    ),
    "app/inglenook/engine/machine.py": permit(
        "macOS tells its processors through the C library", "ctypes.CDLL " + _PLAIN, "ctypes.CDLL(None)"
    ),
    "app/inglenook/engine/llama/library.py": permit(
        "llama.cpp, whose library is in this process",
        _LLAMA + "llama_cpp._ggml.libggml llama_cpp.__version__ llama_cpp.__file__ ctypes.CDLL " + _PLAIN,
        "ctypes.CDLL(str(Path(llama_cpp.__file__).parent / 'lib' / 'ggml-base.dll'))",
    ),
    "app/inglenook/engine/llama/model.py": permit("llama.cpp", _LLAMA + "llama_cpp._ggml.libggml " + _PLAIN),
    "app/inglenook/engine/llama/context.py": permit(
        "llama.cpp, and strlen of the C library as a callback for it",
        _LLAMA + "ctypes.CDLL " + _PLAIN,
        "ctypes.CDLL('ucrtbase' if sys.platform == 'win32' else None)",
    ),
    "app/inglenook/engine/llama/threads.py": permit("llama.cpp", _LLAMA),
    "converter/inglenook_convert/__main__.py": permit("a frozen build", "multiprocessing.freeze_support"),
    "converter/inglenook_convert/processes.py": permit(
        "processes that make pieces, spoken to through pipes; the C library's malloc",
        "multiprocessing.connection.Connection multiprocessing.connection.wait multiprocessing.get_context "
        "ctypes.CDLL " + _PLAIN,
        "ctypes.CDLL(None)",
        "multiprocessing.get_context('spawn')",
    ),
    "converter/inglenook_convert/write.py": permit(
        "fallocate of the C library", "ctypes.CDLL " + _PLAIN, "ctypes.CDLL(None, use_errno=True)"
    ),
}

CALLS = words(
    """
    ctypes.CDLL httpx.Client httpcore.ConnectionPool httpcore.HTTPProxy importlib.util.find_spec
    multiprocessing.get_context multiprocessing.connection.Client multiprocessing.connection.Listener
    inglenook.library.remote.network.Network socket.socket
    """
)
"""What may be called with the arguments of a permit only."""
