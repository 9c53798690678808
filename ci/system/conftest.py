"""Fixtures of the system tests."""
import importlib.util
import os
import shutil
import sys

import pytest
from cloud import cloud, stopped_cloud  # noqa: F401 (fixtures)
from device import PROBE, Device, finish, make_root

# The control plane is tested by the AWS tools, in an environment that has them; devices connected to it need the SDK too.
if importlib.util.find_spec("boto3") is None:
    collect_ignore_glob = ["test_cloud_*", "test_link_*"]


@pytest.fixture
def device(tmp_path):
    made = Device(make_root(tmp_path))
    made.start()
    yield made
    finish(made)


@pytest.fixture
def stopped_device(tmp_path):
    """The same, not yet started."""
    made = Device(make_root(tmp_path))
    yield made
    finish(made)


def python_probe(device, name, access=None, configuration=None, version="1.0.0", **more):
    """Writes a probe component on the Python SDK; returns what to give to deploy()."""
    default = {**(configuration or {}), **({"accessControl": access} if access is not None else {})}
    lifecycle = {"Run": f"exec {sys.executable} -u {{artifacts:path}}/probe.py", **more.pop("Lifecycle", {})}
    return device.component(
        name, version, {"probe.py": (PROBE / "probe.py").read_bytes()},
        ComponentConfiguration={"DefaultConfiguration": default},
        Manifests=[{"Platform": {"os": "linux"}, "Lifecycle": lifecycle}], **more)


def node_probe(device, name, access=None, configuration=None, version="1.0.0"):
    """The same on the JavaScript SDK."""
    modules = os.environ.get("NODE_SDK")
    if not modules or not shutil.which("node"):
        pytest.skip("the JavaScript SDK is not installed (NODE_SDK names its node_modules)")
    default = {**(configuration or {}), **({"accessControl": access} if access is not None else {})}
    return device.component(
        name, version, {"probe.js": (PROBE / "probe.js").read_bytes()},
        ComponentConfiguration={"DefaultConfiguration": default},
        Manifests=[{"Platform": {"os": "linux"}, "Lifecycle": {
            "Setenv": {"NODE_PATH": modules}, "Run": "exec node {artifacts:path}/probe.js"}}])
