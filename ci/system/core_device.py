"""A Greengrass core device as greengrass-cloud sees one: a certificate, MQTT 3.1.1 and HTTPS with it, and what a nucleus
says there. It has no components: tests decide what it reports."""
import http.client
import json
import re
import socket
import ssl
import struct
import time

POLICY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["iot:*", "greengrass:*"], "Resource": "*"}]}


class CoreDevice:
    """Made with the thing, its certificate and a policy; `with` connects it."""

    def __init__(self, cloud, name, policy=POLICY, groups=()):
        self.cloud, self.name, self.sequence = cloud, name, 0
        iot = cloud.client("iot")
        iot.create_thing(thingName=name)
        made = iot.create_keys_and_certificate(setAsActive=True)
        self.certificate = made["certificateId"]
        self.pem_text = made["certificatePem"]
        self.pem, self.key = cloud.folder / f"{name}.pem", cloud.folder / f"{name}.key"
        self.pem.write_text(made["certificatePem"])
        self.key.write_text(made["keyPair"]["PrivateKey"])
        iot.create_policy(policyName=f"of-{name}", policyDocument=json.dumps(policy))
        iot.attach_policy(policyName=f"of-{name}", target=made["certificateArn"])
        iot.attach_thing_principal(thingName=name, principal=made["certificateArn"])
        for group in groups:
            iot.add_thing_to_thing_group(thingName=name, thingGroupName=group)

    def context(self):
        context = ssl.create_default_context(cafile=str(self.cloud.ca))
        context.load_cert_chain(self.pem, self.key)
        return context

    def address(self, what):
        found = re.search(rf"^ +{what} +([^:\s]+):(\d+) +for devices", self.cloud.output.read_text(), re.M)
        return found[1], int(found[2])

    # --- HTTPS ---
    def ask(self, method, path, body=None):
        """Status and JSON of a request to the data plane."""
        host, port = self.address("HTTPS")
        connection = http.client.HTTPSConnection(host, port, context=self.context(), timeout=20)
        connection.request(method, path, body=json.dumps(body) if body is not None else None)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, json.loads(text) if text else None

    # --- MQTT 3.1.1 ---
    def __enter__(self):
        host, port = self.address("MQTT")
        self.socket = self.context().wrap_socket(socket.create_connection((host, port), 10), server_hostname=host)
        self.socket.settimeout(15)
        self.packet, self.waiting = 0, []
        self.write(0x10, text("MQTT") + b"\x04\x02" + struct.pack(">H", 60) + text(self.name))
        kind, body = self.read()
        assert kind >> 4 == 2 and body[1] == 0, f"refused: {body!r}"
        return self

    def __exit__(self, *_):
        self.socket.close()

    def write(self, kind, body):
        length, left = b"", len(body)
        while True:
            left, digit = divmod(left, 128)
            length += bytes([digit | (0x80 if left else 0)])
            if not left:
                break
        self.socket.sendall(bytes([kind]) + length + body)

    def exactly(self, count):
        got = b""
        while len(got) < count:
            piece = self.socket.recv(count - len(got))
            assert piece, "the connection was closed"
            got += piece
        return got

    def read(self):
        kind, length, shift = self.exactly(1)[0], 0, 0
        while True:
            digit = self.exactly(1)[0]
            length |= (digit & 0x7F) << shift
            shift += 7
            if digit < 0x80:
                return kind, self.exactly(length)

    def next_id(self):
        self.packet += 1
        return struct.pack(">H", self.packet)

    def until(self, wanted, what, seconds=15):
        """Reads until `wanted` has a value; messages that come meanwhile wait."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            kind, body = self.read()
            if kind >> 4 == 3:
                end = 2 + struct.unpack(">H", body[:2])[0]
                topic, rest = body[2:end].decode(), body[end:]
                if kind & 6:
                    self.write(0x40, rest[:2])
                    rest = rest[2:]
                self.waiting.append((topic, json.loads(rest)))
            value = wanted(kind, body)
            if value is not None:
                return value
        raise AssertionError(f"no {what} within {seconds} s")

    def subscribe(self, *filters):
        number = self.next_id()
        self.write(0x82, number + b"".join(text(one) + b"\x01" for one in filters))
        codes = self.until(lambda kind, body: body[2:] if kind >> 4 == 9 and body[:2] == number else None, "SUBACK")
        assert all(code <= 2 for code in codes), f"{filters}: {codes!r}"

    def publish(self, topic, payload):
        number = self.next_id()
        self.write(0x32, text(topic) + number + json.dumps(payload).encode())
        self.until(lambda kind, body: True if kind >> 4 == 4 and body[:2] == number else None, "PUBACK")

    def expect(self, topic):
        """The next message on a topic; earlier ones on others are dropped."""
        def found(*_):
            while self.waiting:
                got, payload = self.waiting.pop(0)
                if got == topic:
                    return payload
            return None
        waiting = found()
        return waiting if waiting is not None else self.until(found, f"message on {topic}")

    # --- what a nucleus does ---
    def topic(self, rest):
        return f"$aws/things/{self.name}/{rest}"

    def jobs(self, rest):
        return self.topic(f"jobs/{rest}")

    def next_job(self):
        """The execution that is next in the namespace of deployments."""
        self.subscribe(self.jobs("$next/namespace-aws-gg-deployment/get/accepted"))
        self.publish(self.jobs("$next/namespace-aws-gg-deployment/get"), {"clientToken": "t"})
        return self.expect(self.jobs("$next/namespace-aws-gg-deployment/get/accepted")).get("execution")

    def job_is(self, job, status, **details):
        base = self.jobs(f"{job}/namespace-aws-gg-deployment/update")
        self.subscribe(f"{base}/accepted", f"{base}/rejected")
        self.publish(base, {"status": status, "statusDetails": details, "clientToken": "u"})
        return self.expect(f"{base}/accepted")

    def report(self, components, message="COMPLETE", trigger="NUCLEUS_LAUNCH", status="HEALTHY", deployment=None, chunk=None, sequence=None, **more):
        """A fleet status message. `components` are names with (version, state) or more members."""
        self.sequence = self.sequence + 1 if sequence is None else sequence
        listed = [{"componentName": name, "isRoot": True, "fleetConfigArns": [], **about} for name, about in components.items()]
        body = {
            "ggcVersion": "2.12.0", "platform": "linux", "architecture": "amd64", "runtime": "aws_nucleus_lite", "thing": self.name,
            "overallDeviceStatus": status, "sequenceNumber": self.sequence, "timestamp": int(time.time() * 1000), "messageType": message,
            "trigger": trigger, "components": listed, **more}
        if deployment:
            body["deploymentInformation"] = deployment
        if chunk:
            body["chunkInfo"] = {"chunkId": chunk[0], "totalChunks": chunk[1]}
        self.publish(self.topic("greengrassv2/health/json"), body)


def text(word):
    """As MQTT writes text."""
    return struct.pack(">H", len(word)) + word.encode()
