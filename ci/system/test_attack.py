"""What a malicious component cannot do to its neighbours and to the runtime."""
import json
import os
import pwd
import random
import socket
import stat
import subprocess
import threading
import time

import pytest
from device import allow, until
from wire import Raw, frame, request

LONG = os.environ.get("GREENGRASS_LONG") == "1"
ROOT = os.getuid() == 0
VICTIM, EVIL = "com.test.Victim", "com.test.Evil"
SLEEP = "exec sleep 4321"
STEAL = """
import glob, os, socket, sys, json
sys.path.insert(0, os.path.dirname(__file__))
from wire import CONNECT, frame
mine, other = os.environ["SVCUID"], None
for path in glob.glob("/proc/[0-9]*/environ"):
    try:
        found = dict(e.split("=", 1) for e in open(path).read().split("\\0") if "=" in e)
    except OSError:
        continue
    if found.get("SVCUID", mine) != mine and found.get("GREENGRASS_UNIT", "").split("/")[0] == os.environ["GREENGRASS_UNIT"].split("/")[0]:
        other, unit = found["SVCUID"], found["GREENGRASS_UNIT"]
print("token", "found" if other else "hidden", flush=True)
def show(how, through_child=False):
    s = socket.socket(socket.AF_UNIX)
    path = os.environ["AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT"]
    if through_child:  # the kernel names the process that connected, and that has ended
        child = os.fork()
        if child == 0:
            s.connect(path)
            os._exit(0)
        os.waitpid(child, 0)
    else:
        s.connect(path)
    s.sendall(frame(CONNECT, payload=json.dumps({"authToken": other}).encode(), **{":version": "0.1.0"}))
    answer = s.recv(4096)
    flags = answer[answer.index(b":message-flags") + 15:][:4]
    print(how, "ACCEPTED" if flags[3] & 1 else "refused", flush=True)
if other:
    if len(sys.argv) > 1:
        show("disguised")
    else:
        show("plainly")
        show("through a dead child", True)
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                environment = {**os.environ, "SVCUID": other, "GREENGRASS_UNIT": unit}
                os.execve(sys.executable, [sys.executable, __file__, "again"], {**environment, "SVCUID": "x"})
            os._exit(0)
        os.wait()
import time
time.sleep(1000)
"""


def pss(device):
    """Memory of the runtime in MiB."""
    for line in open(f"/proc/{device.process.pid}/smaps_rollup"):
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no Pss")


def token(device, name):
    pid = device.json("component", "details", "-n", name)["pid"]
    entries = open(f"/proc/{pid}/environ").read().split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)["SVCUID"]


def evil(device, name=EVIL, access=True):
    device.deploy(device.shell(name, Run=SLEEP, access=allow(name) if access else None))
    return token(device, name)


@pytest.mark.skipif(not ROOT, reason="components have a user of their own only under root")
def test_a_component_reads_nothing_it_should_not(device):
    probe = "\n".join(
        f"if [ -e '{path}' ] && cat '{path}' >/dev/null 2>&1; then echo READ '{path}'; fi; if [ -w '{path}' ]; then echo WRITES '{path}'; fi"
        for path in [device.root / "state.db", device.root / "state.db-wal", device.root / "cli_ipc_info/user-0", device.root / "launcher.lock",
                     device.root / "logs/greengrass.log", device.root / f"logs/{VICTIM}.log", "/proc/$PPID/environ"])
    folders = "\n".join(f"[ -w '{device.root / name}' ] && echo WRITES {name}" for name in
                        ["", "packages", "packages/recipes", "packages/artifacts", "work", "logs", "config", "deployments", "cli_ipc_info", "telemetry", "run"])
    device.deploy(device.shell(VICTIM, Run="echo a secret thought; " + SLEEP), device.shell(EVIL, Run=f"{probe}\n{folders}\necho looked; " + SLEEP))
    device.wait_log(EVIL, "looked")
    log = device.component_log(EVIL)
    assert "READ" not in log and "WRITES" not in log, log
    for path in [device.root, *device.root.rglob("*")]:
        mode = path.lstat().st_mode
        if not stat.S_ISLNK(mode) and not stat.S_ISSOCK(mode):
            assert not mode & stat.S_IWOTH, path


@pytest.mark.skipif(not ROOT, reason="only root sees every process")
def test_no_token_is_in_logs_arguments_or_files_that_others_can_read(device):
    tokens = [evil(device), json.loads((device.root / "cli_ipc_info/user-0").read_text())["cli_auth_token"]]
    raw = Raw(device, tokens[0])
    raw.call("ValidateAuthorizationToken", {"token": tokens[0]})
    Raw(device, tokens[0][:-1] + "x")
    device.cli("component", "restart", "-n", EVIL)
    commands = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    for secret in tokens:
        assert secret not in commands and secret not in device.log()
        for path in device.root.rglob("*"):
            if path.is_file() and (path.stat().st_mode & stat.S_IROTH or "logs" in path.parts):
                assert secret.encode() not in path.read_bytes(), path


@pytest.mark.skipif(not ROOT, reason="both components need the same user that is not ours")
def test_a_stolen_token_opens_nothing_in_another_components_process(device):
    wire = (os.path.dirname(__file__) + "/wire.py")
    device.deploy(
        device.shell(VICTIM, Run=SLEEP, access=allow(VICTIM)),
        device.component(EVIL, files={"steal.py": STEAL, "wire.py": open(wire).read()}, Manifests=[
            {"Lifecycle": {"Run": "exec /usr/bin/python3 -B -u {artifacts:path}/steal.py"}}]))
    device.wait_log(EVIL, "token")
    if "hidden" in device.component_log(EVIL):
        return
    device.wait_log(EVIL, "disguised")
    assert "ACCEPTED" not in device.component_log(EVIL), device.component_log(EVIL)


@pytest.mark.skipif(not ROOT, reason="only root gives files away")
def test_links_in_work_and_artifact_folders_give_away_nothing(device, tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("x")
    device.deploy(device.shell(EVIL, Run=(
        f"ln -sfn {precious} folder; ln -sf {precious}/file file; ln {precious}/file hard 2>/dev/null; "
        "ln -sfn /etc etc; echo linked; " + SLEEP)))
    device.wait_log(EVIL, "linked")
    # Another user from now on: the work folder changes hands.
    device.deploy(device.shell(EVIL, "1.0.1", Run="echo second; " + SLEEP), more=["--runWith", f"{EVIL}:posixUser=nobody:nogroup"])
    device.wait_log(EVIL, "second")
    for path in [precious, precious / "file", "/etc", "/etc/passwd"]:
        assert os.stat(path).st_uid == 0, path
    assert (device.root / "work" / EVIL / "file").lstat().st_uid == pwd.getpwnam("nobody").pw_uid


def test_rubbish_on_the_socket_is_refused_and_nobody_else_notices(device):
    secret = evil(device)
    chance = random.Random(7)
    good = request(1, "GetConfiguration", {"componentName": EVIL})
    end = time.monotonic() + (120 if LONG else 4)
    while time.monotonic() < end:
        raw = Raw(device, secret if chance.random() < 0.7 else None)
        bad = bytearray(good)
        for _ in range(chance.choice([1, 1, 3, 20])):
            bad[chance.randrange(len(bad))] = chance.randrange(256)
        try:
            raw.send(chance.choice([bytes(bad), bytes(bad[:chance.randrange(len(bad))]), chance.randbytes(300), b"\xff" * 5000, frame(99), frame(4), good * 3]))
            raw.socket.shutdown(socket.SHUT_WR)
            while raw.read():
                pass
        except OSError:
            pass
        raw.close()
    device.died()
    fine = Raw(device, secret)
    assert fine.accepted and fine.call("GetConfiguration", {})[0]["service-model-type"].endswith("GetConfigurationResponse")
    assert device.log().count("WARN") < 200, "complaints are held back"


def test_half_open_connections_shut_nobody_out(device):
    secret = evil(device)
    held = []
    for _ in range(10_000 if LONG else 2_000):
        one = socket.socket(socket.AF_UNIX)
        one.setblocking(False)
        try:
            one.connect(str(device.root / "ipc.socket"))
            one.send(b"\0\0\0")
            held.append(one)
        except OSError:
            one.close()
    # The limit is per user, ours here: as soon as the idle ones have had their time, the command line is served.
    until(device.answers, "the command line is served", 30)
    for one in held:
        one.close()
    assert Raw(device, secret).accepted
    assert pss(device) < 150


def test_what_one_component_makes_the_runtime_hold_is_bounded(device):
    secret = evil(device)
    before = pss(device)
    # Topics of many levels, and many of them.
    raw = Raw(device, secret)
    deepest = raw.call("SubscribeToTopic", {"topic": "/".join("a" * 32_000)})
    assert deepest[0]["service-model-type"].endswith("InvalidArgumentsError")
    refused = 0
    for number in range(900):
        answer = raw.call("SubscribeToTopic", {"topic": f"{number}/" + "/".join("a" * 200)})
        refused += answer[0]["service-model-type"].endswith("ServiceError")
    assert refused > 700
    assert pss(device) - before < 60, f"{pss(device)} MiB after {before}"
    # Large requests sent by half, on many connections.
    half = request(1, "PublishToTopic", b"x" * 20_000_000)[:-1]
    halves = []
    for _ in range(12):
        one = Raw(device, secret, seconds=1)
        try:
            one.send(half)
        except TimeoutError:
            pass
        halves.append(one)
    assert pss(device) - before < 120, f"{pss(device)} MiB after {before}"
    for one in halves:
        one.close()
    # Subscribers that never read, and a storm of messages; the command line is served meanwhile.
    raw.close()
    stuck = [Raw(device, secret) for _ in range(10)]
    for one in stuck:
        until(lambda one=one: one.call("SubscribeToTopic", {"topic": "storm"})[0]["service-model-type"].endswith("Response"), "room is given back")
    stop = threading.Event()

    def storm():
        source = Raw(device, secret)
        message = {"topic": "storm", "publishMessage": {"jsonMessage": {"message": {"m": "x" * 50_000}}}}
        while not stop.is_set():
            source.call("PublishToTopic", message)

    storms = [threading.Thread(target=storm) for _ in range(3)]
    for one in storms:
        one.start()
    slowest, most = 0, 0
    end = time.monotonic() + (60 if LONG else 5)
    while time.monotonic() < end:
        began = time.monotonic()
        device.components()
        slowest, most = max(slowest, time.monotonic() - began), max(most, pss(device))
    stop.set()
    for one in storms:
        one.join()
    print(f"slowest answer {slowest:.2f} s, most memory {most:.0f} MiB, {before:.0f} MiB before")
    assert slowest < 5
    assert most - before < 200


def test_a_flood_of_output_and_of_processes_is_outlived(device):
    bomb = "for i in $(seq 60); do (setsid sh -c 'trap \"\" TERM; while :; do sleep 4321; done' &) ; done; "
    bomb += "echo forked; trap '' TERM; while :; do sleep 0.1; done"
    device.deploy(
        device.shell("com.test.Flood", Run="exec yes 'a line that is written over and over again, as fast as it goes'"),
        device.shell(EVIL, Run={"Script": bomb}, Shutdown={"Script": "true", "Timeout": 2}))
    device.wait_log(EVIL, "forked")
    slowest = 0
    for _ in range(20):
        began = time.monotonic()
        device.components()
        slowest = max(slowest, time.monotonic() - began)
    assert slowest < 5
    used = sum(path.stat().st_size for path in (device.root / "logs").iterdir())
    assert used < 60 * 1024 * 1024, used
    assert pss(device) < 150
    device.deploy(remove=[EVIL, "com.test.Flood"])
    until(lambda: not device.survivors(), "no process is left")
