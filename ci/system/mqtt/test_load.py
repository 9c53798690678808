"""Many clients and many messages: nothing is lost, and memory stays where it is. The program `mqtt-load` makes the load."""
import json
import os
import pathlib
import subprocess

import pytest
from brokers import broker as make_broker
from device import ROOT

LOAD = pathlib.Path(os.environ.get("MQTT_LOAD", ROOT / "target" / "debug" / "mqtt-load"))
LONG = os.environ.get("GREENGRASS_LONG") == "1"
CLIENTS = 2500


@pytest.fixture
def volatile(certificates, tmp_path):
    made = make_broker(tmp_path / "broker", certificates)
    made.start()
    yield made
    made.died()
    made.stop()


def command(broker, mode, secure, *arguments):
    made = [LOAD, mode, "--address", f"127.0.0.1:{broker.tls if secure else broker.plain}", *arguments]
    if secure:
        made += ["--ca", broker.certificates.ca, "--certificate", broker.certificates.client, "--key", broker.certificates.client_key]
    return list(map(str, made))


def load(broker, mode, secure, *arguments, seconds=120):
    done = subprocess.run(command(broker, mode, secure, *arguments), capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, done.stderr + broker.log()[-3000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize(("publishers", "subscribers"), [(1, 1), (10, 10), (1, 100)])
@pytest.mark.parametrize("qos", [0, 1])
def test_nothing_is_lost_or_repeated_at_full_speed(volatile, secure, publishers, subscribers, qos):
    for version in ("3.1.1", "5"):
        found = load(volatile, "throughput", secure, "--publishers", publishers, "--subscribers", subscribers, "--qos", qos, "--version", version,
                     "--window", 1000 if subscribers == 1 else 100, "--seconds", 0.5, "--warm-up", 0.1)
        assert found["deliveries"] > 0 and (found["lost"], found["repeated"]) == (0, 0), found


def test_nothing_is_lost_at_full_speed_with_everything_on_the_disk(own_broker):
    for publishers, subscribers in ((1, 1), (5, 5)):
        found = load(own_broker, "throughput", True, "--publishers", publishers, "--subscribers", subscribers, "--qos", 1, "--persistent",
                     "--window", 100, "--seconds", 1, "--warm-up", 0.1)
        assert found["deliveries"] > 0 and (found["lost"], found["repeated"]) == (0, 0), found


def test_an_idle_connection_costs_little_memory_and_its_end_gives_it_back(volatile):
    def memory():
        rollup = pathlib.Path(f"/proc/{volatile.process.pid}/smaps_rollup").read_text()
        return int(rollup.split("Pss:")[1].split()[0])
    count, before, after = 1000, memory(), []
    for _ in range(3):
        with subprocess.Popen(command(volatile, "idle", True, "--connections", count), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as idle:
            assert json.loads(idle.stdout.readline())["connected"] == count
            each = (memory() - before) / count
            idle.stdin.close()
            assert json.loads(idle.stdout.readline())["connected"] == count
        after.append(memory())
    assert each < 45, f"{each} kB for each connection"
    assert after[-1] < after[0] * 1.15 + 2000, f"memory grows with connections that are gone: {after} kB"


def test_many_clients_come_go_and_take_over_and_no_message_is_lost(own_broker):
    """2,500 clients with lasting sessions, half of each version, over mutual TLS."""
    seconds, churn = (600, 40) if LONG else (20, 40)
    found = load(own_broker, "soak", True, "--clients", CLIENTS, "--seconds", seconds, "--churn", churn, "--rate", 300,
                 "--server", own_broker.process.pid, seconds=seconds + 240)
    assert found["acknowledged"] == found["sent"] >= seconds * 290, found
    wrong = ("lost", "astray", "takeovers_ignored", "takeovers_untold", "cut", "refused", "sessions_lost")
    assert {key: found[key] for key in wrong} == dict.fromkeys(wrong, 0), found
    assert found["clients"] == CLIENTS, found
    if found["memory_connected"]:
        allowed = found["memory_connected"] * 1.25 + 32e6
        assert found["memory_most"] < allowed and found["memory_end"] < allowed, found
