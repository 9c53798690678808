"""Prints what arrives on the topic of its configuration."""
import threading

from awsiot.greengrasscoreipc.clientv2 import GreengrassCoreIPCClientV2

ipc = GreengrassCoreIPCClientV2()
topic = ipc.get_configuration(key_path=["topic"]).value["topic"]


def on_message(event):
    message = event.json_message.message
    print(f"received {message['n']}: {message['greeting']}")


ipc.subscribe_to_topic(topic=topic, on_stream_event=on_message)
print("listening on", topic)
threading.Event().wait()
