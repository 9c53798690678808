"""Publishes a greeting every few moments and follows changes of its configuration."""
import threading

from awsiot.greengrasscoreipc.clientv2 import GreengrassCoreIPCClientV2
from awsiot.greengrasscoreipc.model import JsonMessage, PublishMessage

ipc = GreengrassCoreIPCClientV2()
configuration = ipc.get_configuration(key_path=[]).value
changed = threading.Event()


def on_change(event):
    print("configuration changed:", "/".join(event.configuration_update_event.key_path))
    changed.set()


ipc.subscribe_to_configuration_update(key_path=[], on_stream_event=on_change)

count = 0
while True:
    if changed.is_set():
        changed.clear()
        configuration = ipc.get_configuration(key_path=[]).value
        print("greeting is now:", configuration["greeting"])
    count += 1
    message = PublishMessage(json_message=JsonMessage(message={"n": count, "greeting": configuration["greeting"]}))
    ipc.publish_to_topic(topic=configuration["topic"], publish_message=message)
    changed.wait(float(configuration["intervalSeconds"]))
