"""What rules do not allow is refused, in the words of each version; and what changes while clients are connected."""
import signal
import socket
import ssl
import time

import pytest
from brokers import Authority
from frames import PUBLISH, Client, Closed, publish

RULES = [{"everyone": True, "publish": ["open/#", "mine/%c/#"], "subscribe": ["open/#", "mine/%c/#"]}]


@pytest.fixture
def strict(make):
    return make(rules=RULES)


def connected(broker, client_id, version, **options):
    client = Client(broker.plain, version)
    client.connect(client_id, **options)
    return client


def test_a_subscription_that_is_not_allowed_is_refused_and_the_others_of_the_packet_are_not(strict, version):
    client = connected(strict, "a", version)
    refusal = 0x87 if version == 5 else 0x80
    assert client.subscribe(("open/+", 1), ("#", 1), ("mine/b/#", 1), ("mine/a/#", 2), ("mine/+/x", 0)) == [1, refusal, refusal, 2, refusal]
    client.publish("open/x", b"x", 1)
    client.publish("mine/a/x", b"y", 1)
    assert [m.topic for m in client.take_all(2)] == ["open/x", "mine/a/x"]


def test_a_message_to_a_topic_that_is_not_allowed_reaches_nobody(strict, version):
    watcher, client = connected(strict, "b", version), connected(strict, "a", version)
    watcher.subscribe(("mine/b/#", 1))
    for qos in (0, 1, 2):
        try:
            client.send(publish("mine/b/x", b"x", qos, id=qos + 1, version=version))
            if qos:
                answer = client.receive(4, 5)
                assert version == 5 and answer.code == 0x87
            else:
                client.ping()
        except Closed:
            assert client.ended() in (0x87, None)
            client = connected(strict, "a", version)
    watcher.quiet()


def test_a_will_that_is_not_allowed_is_never_sent(strict, version):
    watcher = connected(strict, "b", version)
    watcher.subscribe(("mine/b/#", 1))
    client = Client(strict.plain, version)
    try:
        client.connect("a", will=("mine/b/x", b"w", 0, False))
    except AssertionError:
        pass  # refusing the connection is the other way to keep it from being sent
    client.drop()
    watcher.quiet()


def test_rules_that_change_reach_clients_that_are_connected(strict, version):
    client = connected(strict, "a", version)
    client.subscribe(("open/#", 1), ("mine/a/#", 1))
    strict.configuration["rules"] = [{"everyone": True, "publish": ["open/#", "mine/%c/#"], "subscribe": ["mine/%c/#"]}]
    strict.command()
    strict.process.send_signal(signal.SIGHUP)
    sender, deadline = connected(strict, "s", version), time.monotonic() + 10
    while True:
        sender.publish("open/x", b"x", 1)
        try:
            client.answer(client.receive(PUBLISH, seconds=0.3))
        except AssertionError:
            break
        assert time.monotonic() < deadline
    client.publish("mine/a/x", b"still", 1)
    assert client.take().payload == b"still"
    assert client.subscribe("open/y", qos=1) == [0x87 if version == 5 else 0x80]


def test_certificates_are_changed_under_way_and_sessions_live_on(make, certificates, tmp_path, tls):
    """The old authority's clients stay; a new server certificate and a second authority serve those that come."""
    second = Authority(tmp_path / "second", "second")
    device = second.issue("device-2", "clientAuth")
    broker = make()
    old = Client(broker.tls, 4, tls)
    old.connect("old")
    newer = ssl.create_default_context(cafile=second.certificate)
    newer.load_cert_chain(*device)
    with pytest.raises(ssl.SSLError):
        Client(broker.tls, 4, newer)
    server = second.issue("server-2", "serverAuth", "DNS:localhost", "IP:127.0.0.1")
    broker.configuration["tls"] = {"certificate": str(server[0]), "key": str(server[1]),
                                   "authorities": [str(certificates.ca), str(second.certificate)]}
    broker.command()
    broker.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 10
    while True:
        try:
            new = Client(broker.tls, 5, newer)
            break
        except ssl.SSLError:
            assert time.monotonic() < deadline
    new.connect("new")
    new.subscribe("x")
    old.publish("x", b"from the old one")
    assert new.take().payload == b"from the old one"
    # And a client of the first authority that trusts the new server comes in, too.
    both = ssl.create_default_context(cafile=second.certificate)
    both.load_cert_chain(certificates.client, certificates.client_key)
    Client(broker.tls, 4, both).connect("both")


def test_anonymous_clients_are_kept_out_when_the_file_says_so(make, tls, version):
    broker = make(anonymous="never")
    client = Client(broker.plain, version)
    client.connect("a", code=0x87 if version == 5 else 5)
    client.ended()
    with Client(broker.tls, version, tls) as proven:
        proven.connect("a")


def test_another_protocol_by_alpn_is_not_taken_for_mqtt(make, certificates):
    broker = make()
    context = ssl.create_default_context(cafile=certificates.ca)
    context.load_cert_chain(certificates.client, certificates.client_key)
    context.set_alpn_protocols(["h2"])
    with pytest.raises((ssl.SSLError, OSError, AssertionError)):
        with context.wrap_socket(socket.create_connection(("127.0.0.1", broker.tls), 10), server_hostname="localhost") as connection:
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            connection.settimeout(15)
            assert connection.recv(1), "ended"
            raise LookupError("it was answered")
