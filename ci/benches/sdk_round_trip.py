"""A component on the official Python SDK that publishes to itself and prints how fast that goes, one line of JSON a run.

Arguments: the process id of the runtime, then runs as SIZE:IN_FLIGHT:MESSAGES. A message is in flight until its publisher has
the answer and the subscriber, on a connection of its own, has the message. The SDK is used as its documentation shows it.
"""
import contextlib
import json
import os
import pathlib
import sys
import threading
import time

from awsiot.greengrasscoreipc.clientv2 import GreengrassCoreIPCClientV2
from awsiot.greengrasscoreipc.model import BinaryMessage, PublishMessage

TOPIC = "load/sdk"
PATIENCE = 20


def cpu(pid):
    """Seconds of processor time that each thread of a process has used. Exact, where /proc/PID/stat counts ticks."""
    threads = {}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # it has ended meanwhile
            threads[task.name] = int((task / "schedstat").read_text().split()[0]) / 1e9
    return threads


def used(before, after):
    return sum(time_ - before.get(thread, 0) for thread, time_ in after.items())


class Run:
    def __init__(self, size, in_flight, messages):
        self.size, self.messages = size, messages
        self.free = threading.Semaphore(in_flight)
        self.in_flight = in_flight
        self.sent, self.halves, self.latencies, self.failure = {}, {}, [], None
        self.lock = threading.Lock()

    def half_done(self, number):
        """Called for the answer and for the arrival; whichever is second makes room for the next message."""
        with self.lock:
            self.halves[number] = self.halves.get(number, 0) + 1
            over = self.halves[number] == 2
            if over:
                del self.halves[number]
        if over:
            self.free.release()

    def answered(self, number, future):
        self.failure = self.failure or future.exception()
        self.half_done(number)

    def arrived(self, event):
        now = time.monotonic()
        number = int.from_bytes(event.binary_message.message[:8], "big")
        self.latencies.append(now - self.sent.pop(number))
        self.half_done(number)

    def take(self):
        if not self.free.acquire(timeout=PATIENCE) or self.failure:
            raise RuntimeError(f"a message was lost: {self.failure}")

    def go(self, ipc):
        for number in range(self.messages):
            self.take()
            message = number.to_bytes(8, "big") + bytes(self.size - 8)
            self.sent[number] = time.monotonic()
            published = ipc.publish_to_topic_async(topic=TOPIC, publish_message=PublishMessage(binary_message=BinaryMessage(message=message)))
            published.add_done_callback(lambda future, number=number: self.answered(number, future))
        for _ in range(self.in_flight):
            self.take()


def main(server, runs):
    publisher, subscriber = GreengrassCoreIPCClientV2(), GreengrassCoreIPCClientV2()
    current = []
    subscriber.subscribe_to_topic(
        topic=TOPIC, on_stream_event=lambda event: current[0].arrived(event), on_stream_error=lambda error: os._exit(1))
    for text in runs:
        size, in_flight, messages = map(int, text.split(":"))
        current[:] = [Run(size, in_flight, max(messages // 10, in_flight))]
        current[0].go(publisher)
        current[:] = [Run(size, in_flight, messages)]
        before = time.monotonic(), time.process_time(), cpu(server)
        current[0].go(publisher)
        took, own, others = time.monotonic() - before[0], time.process_time() - before[1], used(before[2], cpu(server))
        latencies = sorted(current[0].latencies)
        print(json.dumps({
            "label": f"sdk:{size}:{in_flight}", "per_second": messages / took,
            "p50_us": latencies[len(latencies) // 2] * 1e6, "p99_us": latencies[len(latencies) * 99 // 100] * 1e6,
            "sdk_cpu": own / took, "server_cpu": others / took}), flush=True)
    print("all runs are over", flush=True)
    os._exit(0)  # the SDK's own threads need not be waited for


main(sys.argv[1], sys.argv[2:])
