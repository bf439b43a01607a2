#!/usr/bin/env python3
"""Checks and tests the Python client: `python3 clients/python/run-tests.py [arguments of pytest]`.

It keeps an environment with what is needed from PyPI in `target/python-client`.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", HERE.parents[1] / "target")).resolve()
ENVIRONMENT = TARGET / "python-client"
BIN = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin")


def main() -> int:
    """Run everything; returns the exit code."""
    if sys.version_info < (3, 10):  # noqa: UP036  An older one may start this.
        return fail(f"Python 3.10 or later is needed, and this is {sys.version.split()[0]}")
    if not prepare():
        return 1
    pytest = [str(BIN / "python"), "-m", "pytest", "-p", "no:cacheprovider"]
    # Most of a test is waiting, so more than the cores may hold; `-n 0` runs one after the other.
    pytest += ["-n", "4", "--dist", "worksteal", *sys.argv[1:]]
    steps = (
        ("lints", [str(BIN / "ruff"), "check", "--no-cache"]),
        ("formatting", [str(BIN / "ruff"), "format", "--check", "--no-cache"]),
        ("types", [str(BIN / "mypy"), "--cache-dir", str(ENVIRONMENT / "mypy")]),
        ("tests against the real server", pytest),
    )
    for name, command in steps:
        print(f"\n[python client] {name}", flush=True)
        # No __pycache__ among the sources.
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        code = subprocess.run(command, cwd=HERE, env=environment, check=False).returncode
        if code != 0:
            return fail(f"{name}: failed ({code})")
    return 0


def prepare() -> bool:
    """Make the environment, unless it is as `pyproject.toml` wants it; False if that isn't possible."""
    wanted = hashlib.sha256((HERE / "pyproject.toml").read_bytes() + sys.version.encode()).hexdigest()
    stamp = ENVIRONMENT / "made-for"
    # Its Python may have been removed since.
    if stamp.is_file() and stamp.read_text() == wanted and (BIN / "python").exists():
        return True
    print(f"[python client] an environment in {ENVIRONMENT}", flush=True)
    make = [sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)]
    if subprocess.run(make, check=False).returncode != 0:
        fail(
            "this Python can't make virtual environments (Debian and Ubuntu: apt-get install python3-venv). "
            f"Without one: pip install -e '{HERE}[test]', then, in {HERE}: ruff check && mypy && pytest"
        )
        return False
    install = [str(BIN / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if subprocess.run([*install, "-e", f"{HERE}[test]"], check=False).returncode != 0:
        fail("what the tests need could not be had from PyPI; pip says why above")
        return False
    stamp.write_text(wanted)
    return True


def fail(why: str) -> int:
    """Say what is wrong."""
    print(f"[python client] {why}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
