"""A server that calls one device: rrpc_server.py PORT DIALECT PAYLOAD... prints a line for each answer.

All requests are sent at once; each line holds the request's payload, the QoS of the answer and the
answer. The answer must differ from the request: so the server knows its own request from it.
"""

import threading

import vendor

REQUESTS = {
    "aliyun-system": "/sys/{device}/rrpc/request/{id}",
    "aliyun-custom": "/ext/rrpc/{id}/{device}/{topic}",
    "aliyun-custom-double": "/ext/rrpc/{id}//{device}/{topic}",
    "tencent": "$rrpc/rxd/{device}/{id}",
}
ANSWERS = {
    **REQUESTS,
    "aliyun-system": "/sys/{device}/rrpc/response/{id}",
    "tencent": "$rrpc/txd/{device}/{id}",
}

parser = vendor.arguments(__doc__)
parser.add_argument("dialect", choices=REQUESTS)
parser.add_argument("payload", nargs="+")
parser.add_argument("--topic", default="user/get")
parser.add_argument("--first-id", type=int, default=41440)
options = parser.parse_args()


def topic(lines, message_id):
    device = f"{options.product}/{options.device}"
    return lines[options.dialect].format(id=message_id, device=device, topic=options.topic)


asked = {topic(ANSWERS, options.first_id + n): p for n, p in enumerate(options.payload)}
answers = {}
done = threading.Event()


def on_message(client, userdata, message):
    payload = message.payload.decode()
    if payload == asked.get(message.topic):
        return  # Its own request, where request and answer share a topic.
    if message.topic not in asked or message.topic in answers:
        vendor.stop(f"not asked: {message.topic} {payload}")
    answers[message.topic] = (message.qos, payload)
    if len(answers) == len(asked):
        done.set()


def ask():
    for number, payload in enumerate(options.payload):
        client.publish(topic(REQUESTS, options.first_id + number), payload, qos=1)


client = vendor.client(options, "server")
client.on_message = on_message
vendor.subscribe(client, options, [topic(ANSWERS, "+")], 1, ask)
if not done.wait(20):
    vendor.stop(f"no answer to {[asked[topic] for topic in asked if topic not in answers]}")
client.disconnect()
client.loop_stop()
for name, payload in asked.items():
    print(payload, *answers[name])
