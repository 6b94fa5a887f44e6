"""A device with tencent-iot-device: tencent.py PORT PRODUCT DEVICE SECRET prints "ready" and serves.

It speaks MQTT 3.1, as the SDK does when it is left alone. {"quiet": true} is not answered, and
{"break": true} makes it fail.
"""

import json
import os
import sys
import tempfile

from hub.hub import QcloudHub

port, product, device, secret = sys.argv[1:]
description = {
    "auth_mode": "KEY",
    "productId": product,
    "productSecret": "",
    "deviceName": device,
    "key_deviceinfo": {"deviceSecret": secret},
    "cert_deviceinfo": {"devCaFile": "", "devCertFile": "", "devPrivateKeyFile": ""},
    "region": "china",
}


def on_connect(session, code, user):
    hub.rrpcInit(product, device, on_request)


def on_subscribe(qos, packet, user):
    print("ready", flush=True)


def on_request(topic, qos, asked, user):
    if not asked.get("quiet"):
        reply = {"error": "broken"} if asked.get("break") else {"heard": asked}
        hub.rrpcReply(product, device, reply, len(reply))


def ignore(*_):
    pass


with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
    json.dump(description, file)
    file.flush()
    hub = QcloudHub(file.name, tls=False).hub
# The SDK has no option for these: its host is always below the vendor's domain, its port is 1883.
connection = hub._QcloudHubProvider__protocol
connection._AsyncConnClient__host = "127.0.0.1"
connection._AsyncConnClient__mqtt_tcp_port = int(port)
hub.registerMqttCallback(on_connect, ignore, ignore, ignore, on_subscribe, ignore)
hub.connect()
sys.stdin.read()
hub.disconnect()
os._exit(0)
