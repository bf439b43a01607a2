"""Without what they run, the tests say plainly what is missing."""

import os
import subprocess
import sys
from pathlib import Path


def run_without(**environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "tests/test_codes.py"],
        cwd=Path(__file__).resolve().parents[1],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout + done.stderr


def test_without_the_binary_they_say_so() -> None:
    said = run_without(RELEVO_BIN="/nowhere/relevo")
    assert "the tests need the server's binary, and there is no /nowhere/relevo" in said
    assert "set RELEVO_BIN" in said


def test_without_the_plugins_they_say_so(tmp_path: Path) -> None:
    said = run_without(RELEVO_TEST_PLUGINS=str(tmp_path))
    assert f"{tmp_path} has no tareas, efectivos, panel" in said
    assert "set RELEVO_TEST_PLUGINS" in said
