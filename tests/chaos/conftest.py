"""The fixtures and helpers of tests/e2e, here too."""

import importlib.util
import pathlib
import sys

_E2E = pathlib.Path(__file__).resolve().parents[1] / "e2e"
sys.path.insert(0, str(_E2E))

_spec = importlib.util.spec_from_file_location("e2e_conftest", _E2E / "conftest.py")
_e2e = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_e2e)

home = _e2e.home
stack = _e2e.stack
pytest_runtest_makereport = _e2e.pytest_runtest_makereport
