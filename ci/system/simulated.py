"""Devices that only say what devices say: a thing, its certificate, a connection, reports."""
import json
import socket
import ssl
import struct
import time


def text(value):
    raw = value.encode()
    return struct.pack("!H", len(raw)) + raw


class Connection:
    """An MQTT 3.1.1 connection with mutual TLS that says CONNECT and stays."""

    def __init__(self, cloud, folder, client_id):
        iot = cloud.client("iot")
        made = iot.create_keys_and_certificate(setAsActive=True)
        document = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]}
        name = f"all-{client_id}"
        iot.create_policy(policyName=name, policyDocument=json.dumps(document))
        iot.attach_policy(policyName=name, target=made["certificateArn"])
        iot.attach_thing_principal(thingName=client_id, principal=made["certificateArn"])
        pair = folder / f"{client_id}.pem"
        pair.write_text(made["certificatePem"] + made["keyPair"]["PrivateKey"])
        context = ssl.create_default_context(cafile=str(cloud.ca))
        context.load_cert_chain(pair)
        port = next(line for line in cloud.output.read_text().splitlines() if "MQTT" in line).split(":")[1].split()[0]
        self.stream = context.wrap_socket(socket.create_connection(("127.0.0.1", int(port)), timeout=10), server_hostname="localhost")
        body = text("MQTT") + bytes([4, 2]) + struct.pack("!H", 600) + text(client_id)
        self.stream.sendall(bytes([0x10, len(body)]) + body)
        assert self.stream.recv(4)[:2] == b"\x20\x02"

    def cut(self):
        """Ends without a word."""
        self.stream.close()


def report(cloud, thing, components=(), healthy=True, trigger="NUCLEUS_LAUNCH", sequence=1, **more):
    """What a core tells of its state."""
    document = {
        "ggcVersion": "2.15.0", "platform": "linux", "architecture": "aarch64", "runtime": "aws_nucleus_lite", "thing": thing,
        "overallDeviceStatus": "HEALTHY" if healthy else "UNHEALTHY", "sequenceNumber": sequence, "timestamp": int(time.time() * 1000),
        "messageType": "COMPLETE", "trigger": trigger, "chunkInfo": {"chunkId": 1, "totalChunks": 1}, "components": list(components), **more}
    cloud.client("iot-data").publish(topic=f"$aws/things/{thing}/greengrassv2/health/json", qos=1, payload=json.dumps(document))


def component(name, version, state="RUNNING", reason="", codes=()):
    return {"componentName": name, "version": version, "fleetConfigArns": [], "isRoot": True, "status": state,
            "componentStatusDetails": {"statusCodes": list(codes), "statusReason": reason}}
