"""Power cuts, full disks and damaged files: what a device has afterwards is the old set or the new one, whole."""
import os
import random
import subprocess
import threading
import time

import pytest
from device import Device, finish, make_root, until

LONG = os.environ.get("GREENGRASS_LONG") == "1"
NAMES = ("com.test.A", "com.test.B")


def version_of(device, version, broken=False, bootstrap=None):
    """Writes one version of both components; returns what to give to deploy()."""
    made = []
    for name in NAMES:
        steps = {"Run": "exit 1" if broken and name == NAMES[1] else "exec sleep 4321"}
        if bootstrap and name == NAMES[0]:
            steps["Bootstrap"] = bootstrap
        made.append(device.component(
            name, version, {"data.txt": content(name, version)},
            ComponentConfiguration={"DefaultConfiguration": {"version": version}},
            Manifests=[{"Platform": {"os": "linux"}, "Lifecycle": steps,
                        "Artifacts": [{"URI": f"s3://bucket/{name}/{version}/data.txt"}]}]))
    return made


def content(name, version):
    return f"{name} {version}\n" * 1000


def settled(device):
    """Whether no deployment is under way; also false while the runtime starts anew."""
    result = device.cli("deployment", "list", "--output", "json", check=False)
    return result.returncode == 0 and "QUEUED" not in result.stdout and "IN_PROGRESS" not in result.stdout


def check_whole(device, allowed):
    """The device has one of the allowed sets in every respect; returns it."""
    until(lambda: settled(device), "every deployment is at its end", 60)
    found = {name: c["version"] for name, c in device.components().items() if name in NAMES}
    assert found in allowed, f"{found} is none of {allowed}\n{device.log()[-3000:]}"
    for name, version in found.items():
        device.wait_state(name, "RUNNING")
        assert (device.root / "packages/artifacts" / name / version / "data.txt").read_text() == content(name, version)
        assert list((device.root / "packages/recipes").glob(f"{name}-{version}.*"))
        assert device.json("component", "details", "-n", name)["configuration"]["version"] == version
    until(lambda: sum("sleep 4321" in line for _, line in device.survivors()) == len(found), "each component has one process")
    until(lambda: not list((device.root / "deployments").iterdir()), "nothing half done is left")
    return found


class Keeper:
    """Starts the runtime again whenever it has ended, as a service manager does."""

    def __init__(self, device):
        self.device, self.done = device, threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.done.wait(0.05):
            if self.device.process.poll() is not None:
                self.device.start(wait=False)

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()


def test_a_power_cut_at_any_moment_of_a_deployment_leaves_the_old_set_or_the_new_one(device):
    seed = int(os.environ.get("GREENGRASS_SEED", time.time()))
    print("GREENGRASS_SEED =", seed)  # shown when the test fails
    chance = random.Random(seed)
    device.deploy(*version_of(device, "1.0.0"))
    now = check_whole(device, [dict.fromkeys(NAMES, "1.0.0")])
    end = time.monotonic() + (600 if LONG else 25)
    number = 1
    while time.monotonic() < end:
        number += 1
        version = f"{number}.0.0"
        new = dict.fromkeys(NAMES, version)
        kind = chance.choice(["upgrade", "rollback", "removal", "bootstrap"])
        if kind == "removal":
            new = {NAMES[0]: now[NAMES[0]]}
            device.deploy(remove=[NAMES[1]], wait=False)
        elif kind == "rollback":
            new = now
            device.deploy(*version_of(device, version, broken=True), wait=False, policy="ROLLBACK")
        else:
            again = f"[ -e again-{version} ] || {{ touch again-{version}; exit 100; }}" if kind == "bootstrap" else None
            device.deploy(*version_of(device, version, bootstrap=again), wait=False)
        for _ in range(chance.choice([1, 1, 2, 3])):
            time.sleep(chance.random() * (2.5 if kind == "rollback" else 0.7))  # the moment of the cut
            if device.process.poll() is None:
                device.kill()
            device.start(wait=False)
        with Keeper(device):
            now = check_whole(device, [now, new])


@pytest.fixture
def small_disk(tmp_path):
    if os.getuid() != 0:
        pytest.skip("mounting a small disk needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m,mode=755", "none", disk], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("a small disk cannot be mounted here")
    made = Device(make_root(tmp_path).parent / "disk" / "root")
    made.outputs, made.sources = tmp_path, tmp_path / "sources"
    try:
        made.start()
        yield made
        finish(made)
    finally:
        subprocess.run(["umount", "-l", disk], check=False)


def fill(file):
    """Takes all space that is left."""
    with file.open("wb", buffering=0) as taken:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    taken.write(b"x" * size)
            except OSError:
                continue


def test_a_full_disk_is_said_clearly_loses_nothing_and_is_recovered_from(small_disk):
    device = small_disk
    one = dict.fromkeys(NAMES, "1.0.0")
    device.deploy(*version_of(device, "1.0.0"))
    check_whole(device, [one])
    filler = device.root.parent / "filler"
    fill(filler)
    refused = device.cli(
        "deployment", "create", "--recipeDir", device.sources / "recipes", "--artifactDir", device.sources / "artifacts",
        "--merge", version_of(device, "2.0.0")[0], check=False)
    assert refused.returncode != 0 and "full" in refused.stderr
    check_whole(device, [one])
    # The power goes while it is full: components run again all the same, and the command line follows.
    device.kill()
    device.start(wait=False)
    until(lambda: sum("sleep 4321" in line for _, line in device.survivors()) == 2, f"components run on a full disk: {device.log()}")
    filler.unlink()
    until(device.answers, "the command line can connect again", 20)
    check_whole(device, [one])
    device.deploy(*version_of(device, "3.0.0"))
    check_whole(device, [dict.fromkeys(NAMES, "3.0.0")])


@pytest.mark.parametrize("damage", ["emptied", "cut", "overwritten", "log overwritten"])
def test_a_damaged_state_is_said_and_the_device_takes_deployments_again(device, damage):
    device.deploy(*version_of(device, "1.0.0"))
    device.stop()  # folds the log into the file
    file = device.root / "state.db"
    whole = file.read_bytes()
    if damage == "emptied":
        file.write_bytes(b"")
    elif damage == "cut":
        file.write_bytes(whole[:len(whole) // 2])
    elif damage == "overwritten":
        file.write_bytes(os.urandom(200) + whole[200:])
    else:
        (device.root / "state.db-wal").write_bytes(os.urandom(20_000))
    device.start()
    if damage == "log overwritten":  # what the file has is whole
        check_whole(device, [dict.fromkeys(NAMES, "1.0.0")])
    else:
        assert "damaged" in device.log() or "state was lost" in device.log()
    device.deploy(*version_of(device, "2.0.0"))
    check_whole(device, [dict.fromkeys(NAMES, "2.0.0")])
