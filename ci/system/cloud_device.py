"""Devices of greengrass-cloud: certificates made by the AWS CLI, connections by the official SDK and by mosquitto."""
import http.client
import itertools
import json
import queue
import re
import shutil
import ssl
import subprocess
import threading
import time

import pytest
from awscrt import io, mqtt, mqtt5, mqtt_request_response
from awsiot import iotidentity, iotjobs, iotshadow, mqtt5_client_builder, mqtt_connection_builder
from botocore.config import Config
from botocore.exceptions import ClientError
from device import until

ANY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]}
NAMES = itertools.count(1)


def address(cloud, what):
    """Host and port of `MQTT` or `HTTPS` for devices, as the program prints them."""
    found = re.search(rf"^ +{what} +([^:\s]+):(\d+) +for devices", cloud.output.read_text(), re.M)
    return found[1], int(found[2])


def allow(*statements):
    """A policy of statements, each `(actions, resources)` or `(effect, actions, resources)`."""
    made = [("Allow", *one) if len(one) == 2 else one for one in statements]
    return {"Version": "2012-10-17", "Statement": [{"Effect": e, "Action": a, "Resource": r} for e, a, r in made]}


def refuses(call, code, unmodelled=False, **arguments):
    """A call that must be refused, with an error that the service's model has for this operation, at its status; its text.
    `unmodelled` is for what AWS answers although its model does not say so."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    assert answer["Error"]["Code"] == code, answer
    assert answer["Error"]["Message"], answer
    if unmodelled:
        return answer["Error"]["Message"]
    client, operation = call.__self__, call.__name__
    model = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[operation])
    shapes = {shape.name: shape for shape in model.error_shapes}
    assert code in shapes, f"{operation} has no {code}, only {sorted(shapes)}"
    status = shapes[code].metadata.get("error", {}).get("httpStatusCode")
    assert status in (None, answer["ResponseMetadata"]["HTTPStatusCode"]), (code, status, answer)
    return answer["Error"]["Message"]


class Certificate:
    """A certificate and its key, in files."""

    def __init__(self, cloud, identifier, pem, key):
        self.cloud, self.id = cloud, identifier
        self.arn = f"arn:aws:iot:us-east-1:{cloud.known_account}:cert/{identifier}"
        base = cloud.folder / f"device-{next(NAMES)}"
        self.pem, self.key = base.with_suffix(".pem"), base.with_suffix(".key")
        self.pem.write_text(pem)
        self.key.write_text(key)

    @classmethod
    def make(cls, cloud, active=True):
        made = cloud.iot.create_keys_and_certificate(setAsActive=active)
        return cls(cloud, made["certificateId"], made["certificatePem"], made["keyPair"]["PrivateKey"])

    def allow(self, document):
        """A policy of its own, attached."""
        name = f"policy-{next(NAMES)}"
        self.cloud.iot.create_policy(policyName=name, policyDocument=json.dumps(document))
        self.cloud.iot.attach_policy(policyName=name, target=self.arn)
        return name


class Connection:
    """What both versions of MQTT have in common for a test. Received messages wait in `messages`."""

    def __init__(self):
        self.messages = queue.Queue()
        self.ended = threading.Event()
        self.reason = None

    def expect(self, topic, seconds=10):
        """The next message on a topic (others are dropped), as JSON where it is."""
        deadline = time.monotonic() + seconds
        while True:
            left = deadline - time.monotonic()
            try:
                got, payload = self.messages.get(timeout=max(left, 0.001))
            except queue.Empty:
                raise AssertionError(f"nothing on {topic} within {seconds} s") from None
            if got == topic:
                try:
                    return json.loads(payload)
                except ValueError:
                    return payload

    def silence(self, control):
        """That nothing waits: `control` sends something that must be the very next message."""
        topic = control()
        got, _ = self.messages.get(timeout=10)
        assert got == topic, f"{got} came first"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Five(Connection):
    """MQTT 5 by awsiotsdk."""

    def __init__(self, certificate, client_id, where="MQTT", alpn=None, rejoin=False, **more):
        super().__init__()
        host, port = address(certificate.cloud, where)
        self.connected, self.failed, self.packets = threading.Event(), threading.Event(), []
        behavior = mqtt5.ClientSessionBehaviorType.REJOIN_ALWAYS if rejoin else mqtt5.ClientSessionBehaviorType.CLEAN

        def received(data):
            self.packets.append(data.publish_packet)
            self.messages.put((data.publish_packet.topic, data.publish_packet.payload))

        def failure(data):
            self.reason = data.connack_packet.reason_code if data.connack_packet else str(data.exception)
            self.failed.set()

        def disconnection(data):
            self.reason = data.disconnect_packet.reason_code if data.disconnect_packet else None
            self.ended.set()
        options = {
            "on_publish_received": received, "session_behavior": behavior,
            "on_lifecycle_connection_success": lambda _: self.connected.set(),
            "on_lifecycle_connection_failure": failure, "on_lifecycle_disconnection": disconnection}
        connect = mqtt5.ConnectPacket(client_id=client_id, keep_alive_interval_sec=30, **more)
        if alpn:
            context = io.TlsContextOptions.create_client_with_mtls_from_path(str(certificate.pem), str(certificate.key))
            context.override_default_trust_store_from_path(None, str(certificate.cloud.ca))
            context.alpn_list = [alpn]
            self.client = mqtt5.Client(mqtt5.ClientOptions(
                host_name=host, port=port, tls_ctx=io.ClientTlsContext(context), connect_options=connect,
                min_reconnect_delay_ms=60_000, max_reconnect_delay_ms=60_000, session_behavior=behavior,
                on_publish_callback_fn=options["on_publish_received"],
                on_lifecycle_event_connection_success_fn=options["on_lifecycle_connection_success"],
                on_lifecycle_event_connection_failure_fn=failure, on_lifecycle_event_disconnection_fn=disconnection))
        else:
            self.client = mqtt5_client_builder.mtls_from_path(
                cert_filepath=str(certificate.pem), pri_key_filepath=str(certificate.key), endpoint=host, port=port,
                ca_filepath=str(certificate.cloud.ca), client_id=client_id, connect_options=connect,
                min_reconnect_delay_ms=60_000, max_reconnect_delay_ms=60_000, **options)
        self.client.start()
        until(lambda: self.connected.is_set() or self.failed.is_set(), f"{client_id} is connected or refused")

    def refused(self):
        return self.failed.is_set() and not self.connected.is_set()

    def subscribe(self, *filters):
        packet = mqtt5.SubscribePacket([mqtt5.Subscription(f, mqtt5.QoS.AT_LEAST_ONCE) for f in filters])
        return [int(code) for code in self.client.subscribe(packet).result(10).reason_codes]

    def publish(self, topic, payload="", qos=1, retain=False, **more):
        body = payload if isinstance(payload, (bytes, str)) else json.dumps(payload)
        done = self.client.publish(mqtt5.PublishPacket(topic=topic, payload=body, qos=mqtt5.QoS(qos), retain=retain, **more)).result(10)
        return int(done.puback.reason_code) if done.puback else None

    def close(self):
        self.client.stop(mqtt5.DisconnectPacket())


class Three(Connection):
    """MQTT 3.1.1 by awsiotsdk."""

    def __init__(self, certificate, client_id, where="MQTT", clean=True, **more):
        super().__init__()
        host, port = address(certificate.cloud, where)
        self.client = mqtt_connection_builder.mtls_from_path(
            cert_filepath=str(certificate.pem), pri_key_filepath=str(certificate.key), endpoint=host, port=port,
            ca_filepath=str(certificate.cloud.ca), client_id=client_id, clean_session=clean, keep_alive_secs=30,
            reconnect_min_timeout_secs=60, reconnect_max_timeout_secs=60,
            on_connection_interrupted=lambda *_, **__: self.ended.set(), **more)
        self.client.on_message(lambda topic, payload, **_: self.messages.put((topic, payload)))
        try:
            self.client.connect().result(15)
        except Exception as error:
            self.reason = str(error)

    def refused(self):
        return self.reason is not None

    def subscribe(self, *filters):
        codes = []
        for one in filters:
            try:
                codes.append(int(self.client.subscribe(one, mqtt.QoS.AT_LEAST_ONCE)[0].result(10)["qos"]))
            except Exception:
                codes.append(0x80)
        return codes

    def publish(self, topic, payload="", qos=1, retain=False):
        body = payload if isinstance(payload, (bytes, str)) else json.dumps(payload)
        self.client.publish(topic, body, mqtt.QoS(qos), retain)[0].result(10)

    def close(self):
        self.client.disconnect()


VERSIONS = {"3.1.1": Three, "5": Five}


def services(connection):
    """The SDK's clients of shadow, jobs and identity over one connection."""
    options = mqtt_request_response.ClientOptions(max_request_response_subscriptions=16, max_streaming_subscriptions=8, operation_timeout_in_seconds=20)
    return tuple(kind(connection.client, options) for kind in (
        iotshadow.IotShadowClientV2, iotjobs.IotJobsClientV2, iotidentity.IotIdentityClientV2))


def stream(make, request):
    """A stream of events of an SDK's client, opened; the events in a queue."""
    events, active = queue.Queue(), threading.Event()

    def status(event):
        if event.type == mqtt_request_response.SubscriptionStatusEventType.SUBSCRIPTION_ESTABLISHED:
            active.set()
    opened = make(request, mqtt_request_response_options(events, status))
    opened.open()
    assert active.wait(10), "the stream is not subscribed"
    return opened, events


def mqtt_request_response_options(events, status):
    from awsiot import ServiceStreamOptions
    return ServiceStreamOptions(incoming_event_listener=events.put, subscription_status_listener=status, deserialization_failure_listener=events.put)


def sdk_error(future):
    """The refusal that a request of an SDK's client got."""
    from awsiot import V2ServiceException
    with pytest.raises(V2ServiceException) as caught:
        future.result(20)
    return caught.value.modeled_error


def https(certificate, method, path, body=None, headers=None, where="HTTPS", alpn=None):
    """A request with a client certificate: status, JSON, headers."""
    host, port = address(certificate.cloud, where)
    context = ssl.create_default_context(cafile=str(certificate.cloud.ca))
    context.load_cert_chain(certificate.pem, certificate.key)
    if alpn:
        context.set_alpn_protocols([alpn])
    connection = http.client.HTTPSConnection(host, port, context=context, timeout=20)
    connection.request(method, path, body=body, headers=headers or {})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, json.loads(text) if text else None, answer.headers


def mosquitto(program, certificate, *arguments, timeout=20, where="MQTT"):
    """`mosquitto_pub` or `mosquitto_sub` with a certificate."""
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed (Debian: mosquitto-clients)")
    host, port = address(certificate.cloud, where)
    words = [program, "-h", host, "-p", str(port), "--cafile", certificate.cloud.ca, "--cert", certificate.pem,
             "--key", certificate.key, *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=timeout)


class Fleet:
    """A control plane that the tests of one file share: each makes things of names of its own."""

    def __init__(self, cloud):
        self.cloud = cloud
        self.reopen()

    def reopen(self):
        """After a restart: ports are others."""
        self.cloud.known_account = self.cloud.client("sts").get_caller_identity()["Account"]
        for name, service in (("iot", "iot"), ("iot_data", "iot-data"), ("jobs_data", "iot-jobs-data")):
            setattr(self.cloud, name, self.cloud.client(service))
        self.cloud.unchecked = self.cloud.client("iot", config=Config(parameter_validation=False))

    def __getattr__(self, name):
        return getattr(self.cloud, name)

    @staticmethod
    def name(what="thing"):
        return f"{what}-{next(NAMES)}"

    def arn(self, resource):
        return f"arn:aws:iot:us-east-1:{self.cloud.known_account}:{resource}"

    def thing(self, policy=ANY, **more):
        """A thing with an active certificate and a policy: its name and the certificate."""
        name = self.name()
        self.iot.create_thing(thingName=name, **more)
        certificate = Certificate.make(self.cloud)
        self.iot.attach_thing_principal(thingName=name, principal=certificate.arn)
        if policy:
            certificate.allow(policy)
        return name, certificate

    def group(self, *things, **more):
        name = self.name("group")
        self.iot.create_thing_group(thingGroupName=name, **more)
        for thing in things:
            self.iot.add_thing_to_thing_group(thingGroupName=name, thingName=thing)
        return name

    def job(self, *targets, document=None, **more):
        name = self.name("job")
        self.iot.create_job(jobId=name, targets=list(targets), document=json.dumps(document or {"do": "it"}), **more)
        return name


def all_pages(call, member, token="nextToken", **arguments):
    """All items of a list, page by page, and how many pages there were."""
    items, pages = [], 0
    names = {"nextToken": "nextToken", "nextMarker": "marker"}
    while True:
        answer = call(**arguments)
        items += answer[member]
        pages += 1
        if not answer.get(token):
            return items, pages
        arguments[names[token]] = answer[token]
        assert pages < 100
