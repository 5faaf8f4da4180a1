"""Fixtures for tests on the real stack: one private stack a session, or one of a test's own."""

import os
import pathlib
import shutil
import tempfile

import pytest

from stack import Stack


def _new_home() -> pathlib.Path:
    # Short: a unix socket's path has at most 107 bytes. Open: Postgres may run as another user.
    home = pathlib.Path(tempfile.mkdtemp(prefix="lens-", dir="/tmp"))
    home.chmod(0o755)
    return home


def _finish(stack: Stack) -> None:
    stack.lens("down", check=False)  # a process that crashes while it stops has crashed, too
    reports = stack.crash_reports()
    kept = os.environ.get("LENS_KEEP_LOGS")
    if kept and (stack.home / "log").is_dir():
        shutil.copytree(stack.home / "log", pathlib.Path(kept) / stack.home.name, dirs_exist_ok=True)
    stack.lens("down", "--purge", check=False)
    shutil.rmtree(stack.home, ignore_errors=True)
    assert not reports, "\n".join(reports)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A test that fails says what its stack was doing: afterwards the home is gone."""
    report = (yield).get_result()
    if report.when == "call" and report.failed:
        for name, value in getattr(item, "funcargs", {}).items():
            for part in value if isinstance(value, tuple) else (value,):
                if isinstance(part, Stack):
                    report.sections.append((f"stack of {name}", part.describe()))


@pytest.fixture
def home():
    """An empty home that is taken away afterwards, stack and all."""
    stack = Stack(_new_home())
    yield stack
    _finish(stack)


@pytest.fixture(scope="session")
def stack():
    """A running stack with all processes, shared by the session's tests."""
    stack = Stack(_new_home())
    try:
        stack.up()
        yield stack
    finally:
        _finish(stack)
