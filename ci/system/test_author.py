"""What authors of components and operators run into: deep folders, other users, odd scripts, what the command line says."""
import os
import shutil
import subprocess

import pytest
from conftest import python_probe
from device import BINARY, Device, Probe, finish, make_root, until


def test_a_component_connects_below_a_root_folder_too_deep_for_a_socket(tmp_path):
    root = make_root(tmp_path)
    deep = root / ("d" * 60) / ("ü" * 40)
    deep.mkdir(parents=True)
    device = Device(deep)
    device.sources = tmp_path / "sources"
    try:
        device.start()
        name = "com.test.Deep"
        device.deploy(python_probe(device, name))
        assert len(Probe(device, name).about()["env"]["AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"]) <= 107
    finally:
        finish(device)


@pytest.mark.skipif(os.getuid() != 0, reason="changing the user needs root")
def test_the_command_line_finds_the_runtime_that_the_same_user_runs_without_naming_a_root(tmp_path):
    make_root(tmp_path)
    binary = tmp_path / "greengrass"
    shutil.copy(BINARY, binary)
    home = tmp_path / "home"
    home.mkdir()
    shutil.chown(home, "nobody", "nogroup")
    nobody = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "env", "-i", f"HOME={home}", f"PATH={os.environ['PATH']}", binary]
    with (tmp_path / "run.log").open("wb") as output:
        process = subprocess.Popen([*nobody, "run"], stdout=output, stderr=subprocess.STDOUT)
    try:
        until(lambda: subprocess.run([*nobody, "cli", "component", "list"], capture_output=True).returncode == 0, "the runtime is found")
    finally:
        process.terminate()
        assert process.wait(30) == 0


def test_the_shell_is_found_whatever_path_the_component_sets(device):
    name = "com.test.Path"
    device.deploy(device.shell(name, Setenv={"PATH": "/nowhere"}, Run="echo path is $PATH"))
    device.wait_log(name, "path is /nowhere")


@pytest.mark.skipif(os.getuid() != 0, reason="changing the user needs root")
def test_a_deployment_that_changes_who_components_run_as_has_effect_at_once(device):
    change = {"aws.greengrass.Nucleus": {"MERGE": {"runWithDefault": {"posixUser": "nobody:nogroup", "posixShell": "bash"}}}}
    device.deploy(device.shell("com.test.Who", Run="echo i am $(id -un):$(id -gn) in $0"), update=change)
    device.wait_log("com.test.Who", "i am nobody:nogroup in bash")


def test_a_deployment_fails_at_once_when_what_it_needs_is_broken_already(device):
    device.deploy(device.shell("com.test.Broken", Run="exit 7"), check=False)
    device.wait_state("com.test.Broken", "BROKEN")
    needs = {"com.test.Broken": {"VersionRequirement": ">=1.0.0", "DependencyType": "HARD"}}
    report = device.deploy(device.shell("com.test.Hard", dependencies=needs, Run="sleep 1000"), check=False)
    assert report["status"] == "FAILED"
    assert "com.test.Broken in broken state" in str(report)
