"""What the programs share that behave as a vendor's SDK does."""

import argparse
import os
import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.subscribeoptions import SubscribeOptions

PROTOCOLS = {"3.1": mqtt.MQTTv31, "3.1.1": mqtt.MQTTv311, "5": mqtt.MQTTv5}


def arguments(description, product="a1testPK001", device="device1"):
    """The options that every program has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("port", type=int)
    parser.add_argument("--product", default=product)
    parser.add_argument("--device", default=device)
    parser.add_argument("--protocol", choices=PROTOCOLS, default="3.1.1")
    parser.add_argument("--forever", action="store_true", help="serve when the input ends, too")
    return parser


def client(options, client_id, user=None, password=None, clean=True):
    protocol = PROTOCOLS[options.protocol]
    new = mqtt.Client(
        mqtt.CallbackAPIVersion.VERSION2,
        client_id=client_id,
        protocol=protocol,
        clean_session=None if protocol == mqtt.MQTTv5 else clean,
    )
    if user is not None:
        new.username_pw_set(user, password)
    return new


def stop(what):
    """Ends the program from any thread."""
    print(what, file=sys.stderr, flush=True)
    os._exit(1)


def subscribe(client, options, filters, qos, ready):
    """Connects and subscribes, one packet for each filter; calls `ready` then. With MQTT 5 the client
    does not hear itself."""
    open_packets = set()

    def on_connect(client, userdata, flags, reason_code, properties):
        if reason_code.is_failure:
            stop(f"refused: {reason_code}")
        for topic_filter in filters:
            if options.protocol == "5":
                choice = SubscribeOptions(qos=qos, noLocal=True)
                _, packet = client.subscribe(topic_filter, options=choice)
            else:
                _, packet = client.subscribe(topic_filter, qos=qos)
            open_packets.add(packet)
        if not filters:
            ready()

    def on_subscribe(client, userdata, mid, reason_codes, properties):
        if any(code.is_failure for code in reason_codes):
            stop(f"not subscribed: {reason_codes}")
        open_packets.discard(mid)
        if not open_packets:
            ready()

    client.on_connect, client.on_subscribe = on_connect, on_subscribe
    client.connect("127.0.0.1", options.port)
    client.loop_start()


def serve(client, options, filters, qos=0):
    """Prints "ready" when the device is subscribed, and serves until its input ends. It comes back by
    itself when its connection is lost, and prints "ready" again."""
    subscribe(client, options, filters, qos, lambda: print("ready", flush=True))
    if options.forever:
        threading.Event().wait()
    sys.stdin.read()
    client.disconnect()
    client.loop_stop()
