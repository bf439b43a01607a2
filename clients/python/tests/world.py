"""What a test has for itself: the real binary with its own data folder, database and settings.

The Rust harness in tests/src/{world,server}.rs does the same.
"""

import base64
import contextlib
import hashlib
import hmac
import http.client
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wait import SOON

ROOT = Path(__file__).resolve().parents[3]
SECRET = "only-for-tests-0123456789-abcdefghijklmnop"
COMPILED = "RELEVO_PY_COMPILED"
"""The variable that tells all processes of a test run where the compiled plugins are."""
PLUGINS = ("tareas", "efectivos", "panel")

# Three users, two of them efectivos; task 1 waits, task 2 runs. As in the Rust harness.
ROWS = """
insert into usuarios (id, uuid, dni, nombre, apellido, email, nivel, hashed_password, created_at, updated_at) values
  (1, 'u-1', '1', 'Ana',   'Paz',  'ana@example.org',   'LEVEL_3', 'x', '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z'),
  (2, 'u-2', '2', 'Bruno', 'Sosa', 'bruno@example.org', 'LEVEL_1', 'x', '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z'),
  (3, 'u-3', '3', 'Carla', 'Ruiz', 'carla@example.org', 'LEVEL_1', 'x', '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z');
insert into efectivos
  (id, uuid, usuario_id, codigo_interno, rango, unidad, estado_disponibilidad, created_at, updated_at) values
  (1, 'e-1', 2, 'E-001', 'CABO',     'NORTE', 'DISPONIBLE', '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z'),
  (2, 'e-2', 3, 'E-002', 'SARGENTO', 'SUR',   'EN_TAREA',   '2026-01-01T00:00:00Z', '2026-01-01T00:00:00Z');
insert into tareas
  (id, uuid, codigo, titulo, tipo, prioridad, estado, creado_por_usuario_id, efectivos_asignados, created_at, updated_at)
  values
  (1, 't-1', 'T-001', 'Patrulla norte', 'PATRULLAJE', 'HIGH', 'PROGRAMMED',  1, '[]',  '2026-01-01T00:00:00Z', '2026'),
  (2, 't-2', 'T-002', 'Vigilancia sur', 'VIGILANCIA', 'LOW',  'IN_PROGRESS', 1, '[2]', '2026-01-01T00:00:00Z', '2026');
"""  # noqa: E501


class Missing(Exception):
    """Something that the tests run is not there; says what, and how to get it."""


def target() -> Path:
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


def binary() -> Path:
    """The server: `RELEVO_BIN`, or what cargo built last."""
    named = os.environ.get("RELEVO_BIN")
    built = [target() / profile / "relevo" for profile in ("release", "debug")]
    there = [path for path in ([Path(named)] if named else built) if path.is_file()]
    if not there:
        raise Missing(
            f"the tests need the server's binary, and there is no "
            f"{named or ' and no '.join(map(str, built))}: "
            "run `cargo xtask test` or `cargo build --release --package relevo`, or set RELEVO_BIN to it"
        )
    return max(there, key=lambda path: path.stat().st_mtime)


def components() -> Path:
    """The folder of the plugins' components: `RELEVO_TEST_PLUGINS`, or where xtask puts them."""
    folder = Path(os.environ.get("RELEVO_TEST_PLUGINS", target() / "plugins" / "ready"))
    missing = [name for name in PLUGINS if not (folder / f"{name}.wasm").is_file()]
    if missing:
        raise Missing(
            f"the tests need the example's plugins, and {folder} has no {', '.join(missing)}: "
            "run `cargo xtask test`, or set RELEVO_TEST_PLUGINS to the folder of the components"
        )
    return folder


def token(user: str = "900", role: str = "ADMIN", lasts: float = 3600, secret: str = SECRET) -> str:
    """A token as an identity provider would make it."""

    def part(value: bytes) -> bytes:
        return base64.urlsafe_b64encode(value).rstrip(b"=")

    claims = {"sub": user, "role": role, "exp": int(time.time() + lasts)}
    head = part(b'{"alg":"HS256","typ":"JWT"}') + b"." + part(json.dumps(claims).encode())
    return (head + b"." + part(hmac.new(secret.encode(), head, hashlib.sha256).digest())).decode()


class Server:
    """A process that serves, and its log."""

    def __init__(self, command: list[str], environment: dict[str, str], folder: Path) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            command,
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self._grew = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        line = self._wait_for("listening on ws://")
        found = re.search(r"listening on ws://([0-9.]+):(\d+)", line)
        assert found, f"no address in {line!r}"
        self.port = int(found[2])
        self.url = f"ws://127.0.0.1:{self.port}"
        self._wait_ready()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                with self._grew:
                    self.lines.append(line.rstrip())
                    self._grew.notify_all()
        with self._grew:
            self._grew.notify_all()

    def _wait_for(self, text: str) -> str:
        def found() -> str | None:
            return next((line for line in self.lines if text in line), None)

        with self._grew:
            self._grew.wait_for(lambda: found() or not self._reader.is_alive(), SOON)
            line = found()
        assert line, f"the server never said {text!r}:\n" + "\n".join(self.lines[-80:])
        return line

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + SOON
        while True:
            status, body = self.get("/readyz")
            if status == 200:
                return
            log = "\n".join(self.lines[-80:])
            assert self.process.poll() is None, f"the server ended before it was ready:\n{log}"
            assert time.monotonic() < deadline, f"not ready: {status} {body}\n{log}"
            time.sleep(0.01)

    def get(self, path: str) -> tuple[int, str]:
        """An HTTP request; status 0 if there was no answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except OSError:
            return 0, ""
        finally:
            connection.close()

    def sockets(self) -> int:
        """How many sockets the process has open (Linux)."""
        count = 0
        for link in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                count += os.readlink(link).startswith("socket:")
        return count

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self.end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, and wait for the end."""
        self.end(signal.SIGTERM)

    def end(self, how: signal.Signals) -> None:
        if self.process.poll() is None:
            self.process.send_signal(how)
        self.process.wait(SOON)
        self._reader.join(SOON)


class World:
    """Everything that one test has for itself."""

    def __init__(self, *settings: str, rules: str = "") -> None:
        self._program, plugins = binary(), components()
        self._root = Path(tempfile.mkdtemp(prefix="relevo-py-"))
        self.data = self._root / "data"
        self.database = self.data / "gad.db"
        folder = self.data / "plugins"
        folder.mkdir(parents=True)
        for name in PLUGINS:
            shutil.copy(plugins / f"{name}.wasm", folder)
            shutil.copy(ROOT / "plugins" / name / f"{name}.toml", folder)
        # Compiling them takes longer than most tests.
        if COMPILED in os.environ:
            shutil.copytree(os.environ[COMPILED], self.data / "cache")
        built_in = (ROOT / "migrations/gad/relevo.toml").read_text().split("\n\n")
        # A pattern may stand there once: the test's own rule replaces the built-in one.
        patterns = re.findall(r"^pattern = .*$", rules, re.MULTILINE)
        kept = [part for part in built_in if not any(pattern in part.splitlines() for pattern in patterns)]
        self._config = self._root / "relevo.toml"
        # The first rule that matches a channel counts.
        self._config.write_text("\n\n".join([*settings, rules, *kept]))
        self.server: Server | None = None
        self._listen = "127.0.0.1:0"
        self._run("migrate")
        self.sql(ROWS)

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RELEVO_")}
        own = {"RELEVO_DATA": str(self.data), "RELEVO_JWT_SECRET": SECRET, "RELEVO_LISTEN": self._listen}
        return {**kept, **own, "RELEVO_LOG": "info", "NO_COLOR": "1"}

    def _command(self, *arguments: str) -> list[str]:
        return [str(self._program), *arguments, "--config", str(self._config)]

    def _run(self, *arguments: str) -> None:
        done = subprocess.run(
            self._command(*arguments),
            env=self._environment(),
            cwd=self._root,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"relevo {arguments} failed:\n{done.stdout}{done.stderr}"

    def serve(self) -> Server:
        """Start the server and wait until it is ready; later ones listen where the first did."""
        self.server = Server(self._command("serve"), self._environment(), self._root)
        self._listen = f"127.0.0.1:{self.server.port}"
        return self.server

    def sql(self, text: str) -> None:
        """Write, in one transaction, as another program would."""
        with contextlib.closing(sqlite3.connect(self.database, timeout=60, isolation_level=None)) as database:
            database.executescript(f"begin immediate;\n{text};\ncommit;")

    def query(self, text: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self.database, timeout=60)) as database:
            return database.execute(text).fetchall()

    def title(self, title: str, task: int = 1) -> None:
        """One small change."""
        self.sql(f"update tareas set titulo = '{title}' where id = {task}")

    def fat(self, n: int, size: int = 15_000) -> None:
        """A change whose messages take twice this size in bytes."""
        self.sql(f"update tareas set titulo = 'fat {n}', descripcion = hex(zeroblob({size})) where id = 1")

    def forget_journal(self) -> None:
        """What a lost disk does; the server must not run."""
        files = [path for path in self.data.iterdir() if path.name.startswith("journal")]
        assert files, f"no journal in {list(self.data.iterdir())}"
        for path in files:
            path.unlink()

    def close(self) -> None:
        if self.server is not None:
            self.server.kill()
        shutil.rmtree(self._root)

    def log(self) -> Iterator[str]:
        yield from self.server.lines if self.server is not None else ()
