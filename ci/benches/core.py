"""The group `core`: start, memory, local publish/subscribe, deployments and size of the built program.

The peer is AWS IoT Greengrass nucleus lite 2.5.1, which no package offers: its figures were taken once, built from source and run
in a systemd container on a machine of this kind (2 cores), and are not measured again here.
"""
import argparse
import json
import os
import pathlib
import shlex
import signal
import statistics
import subprocess
import time

from device import BINARY, Device, allow, make_root, until
from processes import own, settled_pss
from table import Table

PEER = {"start": 308, "memory": 18.0, "deployment": 8.0, "p99": 8.0, "sdk": {(100, 1): 664, (100, 32): 955, (4096, 1): 298, (4096, 32): 390}}
LIMIT_NOTE = """NO, by the SDK: in this run the target would have been missed with a runtime that took no time, too. Other work on the
      machine slows the SDK as well, so this says what set the rate in this run, not what the SDK can reach at best"""
PEER_NOTE = "the peer is nucleus lite 2.5.1, built from source and measured once on a machine like this: no package has it, so it did not run beside us"
ROUNDS = 3
# Size, messages in flight, messages.
CLIENT_RUNS = [(100, 1, 10000), (100, 32, 30000), (10240, 1, 4000), (10240, 32, 8000)]
SDK_RUNS = [(100, 1, 1500), (100, 32, 3000), (4096, 1, 1500), (4096, 32, 3000), (10240, 1, 1000), (10240, 32, 2000)]
# Subscribers, messages.
FAN_OUT = [(1, 5000), (10, 1000), (50, 300)]


class Split(Device):
    """The same device in two processes, as on an appliance: the nucleus, and the launcher that starts components for it."""

    def __init__(self, root):
        super().__init__(root)
        self.launcher = None

    def start(self):
        socket = self.root.parent / "launcher" / "launcher.socket"
        socket.parent.mkdir()
        self.output = self.root.parent / "split.log"
        with self.output.open("wb") as out:
            def role(*arguments):
                return subprocess.Popen([BINARY, *arguments], stdout=out, stderr=subprocess.STDOUT)
            self.launcher = role("launcher", "--root", self.root, "--socket", socket, "--nucleus-user", "root", "--launcher", "processes")
            until(socket.exists, "the launcher listens")
            self.process = role("nucleus", "--root", self.root, "--launcher-socket", socket)
        until(lambda: self.answers() or self.died(), "the nucleus answers")

    def stop(self, seconds=30):
        super().stop(seconds)
        if self.launcher and self.launcher.poll() is None:
            self.launcher.send_signal(signal.SIGTERM)
            self.launcher.wait(seconds)

    def own(self):
        return own(self.process, BINARY) + own(self.launcher, BINARY)


class Bench:
    def __init__(self, place, python):
        self.place, self.python, self.table, self.made = place, python, Table(), []
        self.load = place / "load"

    def device(self, kind=Device):
        folder = self.place / f"device-{len(self.made)}"
        folder.mkdir(mode=0o755)
        made = kind(make_root(folder))
        self.made.append(made)
        return made

    def end(self):
        for device in self.made:
            device.stop()
            for pid, _ in device.survivors():
                os.kill(pid, signal.SIGKILL)

    # --- what is measured ---
    def size(self):
        self.table.add("binary, stripped, all roles", BINARY.stat().st_size / 1e6, "MB", "lower", target=8)

    def start(self):
        fresh, again = [], []
        for _ in range(ROUNDS):
            device = self.device()
            fresh.append(self.ready(device))
            device.stop()
            again.append(self.ready(device))
            device.stop()
        self.table.add("start to IPC ready, new root", statistics.median(fresh), "ms", "lower", peer=PEER["start"], target=100)
        self.table.add("start to IPC ready, again", statistics.median(again), "ms", "lower", peer=PEER["start"], target=100)

    def ready(self, device):
        """Milliseconds from the start of the program to the first connection that it accepts."""
        with subprocess.Popen([self.load, "ready", device.root], stdout=subprocess.PIPE, text=True) as waiter:
            began = time.monotonic_ns()
            device.start(wait=False)
            accepted = int(waiter.communicate(timeout=30)[0])
        return (accepted - began) / 1e6

    def memory(self):
        device = self.device()
        device.start()
        self.of_one_message_a_second("one process", device, lambda: own(device.process, BINARY))
        if os.getuid() != 0:
            self.table.note("nucleus and launcher as two processes: not measured, since that needs root")
            return
        device = self.device(Split)
        device.start()
        self.of_one_message_a_second("nucleus + launcher", device, device.own)

    def of_one_message_a_second(self, what, device, find):
        self.table.add(f"memory (PSS), {what}, idle", settled_pss(find), "MB", "lower", peer=PEER["memory"], target=8)
        names = []
        for number in (1, 2):
            names += [self.client(device, f"com.bench.Subscriber{number}", f"subscribe --topic pace/{number}"),
                      self.client(device, f"com.bench.Publisher{number}", f"publish --topic pace/{number} --every 1000")]
        device.deploy(*names)
        for number in (1, 2):
            device.wait_log(f"com.bench.Subscriber{number}", "subscribed")
        # Threads that only the deployment needed go after ten seconds.
        self.table.add(f"memory (PSS), {what}, 2 publishers and 2 subscribers", settled_pss(find, pace=3, limit=40), "MB", "lower",
                       peer=PEER["memory"], target=8)
        device.stop()

    def client(self, device, name, *runs):
        """A component that runs our own client, once for each of `runs`."""
        script = "\n".join(["set -e", *(f"{shlex.quote(str(self.load))} {run}" for run in runs), "echo all runs are over"])
        return device.shell(name, access=allow(name), Run=script)

    def results(self, device, name, seconds=90):
        """The figures that a component has printed, by label, each the median of its rounds."""
        until(lambda: "all runs are over" in device.component_log(name) or device.state(name) in ("ERRORED", "BROKEN"), f"{name} is done", seconds)
        log = device.component_log(name)
        assert "all runs are over" in log, log[-3000:]
        rounds = {}
        for line in log.splitlines():
            if '{"label"' in line:
                result, _ = json.JSONDecoder().raw_decode(line[line.index('{"label"'):])
                rounds.setdefault(result.pop("label"), []).append(result)
        return {label: {key: statistics.median(r[key] for r in all_) for key in all_[0]} for label, all_ in rounds.items()}

    def publish(self, device):
        name = "com.bench.Client"
        runs = [f"round-trip --label {s}:{w} --size {s} --in-flight {w} --messages {n}" for s, w, n in CLIENT_RUNS]
        device.deploy(self.client(device, name, *runs * ROUNDS))
        found = self.results(device, name)
        for size, in_flight, _ in CLIENT_RUNS:
            self.speed(f"pub/sub, our client, {size} B, {in_flight} in flight", found[f"{size}:{in_flight}"])

    def speed(self, what, found, **options):
        self.table.add(what, found["per_second"], "messages/s", **options)
        for rank in ("p50", "p99"):
            peer = PEER["p99"] if options.get("peer") == PEER["sdk"][100, 1] and rank == "p99" else None
            self.table.add(f"  {rank}", found[f"{rank}_us"] / 1000, "ms", "lower", peer=peer)

    def publish_sdk(self, device):
        name = "com.bench.Sdk"
        runs = [f"{size}:{in_flight}:{messages}" for size, in_flight, messages in SDK_RUNS] * ROUNDS
        script = pathlib.Path(__file__).with_name("sdk_round_trip.py").read_bytes()
        run = f"exec {self.python} -u {{artifacts:path}}/sdk_round_trip.py {device.process.pid} {' '.join(runs)}"
        device.deploy(device.component(
            name, files={"sdk_round_trip.py": script}, ComponentConfiguration={"DefaultConfiguration": {"accessControl": allow(name)}},
            Manifests=[{"Platform": {"os": "linux"}, "Lifecycle": {"Run": run}}]))
        found = self.results(device, name)
        for size, in_flight, _ in SDK_RUNS:
            its = found[f"sdk:{size}:{in_flight}"]
            peer = PEER["sdk"].get((size, in_flight))
            # What the SDK would have reached, in this run, with a runtime that took no time at all.
            limit = its["per_second"] / (1 - min(its["server_cpu"], 0.99))
            excuse = "NO, by the SDK" if peer and limit < 5 * peer else None
            self.speed(f"pub/sub, Python SDK, {size} B, {in_flight} in flight", its, peer=peer, target=peer and 5 * peer, excuse=excuse)
            self.table.add("  with a runtime that took no time", limit, "messages/s")
            self.table.add("  of a core: the SDK's process", its["sdk_cpu"] * 100, "%", "lower")
            self.table.add("  of a core: the runtime", its["server_cpu"] * 100, "%", "lower")

    def fan_out(self, device):
        name = "com.bench.FanOut"
        runs = [f"round-trip --label {f} --subscribers {f} --messages {n}" for f, n in FAN_OUT]
        device.deploy(self.client(device, name, *runs * ROUNDS))
        found = self.results(device, name)
        for subscribers, _ in FAN_OUT:
            its = found[str(subscribers)]
            self.table.add(f"fan-out to {subscribers}, 100 B, 1 in flight", its["per_second"] * subscribers, "deliveries/s")
            self.table.add("  p99", its["p99_us"] / 1000, "ms", "lower")

    def deployments(self):
        device = self.device()
        device.start()
        one = [self.deployment(device, [f"com.bench.One{n}"]) for n in range(ROUNDS)]
        self.table.add("deployment of 1 small component, command to RUNNING", statistics.median(one), "s", "lower", peer=PEER["deployment"], target=0.5)
        ten = [self.deployment(device, [f"com.bench.Ten{n}x{m}" for m in range(10)]) for n in range(ROUNDS)]
        self.table.add("deployment of 10 small components, local", statistics.median(ten), "s", "lower", target=3)
        device.stop()

    def deployment(self, device, names):
        """Seconds from the command to its end, which comes when all the components run."""
        merge = []
        for name in names:
            merge += ["--merge", device.component(
                name, files={"small.sh": "echo started\nexec sleep 3600\n"},
                Manifests=[{"Platform": {"os": "linux"}, "Lifecycle": {"Run": "exec sh {artifacts:path}/small.sh"}}])]
        began = time.monotonic()
        device.cli("deployment", "create", "--recipeDir", device.sources / "recipes", "--artifactDir", device.sources / "artifacts", "--wait", *merge)
        took = time.monotonic() - began
        states = device.components()
        assert all(states[name]["state"] == "RUNNING" for name in names), states
        return took

    def run(self):
        load = os.getloadavg()[0]
        if load > 0.5:
            self.table.note(f"the machine was not idle before the run (load average {load:.1f}; the build counts too): figures of speed vary with that")
        self.size()
        self.start()
        self.memory()
        self.deployments()
        device = self.device()
        device.start()
        self.publish(device)
        self.fan_out(device)
        self.publish_sdk(device)
        self.table.note(LIMIT_NOTE)
        self.table.note(PEER_NOTE)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--place", type=pathlib.Path, required=True, help="folder for devices, within the components' reach; holds `load`")
    parser.add_argument("--python", required=True, help="a Python with the SDK, within the components' reach")
    parser.add_argument("--json", help="also write the rows there")
    arguments = parser.parse_args()
    bench = Bench(arguments.place, arguments.python)
    try:
        bench.run()
    finally:
        bench.end()
    bench.table.print()
    if arguments.json:
        bench.table.write(arguments.json)


main()
