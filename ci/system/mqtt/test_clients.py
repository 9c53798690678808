"""Clients that people have: mosquitto's programs, paho-mqtt, and the AWS IoT device SDK, each as its documentation shows it."""
import queue
import shutil
import socket
import ssl
import subprocess
import threading

import paho.mqtt.client as paho
import pytest
from awscrt import io as aws_io
from awscrt import mqtt as aws_mqtt
from awscrt import mqtt5
from awsiot import mqtt5_client_builder, mqtt_connection_builder
from brokers import Authority
from frames import Client
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

LONG = 15


# --- mosquitto_pub and mosquitto_sub ---
class Programs:
    def __init__(self, broker, certificates, version, secure):
        self.common = ["-V", "mqttv5" if version == 5 else "mqttv311", "-h", "localhost" if secure else "127.0.0.1"]
        if secure:
            self.common += ["-p", str(broker.tls), "--cafile", certificates.ca, "--cert", certificates.client, "--key", certificates.client_key]
        else:
            self.common += ["-p", str(broker.plain)]

    def publish(self, *arguments, **options):
        subprocess.run(["mosquitto_pub", *self.common, *arguments], check=True, timeout=LONG, **options)

    def fetch(self, *arguments):
        """Runs a subscriber to its end; returns what it printed."""
        return subprocess.run(["mosquitto_sub", *self.common, "-W", "30", *arguments], check=True, timeout=LONG, stdout=subprocess.PIPE, text=True).stdout

    def subscribe(self, *arguments):
        """Starts a subscriber and returns when it has subscribed."""
        command = ["stdbuf", "-oL", "mosquitto_sub", *self.common, "-d", "-W", "30", *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for line in process.stdout:
            if line.startswith("Subscribed") or "SUBACK" in line:
                return process
        raise AssertionError(f"{command} ended with {process.wait(5)}")


def printed(process):
    lines = [line.rstrip("\n") for line in process.stdout]
    return process.wait(LONG), [line for line in lines if line.startswith(">")]


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def programs(request, broker, certificates, version):
    assert shutil.which("mosquitto_pub"), "mosquitto-clients is not installed"
    return Programs(broker, certificates, version, request.param)


@pytest.mark.parametrize("qos", ["0", "1", "2"])
def test_mosquittos_programs_exchange_messages(programs, name, qos):
    subscriber = programs.subscribe("-t", f"{name}/+", "-q", qos, "-C", "3", "-F", ">%t %p %q")
    for number in range(3):
        programs.publish("-t", f"{name}/{number}", "-m", f"message {number}", "-q", qos)
    code, lines = printed(subscriber)
    assert code == 0 and sorted(lines) == [f">{name}/{n} message {n} {qos}" for n in range(3)]


def test_mosquittos_programs_keep_sessions_and_retained_messages(programs, name):
    programs.subscribe("-t", f"{name}/in", "-q", "1", "-i", f"{name}-away", "-c", "-E").wait(LONG)
    programs.publish("-t", f"{name}/in", "-m", "while away", "-q", "1")
    programs.publish("-t", f"{name}/kept", "-m", "kept", "-q", "1", "-r")
    code, lines = printed(programs.subscribe("-t", f"{name}/kept", "-q", "1", "-C", "1", "-F", ">%p"))
    assert code == 0 and lines == [">kept"]
    # What waited comes before the answer to the subscription.
    assert programs.fetch("-t", f"{name}/in", "-q", "1", "-i", f"{name}-away", "-c", "-C", "1", "-F", ">%p") == ">while away\n"
    programs.publish("-t", f"{name}/kept", "-n", "-q", "1", "-r")


def test_mosquitto_pub_sends_a_large_file(programs, name, tmp_path):
    file = tmp_path / "large"
    file.write_bytes(b"0123456789" * 100_000)
    subscriber = programs.subscribe("-t", name, "-q", "1", "-C", "1", "-F", ">%l")
    programs.publish("-t", name, "-q", "1", "-f", str(file))
    assert printed(subscriber) == (0, [">1000000"])


# --- paho-mqtt ---
class Paho:
    """paho-mqtt with its loop in a thread, and what came."""

    def __init__(self, version, client_id, transport="tcp", context=None, clean=True, expiry=None, session_expiry=None):
        self.version = version
        options = {} if version == 5 else {"clean_session": clean}
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id, protocol=paho.MQTTv5 if version == 5 else paho.MQTTv311,
                                  transport=transport, **options)
        if context:
            self.client.tls_set_context(context)
        self.clean, self.session_expiry = clean, session_expiry
        self.messages, self.connects, self.disconnects, self.subscribed = queue.Queue(), queue.Queue(), queue.Queue(), queue.Queue()
        self.client.on_message = lambda client, data, message: self.messages.put(message)
        self.client.on_connect = lambda client, data, flags, reason, properties: self.connects.put((flags, reason, properties))
        self.client.on_disconnect = lambda client, data, flags, reason, properties: self.disconnects.put(reason)
        self.client.on_subscribe = lambda client, data, mid, reasons, properties: self.subscribed.put(reasons)

    def connect(self, port, host="localhost"):
        options = {}
        if self.version == 5:
            options["clean_start"] = self.clean
            if self.session_expiry:
                options["properties"] = Properties(PacketTypes.CONNECT)
                options["properties"].SessionExpiryInterval = self.session_expiry
        self.client.connect(host, port, keepalive=30, **options)
        self.client.loop_start()
        self.flags, reason, self.properties = self.connects.get(timeout=LONG)
        assert not reason.is_failure, reason
        return self

    def subscribe(self, topic, qos):
        self.client.subscribe(topic, options=SubscribeOptions(qos)) if self.version == 5 else self.client.subscribe(topic, qos)
        reasons = self.subscribed.get(timeout=LONG)
        assert not reasons[0].is_failure, reasons

    def publish(self, topic, payload, qos, **options):
        self.client.publish(topic, payload, qos, **options).wait_for_publish(LONG)

    def take(self):
        return self.messages.get(timeout=LONG)

    def end(self):
        self.client.disconnect()
        self.disconnects.get(timeout=LONG)
        self.client.loop_stop()


@pytest.fixture
def context(certificates):
    made = ssl.create_default_context(cafile=certificates.ca)
    made.load_cert_chain(certificates.client, certificates.client_key)
    return made


@pytest.mark.parametrize("way", ["tcp", "tls", "websocket", "secure websocket"])
def test_paho_exchanges_messages_of_each_qos_over_each_transport(broker, context, version, name, way):
    port = {"tcp": broker.plain, "tls": broker.tls, "websocket": broker.websocket, "secure websocket": broker.secure_websocket}[way]
    if way == "secure websocket" and not broker.listens(port):
        pytest.skip(f"{broker.name} is set up without it")
    client = Paho(version, name, "websockets" if "websocket" in way else "tcp", context if way in ("tls", "secure websocket") else None).connect(port)
    client.subscribe(name, 2)
    for qos in (0, 1, 2):
        for payload in (b"", b"small", b"x" * 200_000):
            client.publish(name, payload, qos)
            got = client.take()
            assert (got.payload, got.qos) == (payload, qos)
    client.end()


def test_paho_comes_back_to_its_session(broker, version, name):
    options = {"clean": False, "session_expiry": 600}
    client = Paho(version, name, **options).connect(broker.plain)
    client.subscribe(f"{name}/#", 2)
    client.end()
    other = Paho(version, f"{name}-other").connect(broker.plain)
    for number in range(50):
        other.publish(f"{name}/x", str(number), 1)
    other.end()
    client = Paho(version, name, **options).connect(broker.plain)
    assert client.flags.session_present
    assert [int(client.take().payload) for _ in range(50)] == list(range(50))
    client.end()


def test_paho_sees_the_properties_of_version_5(broker, name):
    client = Paho(5, name).connect(broker.plain)
    client.subscribe(name, 1)
    sent = Properties(PacketTypes.PUBLISH)
    sent.UserProperty = [("a", "1"), ("a", "2")]
    sent.ResponseTopic, sent.CorrelationData, sent.ContentType, sent.MessageExpiryInterval = "re", b"\x01", "text/plain", 100
    client.publish(name, b"x", 1, properties=sent)
    got = client.take().properties
    assert (got.UserProperty, got.ResponseTopic, got.CorrelationData, got.ContentType) == ([("a", "1"), ("a", "2")], "re", b"\x01", "text/plain")
    assert 98 <= got.MessageExpiryInterval <= 100
    client.end()


def test_paho_is_told_that_another_took_its_place(broker, name):
    first = Paho(5, name).connect(broker.plain)
    first.client.on_disconnect = lambda client, data, flags, reason, properties: (first.disconnects.put(reason), client.disconnect())
    second = Paho(5, name).connect(broker.plain)
    assert first.disconnects.get(timeout=LONG).value == 0x8E
    first.client.loop_stop()
    second.end()


def test_many_paho_clients_talk_at_once(broker, version, name):
    members = [Paho(version, f"{name}-{n}").connect(broker.plain) for n in range(10)]
    for member in members:
        member.subscribe(f"{name}/all", 1)
    threads = [threading.Thread(target=lambda m=m: [m.publish(f"{name}/all", f"{m.client._client_id.decode()} {i}", 1) for i in range(20)]) for m in members]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = sorted(f"{name}-{n} {i}".encode() for n in range(10) for i in range(20))
    for member in members:
        assert sorted(member.take().payload for _ in range(200)) == expected
        member.end()


# --- the AWS IoT device SDK ---
def aws_options(broker, certificates, name):
    return {"endpoint": "localhost", "port": broker.tls, "cert_filepath": str(certificates.client), "pri_key_filepath": str(certificates.client_key),
            "ca_filepath": str(certificates.ca), "client_id": name}


class Aws5:
    """The SDK's client of MQTT 5, and what came."""

    def __init__(self, make):
        self.messages, self.states, self.stopped = queue.Queue(), queue.Queue(), threading.Event()
        self.client = make(self)
        self.client.start()
        self.connack = self.states.get(timeout=LONG)
        assert isinstance(self.connack, mqtt5.ConnackPacket), self.connack

    @classmethod
    def built(cls, broker, certificates, name, **options):
        """By the SDK's builder."""
        return cls(lambda self: mqtt5_client_builder.mtls_from_path(
            **aws_options(broker, certificates, name), on_publish_received=lambda data: self.messages.put(data.publish_packet),
            on_lifecycle_connection_success=lambda data: self.states.put(data.connack_packet), on_lifecycle_connection_failure=self.states.put,
            on_lifecycle_stopped=lambda data: self.stopped.set(), **options))

    @classmethod
    def by_alpn(cls, broker, certificates, name):
        """As the builder does it for port 443: MQTT is asked for by ALPN."""
        tls = aws_io.TlsContextOptions.create_client_with_mtls_from_path(str(certificates.client), str(certificates.client_key))
        tls.override_default_trust_store_from_path(None, str(certificates.ca))
        tls.alpn_list = ["x-amzn-mqtt-ca"]
        return cls(lambda self: mqtt5.Client(mqtt5.ClientOptions(
            host_name="localhost", port=broker.tls, tls_ctx=aws_io.ClientTlsContext(tls), connect_options=mqtt5.ConnectPacket(client_id=name),
            on_publish_callback_fn=lambda data: self.messages.put(data.publish_packet),
            on_lifecycle_event_connection_success_fn=lambda data: self.states.put(data.connack_packet),
            on_lifecycle_event_connection_failure_fn=self.states.put, on_lifecycle_event_stopped_fn=lambda data: self.stopped.set())))

    def subscribe(self, topic, qos):
        answer = self.client.subscribe(mqtt5.SubscribePacket([mqtt5.Subscription(topic, qos)])).result(LONG)
        assert answer.reason_codes == [mqtt5.SubackReasonCode(int(qos))]

    def publish(self, topic, payload, qos, **more):
        return self.client.publish(mqtt5.PublishPacket(topic=topic, payload=payload, qos=qos, **more)).result(LONG)

    def end(self):
        self.client.stop()
        assert self.stopped.wait(LONG)


@pytest.mark.parametrize("kind", [Aws5.built, Aws5.by_alpn], ids=["built", "by ALPN"])
def test_the_aws_sdk_with_version_5_over_mutual_tls(broker, certificates, name, kind):
    client = kind(broker, certificates, name)
    topic = f"$aws/things/{name}/shadow/update"
    client.subscribe(topic, mqtt5.QoS.AT_LEAST_ONCE)
    done = client.publish(topic, b"{}", mqtt5.QoS.AT_LEAST_ONCE, user_properties=[mqtt5.UserProperty("a", "1")], content_type="application/json")
    assert done.puback.reason_code == mqtt5.PubackReasonCode.SUCCESS
    got = client.messages.get(timeout=LONG)
    assert (got.payload, got.content_type) == (b"{}", "application/json")
    assert [(p.name, p.value) for p in got.user_properties] == [("a", "1")]
    client.end()


def test_the_aws_sdk_resumes_its_session(broker, certificates, name):
    options = {"connect_options": mqtt5.ConnectPacket(client_id=name, session_expiry_interval_sec=600, keep_alive_interval_sec=30),
               "session_behavior": mqtt5.ClientSessionBehaviorType.REJOIN_ALWAYS}
    client = Aws5.built(broker, certificates, name, **options)
    client.subscribe(name, mqtt5.QoS.AT_LEAST_ONCE)
    client.end()
    with Client(broker.plain) as other:
        other.connect(f"{name}-other")
        other.publish(name, b"while away", 1)
        other.disconnect()
    client = Aws5.built(broker, certificates, name, **options)
    assert client.connack.session_present
    assert client.messages.get(timeout=LONG).payload == b"while away"
    client.end()


def test_the_aws_sdk_with_version_3_over_mutual_tls(broker, certificates, name):
    connection = mqtt_connection_builder.mtls_from_path(**aws_options(broker, certificates, name), clean_session=True, keep_alive_secs=30)
    connection.connect().result(LONG)
    messages = queue.Queue()
    subscribed, _ = connection.subscribe(f"{name}/+", aws_mqtt.QoS.AT_LEAST_ONCE, lambda topic, payload, **more: messages.put((topic, payload)))
    subscribed.result(LONG)
    for qos in (aws_mqtt.QoS.AT_MOST_ONCE, aws_mqtt.QoS.AT_LEAST_ONCE):
        done, _ = connection.publish(f"{name}/x", b"payload", qos)
        done.result(LONG)
        assert messages.get(timeout=LONG) == (f"{name}/x", b"payload")
    connection.disconnect().result(LONG)


# --- certificates ---
def test_a_client_without_a_certificate_of_ours_is_kept_out(broker, certificates, tmp_path, name):
    stranger = Authority(tmp_path / "stranger", "somebody else").issue("device", "clientAuth")
    for certificate in (None, stranger):
        context = ssl.create_default_context(cafile=certificates.ca)
        if certificate:
            context.load_cert_chain(*certificate)
        with pytest.raises((ssl.SSLError, OSError, AssertionError)):
            with context.wrap_socket(socket.create_connection(("127.0.0.1", broker.tls), 10), server_hostname="localhost") as connection:
                connection.sendall(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a")
                assert connection.recv(4), "ended without an answer"
                raise LookupError("it was let in")


def test_an_organisation_with_any_characters_is_let_in(broker, certificates, open_client, name):
    certificate = certificates.authority.issue("amazon", "clientAuth", organisation="Amazon.com Inc., ☃ + co")
    context = ssl.create_default_context(cafile=certificates.ca)
    context.load_cert_chain(*certificate)
    open_client(4, port=broker.tls, context=context).connect(name)


@pytest.mark.parametrize("protocol", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["TLS 1.2", "TLS 1.3"])
def test_a_client_that_offers_an_earlier_tls_session_is_served(broker, context, open_client, name, protocol):
    """Resumed or not: a server that trips over the offer locks such clients out."""
    context.minimum_version = context.maximum_version = protocol
    session = None
    for number in range(3):
        client = open_client(4, port=broker.tls, context=context, session=session)
        client.connect(f"{name}-{number}")
        client.ping()
        session = client.socket.session
        client.disconnect()
