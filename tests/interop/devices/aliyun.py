"""A device with aliyun-iot-linkkit: aliyun.py PORT PRODUCT DEVICE SECRET prints "ready" and serves.

It says ext=1, and answers RRPC over system topics, over its topic user/get, and its service "echo"
for which it does not subscribe. {"quiet": true} is not answered, and {"break": true} makes it fail.
"""

import json
import sys
import tempfile

from linkkit.linkkit import LinkKit

port, product, device, secret = sys.argv[1:]
request = f"/sys/{product}/{device}/rrpc/request/"
custom = f"/{product}/{device}/user/get"


def heard(asked):
    if asked.get("break"):
        return {"error": "broken"}
    return None if asked.get("quiet") else {"heard": asked}


def on_connect(session, code, user):
    # The SDK tells of the second one only.
    kit.subscribe_rrpc_topic(custom)
    kit.subscribe_topic(f"{request}+", 1)


def on_subscribe_topic(packet, granted, user):
    print("ready", flush=True)


def on_topic_message(topic, payload, qos, user):
    # The SDK tells of custom RRPC here as well.
    if topic.startswith(request) and (reply := heard(json.loads(payload))):
        kit.publish_topic(topic.replace("/request/", "/response/"), json.dumps(reply), 0)


def on_topic_rrpc_message(message_id, topic, payload, qos, user):
    if reply := heard(json.loads(payload)):
        kit.thing_answer_rrpc(message_id, json.dumps(reply))


def on_thing_call_service(service, request_id, params, user):
    if reply := heard(params):
        code = 500 if "error" in reply else 200
        kit.thing_answer_service(service, request_id, code, reply)


kit = LinkKit("cn-shanghai", product, device, secret)
kit.config_mqtt(port=int(port), secure="", endpoint="127.0.0.1")
with tempfile.NamedTemporaryFile("w", suffix=".json") as model:
    json.dump({"services": [{"identifier": "echo"}]}, model)
    model.flush()
    kit.thing_setup(model.name)
kit.on_connect = on_connect
kit.on_subscribe_topic = on_subscribe_topic
kit.on_topic_message = on_topic_message
kit.on_topic_rrpc_message = on_topic_rrpc_message
kit.on_thing_call_service = on_thing_call_service
kit.connect_async()
sys.stdin.read()
kit.disconnect()
