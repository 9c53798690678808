"""How components live: steps, restarts, limits, and that nothing of them is left behind."""
import os
import pwd

import pytest
from conftest import python_probe
from device import Probe, until


def test_every_step_runs_in_its_order_with_its_environment(device):
    name = "com.test.Steps"
    device.deploy(device.shell(
        name,
        configuration={"word": "salt", "wait": "5", "n": 42},
        Setenv={"WORD": "{configuration:/word}", "LEVEL": "component"},
        Bootstrap="echo bootstrap ran",
        Install={"Script": "echo install $LEVEL", "Setenv": {"LEVEL": "step"}, "Timeout": "{configuration:/wait}"},
        Run="echo run $WORD $LEVEL {configuration:/n} {iot:thingName}; echo to stderr >&2; pwd; trap 'exit 0' TERM; while :; do sleep 0.1; done",
        Shutdown="echo shutdown ran",
        Uninstall="echo uninstalled $GREENGRASS_COMPONENT_VERSION"))
    device.wait_log(name, str(device.root / "work" / name))
    device.deploy(remove=[name])
    log = device.component_log(name)
    places = [log.index(text) for text in ["bootstrap ran", "install step", "run salt component 42", "shutdown ran", "uninstalled 1.0.0"]]
    assert places == sorted(places), log
    assert "to stderr" in log
    assert name not in device.components()


def test_environment_user_and_folder_are_what_greengrass_gives(device):
    name = "com.test.Env"
    device.deploy(python_probe(device, name))
    about = Probe(device, name).about()
    env = about["env"]
    assert len(env["SVCUID"]) == 16 and env["SVCUID"] == env["AWS_CONTAINER_AUTHORIZATION_TOKEN"]
    assert env["AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"] == env["AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH"]
    assert env["GGC_VERSION"] and "AWS_IOT_THING_NAME" in env
    assert about["cwd"] == str(device.root / "work" / name)
    expected = pwd.getpwnam("ggc_user").pw_uid if os.getuid() == 0 else os.getuid()
    assert about["uid"] == expected


@pytest.mark.skipif(os.getuid() != 0, reason="changing the user needs root")
def test_a_privileged_step_runs_as_root_and_run_with_chooses_the_user(device):
    device.deploy(device.shell("com.test.Root", Run={"Script": "echo i am $(id -un)", "RequiresPrivilege": "true"}))
    device.wait_log("com.test.Root", "i am root")
    device.shell("com.test.Who", Run="echo i am $(id -un):$(id -gn)")
    device.deploy("com.test.Who=1.0.0", more=["--runWith", "com.test.Who:posixUser=nobody:nogroup"])
    device.wait_log("com.test.Who", "i am nobody:nogroup")


def test_a_killed_component_is_restarted_and_one_that_keeps_failing_is_broken_and_can_be_revived(device):
    name = "com.test.Flaky"
    flag = device.root / "work" / name / "works"
    device.deploy(device.shell(name, Run="echo try; if [ -e works ]; then exec sleep 1000; fi; echo no sensor >&2; exit 3"), check=False)
    device.wait_state(name, "BROKEN", seconds=30)
    assert device.component_log(name).count("try") == 3
    details = device.json("component", "details", "-n", name)
    assert details["state"] == "BROKEN"
    assert "3" in details["statusReason"] and "no sensor" in details["statusReason"]
    flag.touch()
    device.cli("component", "restart", "-n", name)
    device.wait_state(name, "RUNNING")
    os.kill(device.json("component", "details", "-n", name)["pid"], 9)
    device.wait_log(name, "try", count=5)
    device.wait_state(name, "RUNNING")


def test_steps_have_their_time_limits(device):
    name = "com.test.Slow"
    report = device.deploy(device.shell(name, Install={"Script": "echo installing; sleep 1000", "Timeout": 1}), check=False, policy="ROLLBACK")
    assert report["status"] == "FAILED"
    assert "time" in str(report).lower()


def test_dependencies_start_first_stop_last_and_restart_their_dependers(device):
    hard = {"com.test.Base": {"VersionRequirement": ">=1.0.0", "DependencyType": "HARD"}}
    device.shell("com.test.Base", Startup="echo base up", Shutdown="echo base down")
    top = device.shell("com.test.Top", dependencies=hard, Run="echo top up; trap 'echo top down; exit 0' TERM; while :; do sleep 0.1; done")
    device.deploy(top)
    device.wait_log("com.test.Top", "top up")
    device.cli("component", "restart", "-n", "com.test.Base")
    device.wait_log("com.test.Top", "top up", count=2)
    device.wait_log("com.test.Base", "base up", count=2)


ORPHANS = """
import os, signal, sys, time
if os.fork() == 0:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() == 0:
        os.setsid()
        print("grandchild", os.getpid(), flush=True)
        time.sleep(1000)
    time.sleep(1000)
print("parent", os.getpid(), flush=True)
time.sleep(1000)
"""


@pytest.mark.parametrize("how", ["stop", "remove", "shutdown"])
def test_nothing_outlives_a_stop_not_even_grandchildren_that_hide(device, how):
    name = "com.test.Orphans"
    device.deploy(device.component(
        name, files={"fork.py": ORPHANS},
        Manifests=[{"Lifecycle": {"Run": "exec /usr/bin/python3 -u {artifacts:path}/fork.py"}}]))
    device.wait_log(name, "grandchild")
    pids = [int(line.split("parent" if "parent" in line else "grandchild")[1].split()[0].rstrip(".")) for line in device.component_log(name).splitlines()
            if "parent " in line or "grandchild " in line]
    assert len(pids) == 2
    if how == "stop":
        device.cli("component", "stop", "-n", name)
    elif how == "remove":
        device.deploy(remove=[name])
    else:
        device.stop()
    until(lambda: not any(alive(pid) for pid in pids), "all processes of the component are gone", 15)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_component_can_still_publish_while_everything_shuts_down(device):
    name = "com.test.LastWords"
    code = """
import signal, sys, threading
from awsiot.greengrasscoreipc.clientv2 import GreengrassCoreIPCClientV2
ipc = GreengrassCoreIPCClientV2()
def farewell(*_):
    print("configuration at the end:", ipc.get_configuration(key_path=["k"]).value, flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, farewell)
print("ready", flush=True)
while True:
    signal.pause()
"""
    import sys
    device.deploy(device.component(
        name, files={"last.py": code}, ComponentConfiguration={"DefaultConfiguration": {"k": "still there"}},
        Manifests=[{"Lifecycle": {"Run": f"exec {sys.executable} -u {{artifacts:path}}/last.py"}}]))
    device.wait_log(name, "ready")
    device.stop()
    assert "still there" in device.component_log(name)


def test_a_killed_runtime_comes_back_with_the_same_components_and_no_doubles(device):
    name = "com.test.Survivor"
    device.deploy(device.shell(name, Install="echo installed", Run="echo running; exec sleep 1000"))
    device.wait_log(name, "running")
    device.kill()
    device.start()
    device.wait_state(name, "RUNNING")
    sleeping = [cmd for _, cmd in device.survivors() if "sleep 1000" in cmd]
    assert len(sleeping) == 1, sleeping
    assert device.component_log(name).count("installed") == 1
