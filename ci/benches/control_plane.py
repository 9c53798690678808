"""The group `cloud`: greengrass-cloud with a fleet of simulated devices, and its REST API beside moto's server.

Devices, callers and server share this machine. REST requests are signed before the clock starts; moto does not check signatures,
ours does.
"""
import argparse
import http.client
import json
import multiprocessing
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import time
import urllib.parse

from botocore import auth, awsrequest
from botocore.credentials import Credentials
from brokers import raise_descriptors
from cloud import PROGRAM, Cloud
from processes import settled_pss
from table import Table

GROUP, JOB = "everything", "bench"
PREFIX = "device-"
CALLERS = 4
NOTES = (
    "moto runs as its moto_server (one process, threads), with the same things; it does not check signatures, ours does",
    f"REST: {CALLERS} callers, each with a connection of its own that is kept; requests are signed before the clock starts",
    "a fan-out ends when each device has been sent the document of the job over its connection",
)


def signed(url, method, path, access, secret, body=None):
    """A whole request, ready to send."""
    data = json.dumps(body).encode() if body is not None else b""
    request = awsrequest.AWSRequest(method, url + path, data=data, headers={"Content-Type": "application/json"} if data else {})
    auth.SigV4Auth(Credentials(access, secret), "iot", "us-east-1").add_auth(request)
    head = [f"{method} {path} HTTP/1.1", f"Host: {urllib.parse.urlsplit(url).netloc}", f"Content-Length: {len(data)}"]
    return "\r\n".join([*head, *(f"{k}: {v}" for k, v in request.headers.items()), "", ""]).encode() + data


def caller(host, port, requests, ready, go, results):
    stream = http.client.HTTPConnection(host, port, timeout=120)
    stream.connect()
    stream.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    ready.release()
    go.wait()
    began, wrong = time.monotonic(), 0
    for raw in requests:
        stream.sock.sendall(raw)
        answer = http.client.HTTPResponse(stream.sock, method="GET")
        answer.begin()
        answer.read()
        wrong += answer.status >= 400
        if answer.will_close:
            stream.close()
            stream.connect()
    results.put((began, time.monotonic(), wrong))


def rate(url, requests, callers=CALLERS):
    """Requests a second, by processes of their own."""
    parts = urllib.parse.urlsplit(url)
    ready, go, results = multiprocessing.Semaphore(0), multiprocessing.Event(), multiprocessing.Queue()
    workers = [
        multiprocessing.Process(target=caller, args=(parts.hostname, parts.port, requests[n::callers], ready, go, results)) for n in range(callers)]
    for worker in workers:
        worker.start()
    for _ in workers:
        ready.acquire()
    go.set()
    found = [results.get(timeout=600) for _ in workers]
    for worker in workers:
        worker.join()
    wrong = sum(wrong for _, _, wrong in found)
    assert wrong == 0, f"{wrong} of {len(requests)} requests were refused by {url}"
    return len(requests) / (max(end for _, end, _ in found) - min(began for began, _, _ in found))


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Moto:
    def __init__(self, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        program = pathlib.Path(sys.executable).parent / "moto_server"
        log = (folder / "moto.log").open("wb")
        self.process = subprocess.Popen([program, "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while True:
            try:
                http.client.HTTPConnection("127.0.0.1", port, timeout=5).request("GET", "/moto-api/")
                return
            except OSError:
                assert time.monotonic() < deadline, "moto's server did not start"
                time.sleep(0.1)

    def end(self):
        self.process.terminate()
        self.process.wait(20)


class Bench:
    def __init__(self, place, load, devices, things, calls):
        self.place, self.load, self.devices, self.things, self.calls = place, load, devices, things, calls
        self.table = Table()
        self.cloud = Cloud(place)
        self.moto = None

    def end(self):
        if self.moto:
            self.moto.end()
        self.cloud.stop()

    def pss(self):
        return settled_pss(lambda: [self.cloud.process.pid], pace=0.5)

    def start(self):
        """Until the first answer, with a state that is there already."""
        self.cloud.start()
        times = []
        for _ in range(5):
            self.cloud.stop()
            began = time.monotonic()
            self.cloud.start(wait=False)
            while "is up" not in self.cloud.output.read_text():
                time.sleep(0.002)
            times.append((time.monotonic() - began) * 1000)
        self.table.add("size of the program", PROGRAM.stat().st_size / 1e6, "MB", "lower")
        self.table.add("start, with a state", statistics.median(times), "ms", "lower")
        self.table.add("memory (PSS), nothing connected", self.pss(), "MB", "lower")

    def furnish(self):
        iot = self.cloud.client("iot")
        iot.create_thing_group(thingGroupName=GROUP)
        made = iot.create_keys_and_certificate(setAsActive=True)
        document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]}
        iot.create_policy(policyName="all", policyDocument=json.dumps(document))
        iot.attach_policy(policyName="all", target=made["certificateArn"])
        self.certificate, self.key = self.place / "device.pem", self.place / "device.key"
        self.certificate.write_text(made["certificatePem"])
        self.key.write_text(made["keyPair"]["PrivateKey"])
        self.key.chmod(0o600)
        own = self.cloud.credentials()
        keys = own["AWS_ACCESS_KEY_ID"], own["AWS_SECRET_ACCESS_KEY"]
        self.requests = lambda method, paths, url, body=None: [
            signed(url, method, path, *keys, body=body(path) if callable(body) else body) for path in paths]
        names = [f"{PREFIX}{n}" for n in range(self.things)]
        self.paths = [f"/things/{name}" for name in names]
        made = rate(self.cloud.url, self.requests("POST", self.paths, self.cloud.url, {"attributePayload": {"attributes": {"site": "hall"}}}))
        self.table.add("REST: CreateThing", made, "requests/s")
        add = [{"thingGroupName": GROUP, "thingName": name} for name in names[:self.devices]]
        raw = [self.requests("PUT", ["/thing-groups/addThingToThingGroup"], self.cloud.url, body)[0] for body in add]
        self.table.add("REST: AddThingToThingGroup", rate(self.cloud.url, raw), "requests/s")

    def fleet(self):
        mqtt = next(line for line in self.cloud.output.read_text().splitlines() if "MQTT" in line).split(":")[1].split()[0]
        before = self.pss()
        command = [
            self.load, "idle", "--address", f"127.0.0.1:{mqtt}", "--ca", self.cloud.ca, "--certificate", self.certificate, "--key", self.key,
            "--connections", self.devices, "--prefix", PREFIX, "--filter", "$aws/things/{id}/jobs/notify-next", "--messages"]
        used = cpu_seconds(self.cloud.process.pid)
        with subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as load:
            there = json.loads(load.stdout.readline() or "{}")
            assert there.get("connected") == self.devices, f"{there} of {self.devices} are connected\n{self.cloud.log()[-2000:]}"
            used = cpu_seconds(self.cloud.process.pid) - used
            name = f"{self.devices:,} devices, mutual TLS"
            self.table.add(f"{name}: all connected and subscribed after", there["seconds"], "s", "lower")
            self.table.add(f"{name}: processor for one connection", used * 1000 / self.devices, "ms", "lower")
            after = self.pss()
            self.table.add(f"{name}: memory (PSS)", after, "MB", "lower")
            self.table.add(f"{name}: memory of one", (after - before) * 1000 / self.devices, "kB", "lower")
            began, used = time.monotonic(), cpu_seconds(self.cloud.process.pid)
            time.sleep(10)
            used = (cpu_seconds(self.cloud.process.pid) - used) / (time.monotonic() - began)
            self.table.add(f"{name}: processor at rest", used * 100, "% of a core", "lower")
            iot = self.cloud.client("iot")
            target = iot.describe_thing_group(thingGroupName=GROUP)["thingGroupArn"]
            began = time.time()
            iot.create_job(jobId=JOB, targets=[target], document='{"do":"something"}')
            answered = time.time()
            told = json.loads(load.stdout.readline() or "{}")
            assert told.get("told") == self.devices, f"{told} of {self.devices} were told"
            self.table.add(f"a job to {self.devices:,} devices: CreateJob answers after", answered - began, "s", "lower")
            self.table.add(f"a job to {self.devices:,} devices: the last is told after", told["at"] - began, "s", "lower")
            load.stdin.close()
            left = json.loads(load.stdout.readline())
            assert left["connected"] == self.devices, f"connections were lost: {left}"

    def rest(self):
        self.moto = Moto(self.place)
        rate(self.moto.url, self.requests("POST", self.paths, self.moto.url, {"attributePayload": {"attributes": {"site": "hall"}}}))
        several = [path for n, path in enumerate(self.paths) if n % max(1, self.things // self.calls) == 0][:self.calls]
        pages = ["/things?maxResults=100"] * (self.calls // 10)
        for what, paths in (("DescribeThing", several), ("ListThings, the first 100", pages)):
            ours, theirs = (rate(url, self.requests("GET", paths, url)) for url in (self.cloud.url, self.moto.url))
            self.table.add(f"REST, {self.things:,} things: {what}", ours, "requests/s", peer=theirs)

    def run(self):
        if os.getloadavg()[0] > 0.5:
            self.table.note(f"the machine was not idle before the run (load average {os.getloadavg()[0]:.1f}; the build counts too)")
        self.start()
        self.furnish()
        self.fleet()
        self.rest()
        self.table.add(f"memory (PSS) after all, {self.things:,} things", self.pss(), "MB", "lower")
        for note in NOTES:
            self.table.note(note)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--place", type=pathlib.Path, required=True, help="folder for the state")
    parser.add_argument("--load", type=pathlib.Path, required=True, help="the program mqtt-load")
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--things", type=int, default=10_000)
    parser.add_argument("--calls", type=int, default=2000, help="requests for one rate")
    parser.add_argument("--json", help="also write the rows there")
    arguments = parser.parse_args()
    raise_descriptors()
    bench = Bench(arguments.place, arguments.load, arguments.devices, arguments.things, arguments.calls)
    try:
        bench.run()
    finally:
        bench.end()
        bench.table.print()
        if arguments.json:
            bench.table.write(arguments.json)


if __name__ == "__main__":
    main()
