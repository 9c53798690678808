"""The group `mqtt`: the MQTT engine as `greengrass broker` runs it, beside mosquitto from the Debian package.

Runs alternate between the two, each run on a broker process of its own; a figure is the median of the rounds. Load and broker share
this machine. Both brokers have the same certificates (P-256, both sides), TCP_NODELAY, and queues that lose nothing for want of room.
"""
import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import time

from brokers import Certificates, Greengrass, Mosquitto, raise_descriptors
from processes import settled_pss
from table import Table

# Publishers, subscribers, and messages under way for each publisher: 1,000 deliveries for one pair, else 10,000.
PATTERNS = {"1 to 1": (1, 1, 1000), "10 to 10": (10, 10, 100), "1 to 100": (1, 100, 100)}
SIZES = (100, 1024)
RATE = 1000
FLEETS = (1000, 2500)
NOTES = (
    "mosquitto runs with max_inflight_messages 1000, no limits on its queues and TCP_NODELAY, which is better for it than its defaults",
    "'N to M' is all to all; a publisher has at most so many messages under way (sent and not with all subscribers): 1,000 for 1 to 1, else 100",
    "persistence: clients with sessions that last, QoS 1. mosquitto's writes its file at its end and every 30 minutes, so a crash loses"
    " what came since; ours acknowledges only what is on the disk",
)
PEERS = (Greengrass, Mosquitto)


class Bench:
    def __init__(self, place, load, rounds, seconds):
        self.place, self.load, self.rounds, self.seconds = place, load, rounds, seconds
        self.certificates = Certificates(place)
        self.table, self.count, self.running = Table(), 0, []
        self.busy = 0

    def broker(self, kind, **options):
        self.count += 1
        made = kind(self.place / f"broker-{self.count}", self.certificates, **options).start()
        self.running.append(made)
        return made

    def ended(self, broker):
        broker.stop()
        self.running.remove(broker)
        shutil.rmtree(broker.folder)

    def end(self):
        for broker in list(self.running):
            broker.stop()

    def command(self, broker, tls, mode, options):
        command = [self.load, mode, "--address", f"127.0.0.1:{broker.tls if tls else broker.plain}"]
        if tls:
            command += ["--ca", self.certificates.ca, "--certificate", self.certificates.client, "--key", self.certificates.client_key]
        for name, value in options.items():
            command += [f"--{name.replace('_', '-')}"] + ([] if value is True else [value])
        return [str(part) for part in command]

    def once(self, kind, tls, mode, persistent=False, server=True, **options):
        broker = self.broker(kind, persistent=persistent)
        if server:
            options["server"] = broker.process.pid
        done = subprocess.run(self.command(broker, tls, mode, options), capture_output=True, text=True, timeout=180)
        if done.returncode != 0:
            raise AssertionError(f"{kind.name}, {mode} {options}: {done.stderr}\n{broker.log()[-2000:]}")
        found = json.loads(done.stdout)
        self.ended(broker)
        return found

    def medians(self, *arguments, rounds=None, **options):
        """For each of the two the medians of all figures; the runs alternate."""
        runs = {kind: [] for kind in PEERS}
        for _ in range(rounds or self.rounds):
            for kind in PEERS:
                runs[kind].append(self.once(kind, *arguments, **options))

        def median(kind, key):
            values = [run[key] for run in runs[kind]]
            return None if None in values else statistics.median(values)
        return [{key: median(kind, key) for key in runs[kind][0]} for kind in PEERS]

    # --- what is measured ---
    def throughput(self, transport, pattern, qos, size, target=None, persistent=False):
        publishers, subscribers, window = PATTERNS[pattern]
        ours, its = self.medians(transport == "TLS", "throughput", publishers=publishers, subscribers=subscribers, window=window, qos=qos, size=size,
                                 seconds=self.seconds, warm_up=0.3, persistent=persistent)
        name = f"{transport}{', persistence' if persistent else ''}, {pattern}, QoS {qos}, {size} B"
        rate = "deliveries_per_second"
        self.table.add(name, ours[rate], "deliveries/s", peer=its[rate])
        excuse = None
        if ours["load_cpu"] > 0.9:
            self.busy += 1
            excuse = "NO, by the load"
        self.table.add(f"{name}: times mosquitto", ours[rate] / its[rate], "x", target=target, excuse=excuse)
        self.table.add(f"{name}: broker's time", ours["server_us_per_delivery"], "us/delivery", "lower", peer=its["server_us_per_delivery"])
        if ours["lost"] or its["lost"]:
            self.table.add(f"{name}: lost", ours["lost"], "deliveries", "lower", peer=its["lost"], target=0)

    def latency(self, transport, qos):
        # What is rare needs more runs: one disturbance by another process is a hundredth of a run.
        ours, its = self.medians(transport == "TLS", "latency", rounds=2 * self.rounds + 1, server=False, qos=qos, rate=RATE, seconds=1, warm_up=0.3)
        name = f"{transport}, latency at {RATE:,} messages/s, QoS {qos}, 100 B"
        for rank in ("p50", "p99"):
            target = its[f"{rank}_us"] if rank == "p99" else None
            self.table.add(f"{name}: {rank}", ours[f"{rank}_us"], "us", "lower", peer=its[f"{rank}_us"], target=target)

    def connections(self):
        ours, its = self.medians(True, "connect", connections=400, at_a_time=32)
        self.table.add("connections a second, mutual TLS, full handshakes", ours["connections_per_second"], "/s", peer=its["connections_per_second"])
        self.table.add("broker's time for one", ours["server_ms_per_connection"], "ms", "lower", peer=its["server_ms_per_connection"])
        ours, its = self.medians(False, "connect", connections=2000, at_a_time=32)
        self.table.add("connections a second, plain", ours["connections_per_second"], "/s", peer=its["connections_per_second"])

    def memory(self):
        def idle(kind):
            broker = self.broker(kind)
            figures = [settled_pss(lambda: [broker.process.pid], pace=0.2)]
            self.ended(broker)
            for count in FLEETS:
                broker = self.broker(kind)
                command = self.command(broker, True, "idle", {"connections": count})
                with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as load:
                    there = json.loads(load.stdout.readline() or "{}")
                    assert there.get("connected") == count, f"{kind.name}: {there} of {count} connections\n{broker.log()[-2000:]}"
                    figures.append(settled_pss(lambda broker=broker: [broker.process.pid], pace=0.5))
                    load.stdin.close()
                    left = json.loads(load.stdout.readline())
                    assert left["connected"] == count, f"{kind.name} let go of idle connections: {left}"
                self.ended(broker)
            return figures
        ours, its = map(idle, PEERS)
        names = ["memory (PSS), no connections", *(f"memory (PSS), {n:,} idle connections, mutual TLS, a subscription each" for n in FLEETS)]
        for name, value, peer in zip(names, ours, its, strict=True):
            self.table.add(name, value, "MB", "lower", peer=peer, target=peer if f"{FLEETS[-1]:,}" in name else None)
        self.table.add("memory of one idle connection", (ours[-1] - ours[0]) * 1000 / FLEETS[-1], "kB", "lower", peer=(its[-1] - its[0]) * 1000 / FLEETS[-1])

    def run(self):
        load = os.getloadavg()[0]
        if load > 0.5:
            self.table.note(f"the machine was not idle before the run (load average {load:.1f}; the build counts too): figures vary with that")
        began = time.monotonic()
        self.memory()
        self.connections()
        for transport in ("TLS", "plain"):
            for qos in (0, 1):
                self.latency(transport, qos)
        for transport, target in (("TLS", 2.0), ("plain", None)):
            for pattern in PATTERNS:
                for qos in (0, 1):
                    for size in SIZES:
                        self.throughput(transport, pattern, qos, size, target)
        for pattern, size in (("1 to 1", 100), ("10 to 10", 100), ("10 to 10", 1024)):
            self.throughput("TLS", pattern, 1, size, target=1.0, persistent=True)
        for note in NOTES:
            self.table.note(note)
        if self.busy:
            self.table.note(f"in {self.busy} rows the load used a whole core: there the load and not the broker may set our rate")
        self.table.note(f"{self.count} runs in {time.monotonic() - began:.0f} s, medians of {self.rounds}, {self.seconds} s each")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--place", type=pathlib.Path, required=True, help="folder for the brokers' files")
    parser.add_argument("--load", type=pathlib.Path, required=True, help="the program mqtt-load")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.8, help="measured in a run of throughput")
    parser.add_argument("--json", help="also write the rows there")
    arguments = parser.parse_args()
    raise_descriptors()
    bench = Bench(arguments.place, arguments.load, arguments.rounds, arguments.seconds)
    try:
        bench.run()
    finally:
        bench.end()
        bench.table.print()
        if arguments.json:
            bench.table.write(arguments.json)


main()
