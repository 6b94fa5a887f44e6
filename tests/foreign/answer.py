"""Answers with paho-mqtt: answer.py PORT FILTER prints "ready" and serves until its input ends.

The answer is the request's payload in capitals; a request that is empty gets no answer.
"""

import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

port, topic_filter = int(sys.argv[1]), sys.argv[2]


def on_connect(client, userdata, flags, reason_code, properties):
    if reason_code != 0:
        sys.exit(f"refused: {reason_code}")
    client.subscribe(topic_filter, qos=1)


def on_subscribe(client, userdata, mid, reason_codes, properties):
    if any(code.is_failure for code in reason_codes):
        sys.exit(f"not subscribed: {reason_codes}")
    print("ready", flush=True)


def on_message(client, userdata, message):
    if not message.payload:
        return
    answer = Properties(PacketTypes.PUBLISH)
    answer.CorrelationData = message.properties.CorrelationData
    client.publish(
        message.properties.ResponseTopic, message.payload.upper(), qos=1, properties=answer
    )


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
client.on_connect, client.on_subscribe, client.on_message = on_connect, on_subscribe, on_message
client.connect("127.0.0.1", port)
client.loop_start()
sys.stdin.read()
client.disconnect()
client.loop_stop()
