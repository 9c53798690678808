"""MQTT brokers to test and to measure, ours and mosquitto, each a process of its own with the same certificates."""
import contextlib
import json
import os
import pathlib
import resource
import shutil
import signal
import socket
import subprocess

from device import BINARY, until

# A file descriptor for each connection of the largest runs, and some.
DESCRIPTORS = 12000
MOSQUITTO = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")


def raise_descriptors():
    """Lets this process and its children have enough files open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < DESCRIPTORS:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(DESCRIPTORS, hard), hard))


def free_ports(count):
    """Ports that nobody listens on at the moment."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class Authority:
    """A certificate authority of P-256 and what it has signed, as PEM files in a folder."""

    def __init__(self, folder, name="authority"):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.certificate, self.key = folder / "ca.crt", folder / "ca.key"
        self._openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", f"/CN={name}",
                      "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
                      "-keyout", self.key, "-out", self.certificate)

    def _openssl(self, *arguments):
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, cwd=self.folder)

    def issue(self, name, use, *alternative_names, organisation=None, days=30):
        """Signs a certificate for `use`, which is clientAuth or serverAuth. Returns its file and its key's."""
        certificate, key, request, more = (self.folder / f"{name}.{end}" for end in ("crt", "key", "csr", "ext"))
        subject = (f"/O={organisation}" if organisation else "") + f"/CN={name}"
        self._openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", subject, "-keyout", key, "-out", request)
        more.write_text(f"extendedKeyUsage={use}\nbasicConstraints=CA:FALSE\n" +
                        (f"subjectAltName={','.join(alternative_names)}\n" if alternative_names else ""))
        self._openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial", "-days", str(days),
                      "-extfile", more, "-out", certificate)
        return certificate, key


class Certificates:
    """What a broker and its clients need."""

    def __init__(self, folder):
        self.authority = Authority(folder / "pki")
        self.ca = self.authority.certificate
        self.server, self.server_key = self.authority.issue("localhost", "serverAuth", "IP:127.0.0.1", "DNS:localhost")
        self.client, self.client_key = self.authority.issue("device", "clientAuth")


class Broker:
    """One broker process: `plain`, `tls`, `websocket` and `secure_websocket` are its ports."""
    name = None

    def __init__(self, folder, certificates, persistent=False, suite=None, **configuration):
        """`persistent` keeps sessions on the disk; `suite` names a test of the public conformance suite, which expects to find things
        set up for it; `configuration` is of our own broker."""
        self.folder, self.certificates, self.persistent, self.suite, self.configuration = folder, certificates, persistent, suite, configuration
        folder.mkdir(parents=True, exist_ok=True)
        self.plain, self.tls, self.websocket, self.secure_websocket = free_ports(4)
        self.process, self.output = None, folder / f"{self.name}.log"

    def command(self):
        raise NotImplementedError

    def start(self):
        raise_descriptors()
        environment = {**os.environ}
        environment.pop("JOURNAL_STREAM", None)
        self.process = subprocess.Popen(self.command(), stdout=self.output.open("ab"), stderr=subprocess.STDOUT, env=environment)
        for port in (self.plain, self.tls):
            until(lambda port=port: self.died() or self.listens(port), f"{self.name} listens; see {self.output}")
        return self

    def died(self):
        if self.process.poll() is not None:
            raise AssertionError(f"{self.name} ended with {self.process.returncode}:\n{self.log()[-3000:]}")

    def listens(self, port):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    def log(self):
        return self.output.read_text(errors="replace")

    def stop(self, seconds=20):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
                raise AssertionError(f"{self.name} did not stop within {seconds} s") from None
        return self.process.returncode if self.process else None

    def kill(self):
        self.process.kill()
        self.process.wait(10)

    def peak(self):
        """The most memory it ever had resident, MB."""
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
        raise AssertionError("no VmHWM")


class Mosquitto(Broker):
    """The Debian package's broker. Queues without limit, so that it loses nothing for want of room; its window of messages in flight
    is the load's own, since the default of 20 holds it back on a fast network."""
    name = "mosquitto"

    def command(self):
        assert MOSQUITTO, "mosquitto is not installed"
        keep_alive = 60 if self.suite else 65535
        lines = ["per_listener_settings false", "allow_anonymous true", "log_type error", "log_type warning", "log_dest stdout",
                 "set_tcp_nodelay true", "max_inflight_messages 1000", "max_queued_messages 0", "max_queued_bytes 0", f"max_keepalive {keep_alive}",
                 f"listener {self.plain} 127.0.0.1",
                 f"listener {self.websocket} 127.0.0.1", "protocol websockets",
                 f"listener {self.tls} 127.0.0.1", f"cafile {self.certificates.ca}", f"certfile {self.certificates.server}",
                 f"keyfile {self.certificates.server_key}", "require_certificate true"]
        if os.getuid() == 0:
            lines.append("user root")  # its own user cannot read the keys
        if self.persistent:
            place = self.folder / "mosquitto-data"
            place.mkdir(exist_ok=True)
            lines += ["persistence true", f"persistence_location {place}/", "autosave_interval 1800"]
        else:
            lines.append("persistence false")
        (self.folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")
        return [MOSQUITTO, "-c", self.folder / "mosquitto.conf"]


class Greengrass(Broker):
    """Ours, with its defaults but for what the tests need: many connections from one address, and rules that allow all."""
    name = "greengrass"

    def command(self):
        everything = ["#", *(f"${level}/#" for level in ("aws", "dollar", "TopicA", "client_test5"))]
        # The suite subscribes to what is not allowed in one test, and to everything in the others and when it cleans up.
        subscribe = ["TopicA"] if self.suite == "test_subscribe_failure" else everything
        configuration = {
            "listeners": [{"port": port, "protocol": protocol} for port, protocol in (
                (self.plain, "mqtt"), (self.tls, "mqtts"), (self.websocket, "ws"), (self.secure_websocket, "wss"))],
            "tls": {"certificate": str(self.certificates.server), "key": str(self.certificates.server_key), "authorities": [str(self.certificates.ca)]},
            "anonymous": "loopback",
            "rules": [{"everyone": True, "publish": everything, "subscribe": subscribe}, {"clientId": "clean retained", "subscribe": everything}],
            "limits": {"connections": DESCRIPTORS, "connectionsPerAddress": DESCRIPTORS, **({"keepAliveSeconds": 60} if self.suite else {})},
            "log": {"level": "WARN"},
            **({"persistence": {"folder": str(self.folder / "state")}} if self.persistent else {}),
            **({"threads": int(os.environ["MQTT_THREADS"])} if "MQTT_THREADS" in os.environ else {}),
            **self.configuration}
        file = self.folder / "broker.json"
        file.write_text(json.dumps(configuration, indent=1))
        return [BINARY, "broker", "--config", file]


def broker(folder, certificates, **options):
    """The broker under test: ours, or the one that MQTT_BROKER names, to try the tests themselves on another."""
    kinds = {kind.name: kind for kind in (Greengrass, Mosquitto)}
    return kinds[os.environ.get("MQTT_BROKER", Greengrass.name)](folder, certificates, **options)


__all__ = ["BINARY", "Authority", "Broker", "Certificates", "Greengrass", "Mosquitto", "broker", "free_ports", "raise_descriptors"]
