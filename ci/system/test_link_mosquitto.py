"""A core device connected to mosquitto with TLS: both versions of MQTT, a proxy, a client id used twice, kill -9 while it publishes."""
import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading

import pytest
from conftest import python_probe
from device import Device, Probe, allow, finish, make_root, until

PROXY = "aws.greengrass.ipc.mqttproxy"
BROKER = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")
pytestmark = pytest.mark.skipif(not BROKER or not shutil.which("mosquitto_sub"), reason="mosquitto and its clients are not installed")


def openssl(*words, folder):
    subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=folder)


class Mosquitto:
    """mosquitto on a port of its own that wants a certificate."""

    def __init__(self, folder):
        self.folder, self.process, self.starts = folder, None, 0
        folder.mkdir()
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        openssl("req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority", folder=folder)
        for name in ["server", "device"]:
            openssl("req", *curve[:-2], "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}", folder=folder)
            (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
            openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                    "-days", "2", "-extfile", "names", "-out", f"{name}.pem", folder=folder)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        (folder / "mosquitto.conf").write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\nrequire_certificate true\nuser root\n"
            f"cafile {folder}/ca.pem\ncertfile {folder}/server.pem\nkeyfile {folder}/server.key\n")

    def start(self):
        self.starts += 1
        self.log = self.folder / f"mosquitto-{self.starts}.log"
        self.process = subprocess.Popen([BROKER, "-v", "-c", self.folder / "mosquitto.conf"],
                                        stdout=self.log.open("wb"), stderr=subprocess.STDOUT)
        until(lambda: "running" in self.log.read_text(), f"mosquitto runs; see {self.log}")
        return self

    def stop(self):
        self.process.terminate()
        self.process.wait(10)

    def configuration(self, **mqtt):
        return {
            "system": {
                "thingName": "mosquitto-core", "rootCaPath": str(self.folder / "ca.pem"),
                "certificateFilePath": str(self.folder / "device.pem"), "privateKeyPath": str(self.folder / "device.key")},
            "services": {"aws.greengrass.Nucleus": {"configuration": {
                "iotDataEndpoint": "127.0.0.1", "mqtt": {"port": self.port, "maximumReconnectDelaySeconds": 1, **mqtt}}}}}

    def tls(self):
        return ["-h", "127.0.0.1", "-p", str(self.port), "--cafile", str(self.folder / "ca.pem"),
                "--cert", str(self.folder / "device.pem"), "--key", str(self.folder / "device.key")]

    def subscribe(self, topic, client, output):
        made = subprocess.Popen(["mosquitto_sub", *self.tls(), "-q", "1", "-t", topic, "-i", client, "-c"], stdout=output.open("ab"))
        until(lambda: re.search(rf"Sending SUBACK to {client}", self.log.read_text()), "the subscriber is there")
        return made


@pytest.fixture
def broker(tmp_path):
    made = Mosquitto(tmp_path / "mosquitto").start()
    yield made
    made.stop()


@pytest.fixture
def core(tmp_path):
    """Not yet started; `configure` writes its configuration file."""
    made = Device(make_root(tmp_path))

    def configure(document):
        file = tmp_path / "config.json"
        file.write_text(json.dumps(document))
        made.extra = ["--config", file]

    made.configure = configure
    yield made
    finish(made)


def connected(device, times=1):
    until(lambda: device.log().count("connected to the cloud") >= times, "the device is connected; " + str(device.output))


def probe(device, name="com.test.Linked"):
    device.deploy(python_probe(device, name, access=allow(name, PROXY)))
    return reached(device, name)


def reached(device, name="com.test.Linked"):
    """The probe of a device that was started again: what it left behind looks as if it were there."""
    def there():
        try:
            return Probe(device, name)
        except OSError:
            return None
    return until(there, "the probe answers")


def payload(text):
    return base64.b64encode(text.encode()).decode()


def text(event):
    return base64.b64decode(event["message"]["payload"]).decode()


@pytest.mark.parametrize(("version", "protocol"), [("mqtt5", "p5"), ("mqtt3", "p2")])
def test_both_versions_carry_messages_of_either_qos(broker, core, version, protocol):
    core.configure(broker.configuration(version=version))
    core.start()
    connected(core)
    assert f"({protocol}," in re.search(r"New client connected .* as mosquitto-core (\(.*\))", broker.log.read_text())[1]
    component = probe(core)
    stream = component.stream("subscribe_to_iot_core", topicName="a/#", qos="1")
    again = component.stream("subscribe_to_iot_core", topicName="a/#", qos="1")
    for qos in ["0", "1"]:
        component.call("publish_to_iot_core", topicName=f"a/{qos}", qos=qos, payload=payload(qos))
        assert text(stream.take()) == qos and text(again.take()) == qos
    # One of two with the same filter ends; the other goes on, and the last one unsubscribes.
    component.close(again)
    component.call("publish_to_iot_core", topicName="a", qos="1", payload=payload("still"))
    assert text(stream.take()) == "still"
    assert "UNSUBSCRIBE" not in broker.log.read_text()
    component.close(stream)
    until(lambda: "UNSUBSCRIBE" in broker.log.read_text(), "the last one unsubscribes")


def test_a_client_id_that_is_used_twice_is_told(broker, core):
    core.configure(broker.configuration())
    core.start()
    connected(core)
    other = subprocess.Popen(["mosquitto_sub", "-V", "5", *broker.tls(), "-t", "x", "-i", "mosquitto-core"])
    try:
        until(lambda: 'another client connects as "mosquitto-core"' in core.log(), "the duplicate is told")
    finally:
        other.send_signal(signal.SIGTERM)
        other.wait(10)


class ConnectProxy:
    """An HTTP proxy that wants a password."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.seen = []
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            client, _ = self.listener.accept()
            threading.Thread(target=self.connect, args=(client,), daemon=True).start()

    def connect(self, client):
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(4096)
        self.seen.append(head.decode())
        if base64.b64encode(b"user:secret word") not in head:
            client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            client.close()
            return
        host, port = head.split()[1].decode().rsplit(":", 1)
        server = socket.create_connection((host, int(port)))
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for a, b in [(client, server), (server, client)]:
            threading.Thread(target=self.copy, args=(a, b), daemon=True).start()

    @staticmethod
    def copy(a, b):
        try:
            while data := a.recv(65536):
                b.sendall(data)
        except OSError:
            pass
        b.close()


def test_the_connection_goes_through_a_proxy_that_wants_a_password(broker, core):
    proxy = ConnectProxy()
    configuration = broker.configuration()
    section = configuration["services"]["aws.greengrass.Nucleus"]["configuration"]
    section["networkProxy"] = {"proxy": {"url": proxy.url, "username": "user", "password": "wrong word"}}
    core.configure(configuration)
    core.start()
    until(lambda: re.search("no connection to the cloud: proxy .*407", core.log()), "the proxy's refusal is told")
    core.stop()
    section["networkProxy"]["proxy"]["password"] = "secret word"
    core.configure(configuration)
    core.start()
    connected(core)
    assert proxy.seen[-1].startswith(f"CONNECT 127.0.0.1:{broker.port} ")
    assert "secret word" not in core.log() and "wrong word" not in core.log()


def test_what_was_accepted_on_disk_arrives_in_order_through_kills_and_a_broker_that_comes_and_goes(broker, core, tmp_path):
    core.configure(broker.configuration(spooler={"storageType": "Disk", "keepQos0WhenOffline": True}))
    output = tmp_path / "received"
    subscriber = broker.subscribe("kept", "listener", output)
    accepted = []

    def received():
        return list(dict.fromkeys(output.read_text().split()))

    def arrived():
        until(lambda: len(received()) >= len(accepted), "everything accepted has arrived", 30)
        assert received() == accepted

    for turn in range(4):
        core.start()
        component = reached(core) if turn else probe(core)
        if turn == 2:
            # The broker of this test forgets everything, so that it must have nothing.
            arrived()
            broker.stop()
            subscriber.send_signal(signal.SIGTERM)
            subscriber.wait(10)
        for _ in range(150):
            number = str(len(accepted))
            component.call("publish_to_iot_core", topicName="kept", qos="1", payload=payload(number))
            accepted.append(number)
        core.kill()
        for pid, _ in core.survivors():
            os.kill(pid, signal.SIGKILL)
        if turn == 2:
            broker.start()
            subscriber = broker.subscribe("kept", "listener", output)
    core.start()
    try:
        arrived()
    finally:
        subscriber.send_signal(signal.SIGTERM)
        subscriber.wait(10)
