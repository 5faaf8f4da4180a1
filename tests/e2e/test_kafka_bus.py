"""The seam to Kafka on a real broker: a Criterion test that fills topics of a broker of its own."""

import os
import subprocess

import pytest

from stack import BIN


@pytest.mark.skipif(not (BIN / "unit_runtime_kafka").exists(), reason="built without Criterion")
def test_bus_on_a_real_broker(home):
    home.up("--no-processes")
    done = subprocess.run([BIN / "unit_runtime_kafka"], text=True, capture_output=True, timeout=300, check=False,
                          env={**os.environ, "LENS_TEST_KAFKA": home.env()["KAFKA_BOOTSTRAP"]})
    print(done.stdout, done.stderr)
    assert done.returncode == 0
