"""Asks with paho-mqtt: ask.py PORT TOPIC PAYLOAD... prints one line for each answer.

All requests are sent at once; each line holds the request's payload, the status and the answer.
"""

import argparse
import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("port", type=int)
parser.add_argument("topic")
parser.add_argument("payloads", nargs="+")
parser.add_argument("--ca", metavar="FILE", help="over TLS, with this authority")
parser.add_argument("--cert", metavar="FILE", help="with this certificate of the client's")
parser.add_argument("--key", metavar="FILE", help="and its key")
parser.add_argument("--websocket", action="store_true", help="over WebSocket")
options = parser.parse_args()
port, topic, payloads = options.port, options.topic, options.payloads
answers = {}
done = threading.Event()


def on_connect(client, userdata, flags, reason_code, properties):
    if reason_code != 0:
        sys.exit(f"refused: {reason_code}")
    # The server's own word for where answers go, when it has one.
    client.response_topic = getattr(properties, "ResponseInformation", "answers/paho")
    client.subscribe(client.response_topic, qos=1)


def on_subscribe(client, userdata, mid, reason_codes, properties):
    if any(code.is_failure for code in reason_codes):
        sys.exit(f"not subscribed: {reason_codes}")
    for number, payload in enumerate(payloads):
        request = Properties(PacketTypes.PUBLISH)
        request.ResponseTopic = client.response_topic
        request.CorrelationData = str(number).encode()
        request.MessageExpiryInterval = 10
        client.publish(topic, payload, qos=1, properties=request)


def on_message(client, userdata, message):
    user = dict(getattr(message.properties, "UserProperty", []))
    answers[int(message.properties.CorrelationData)] = (user.get("status", "200"), message.payload)
    if len(answers) == len(payloads):
        done.set()


client = mqtt.Client(
    mqtt.CallbackAPIVersion.VERSION2,
    protocol=mqtt.MQTTv5,
    transport="websockets" if options.websocket else "tcp",
)
if options.ca:
    client.tls_set(options.ca, options.cert, options.key)
client.on_connect, client.on_subscribe, client.on_message = on_connect, on_subscribe, on_message
connect = Properties(PacketTypes.CONNECT)
connect.RequestResponseInformation = 1
client.connect("127.0.0.1", port, properties=connect)
client.loop_start()
if not done.wait(20):
    sys.exit("no answer")
client.disconnect()
client.loop_stop()
for number, payload in enumerate(payloads):
    status, answer = answers[number]
    print(payload, status, answer.decode())
