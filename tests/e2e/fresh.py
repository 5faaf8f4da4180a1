"""A running stack of a file's own: its tests count what is there, so nobody else may have put anything in."""

import contextlib

import pytest

import conftest
from stack import Stack


@contextlib.contextmanager
def fresh_stack(configuration=None):
    stack = Stack(conftest._new_home())
    try:
        if configuration:
            stack.configure(configuration)
        stack.up()
        yield stack
    finally:
        conftest._finish(stack)


@pytest.fixture(scope="module")
def stack():
    with fresh_stack() as one:
        yield one
