"""Local publish and subscribe through the official SDKs, allowed and denied."""
import base64

import pytest
from conftest import node_probe, python_probe
from device import Probe, Refused, allow


def binary(text):
    return {"binaryMessage": {"message": base64.b64encode(text.encode()).decode()}}


@pytest.fixture(params=[python_probe, node_probe], ids=["python", "node"])
def pair(request, device):
    """Two probes that may do everything on pub/sub, on one SDK."""
    names = ["com.test.A", "com.test.B"]
    device.deploy(*[request.param(device, n, access=allow(n)) for n in names])
    return [Probe(device, n) for n in names]


def test_json_and_binary_messages_arrive_whole(pair):
    a, b = pair
    stream = b.stream("subscribe_to_topic", topic="t/one")
    document = {"n": 1, "big": 9007199254740993, "f": 1.5, "nested": {"list": [1, None, "ü"]}}
    a.call("publish_to_topic", topic="t/one", publishMessage={"jsonMessage": {"message": document}})
    a.call("publish_to_topic", topic="t/one", publishMessage=binary("raw"))
    first, second = stream.take(2)
    assert first["jsonMessage"]["context"]["topic"] == "t/one"
    received = first["jsonMessage"]["message"]
    assert received["nested"] == document["nested"] and received["f"] == 1.5
    assert second["binaryMessage"]["message"] == binary("raw")["binaryMessage"]["message"]


def test_a_wildcard_subscription_hears_others_only_and_an_exact_one_hears_all(pair):
    a, _ = pair
    exact = a.stream("subscribe_to_topic", topic="own/topic")
    wild = a.stream("subscribe_to_topic", topic="own/+")
    everything = a.stream("subscribe_to_topic", topic="own/#", receiveMode="RECEIVE_ALL_MESSAGES")
    others = a.stream("subscribe_to_topic", topic="own/topic", receiveMode="RECEIVE_MESSAGES_FROM_OTHERS")
    a.call("publish_to_topic", topic="own/topic", publishMessage=binary("mine"))
    exact.take()
    everything.take()
    wild.quiet(0.2)
    others.quiet(0.1)


def test_order_is_kept_and_a_closed_stream_hears_no_more(pair):
    a, b = pair
    stream = b.stream("subscribe_to_topic", topic="order")
    for n in range(50):
        a.call("publish_to_topic", topic="order", publishMessage={"jsonMessage": {"message": {"n": n}}})
    assert [e["jsonMessage"]["message"]["n"] for e in stream.take(50)] == list(range(50))
    b.close(stream)
    a.call("publish_to_topic", topic="order", publishMessage=binary("after"))
    stream.quiet(0.2)


def test_publishing_to_a_wildcard_is_refused(pair):
    a, _ = pair
    for topic in ["a/+", "a/#", ""]:
        with pytest.raises(Refused):
            a.call("publish_to_topic", topic=topic, publishMessage=binary("x"))


# Resource patterns against topics, with the escapes and literal wildcards of Greengrass's policies.
PATTERNS = [
    ("sensors/*", "sensors/a/b", True),
    ("sensors/*", "sensor/a", False),
    ("*", "any/thing", True),
    ("a/*/c", "a/b/b/c", True),
    ("a/*/c", "a/b/d", False),
    ("exact", "exact", True),
    ("exact", "exact/more", False),
    ("star${*}end", "star*end", False),  # a publish topic may not hold '*', whatever the policy says
    ("q${?}x", "q?x", True),
    ("d${$}x", "d$x", True),
]


@pytest.mark.parametrize("make", [python_probe, node_probe], ids=["python", "node"])
def test_what_no_policy_allows_is_denied(device, make):
    resources = [p for p, _, _ in PATTERNS if p != "*"]
    access = allow("com.test.Some", operations=["aws.greengrass#PublishToTopic"], resources=resources)
    device.deploy(make(device, "com.test.None"), make(device, "com.test.Some", access=access))
    none, some = Probe(device, "com.test.None"), Probe(device, "com.test.Some")
    for call, arguments in [("publish_to_topic", {"topic": "t", "publishMessage": binary("x")})]:
        with pytest.raises(Refused) as refusal:
            none.call(call, **arguments)
        assert refusal.value.kind == "UnauthorizedError"
        assert "com.test.None" in refusal.value.message
    with pytest.raises(Refused) as refusal:
        none.stream("subscribe_to_topic", topic="t")
    assert refusal.value.kind == "UnauthorizedError"
    with pytest.raises(Refused) as refusal:  # publish is allowed, subscribe is not
        some.stream("subscribe_to_topic", topic="sensors/x")
    assert refusal.value.kind == "UnauthorizedError"
    for pattern, topic, allowed in PATTERNS:
        if pattern == "*":
            continue
        if allowed:
            some.call("publish_to_topic", topic=topic, publishMessage=binary("x"))
        else:
            with pytest.raises(Refused):
                some.call("publish_to_topic", topic=topic, publishMessage=binary("x"))


def test_a_policy_changed_by_a_deployment_holds_at_once_and_goes_with_its_component(device):
    name = "com.test.Policy"
    device.deploy(python_probe(device, name, access=allow(name, resources=["old"])))
    probe = Probe(device, name)
    probe.call("publish_to_topic", topic="old", publishMessage=binary("x"))
    policy = {"accessControl": allow(name, resources=["new"])}
    device.deploy(update={name: {"MERGE": policy}})
    probe.call("publish_to_topic", topic="new", publishMessage=binary("x"))
    with pytest.raises(Refused) as refusal:
        probe.call("publish_to_topic", topic="old", publishMessage=binary("x"))
    assert refusal.value.kind == "UnauthorizedError"
