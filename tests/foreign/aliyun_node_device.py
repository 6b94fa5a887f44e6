"""A device as Aliyun's SDK for Node makes it: aliyun_node_device.py PORT prints "ready" and serves.

It answers synchronous services on system topics, in JSON without spaces. It remembers one message id
for each service: of calls that overlap, all answers go to the last id. Its session is kept.
"""

import json

import vendor

parser = vendor.arguments(__doc__)
parser.add_argument("--after", type=int, default=1, help="answer when so many requests are there")
options = parser.parse_args()

device = f"{options.product}/{options.device}"
message_ids = {}
waiting = []


def on_message(client, userdata, message):
    try:
        request = json.loads(message.payload)
        service = request["method"].rsplit(".", 1)[1]
    except (ValueError, TypeError, KeyError, IndexError):
        return  # The application gets it as a plain message.
    message_ids[service] = message.topic.rsplit("/", 1)[1]
    waiting.append((service, request))
    if len(waiting) < options.after:
        return
    for service, request in waiting:
        data = {"echo": request.get("params")}
        response = {"id": request.get("id"), "code": 200, "data": data}
        topic = f"/sys/{device}/rrpc/response/{message_ids[service]}"
        client.publish(topic, json.dumps(response, separators=(",", ":")), qos=0)
    waiting.clear()


client_id = (
    f"{options.product}&{options.device}|securemode=3,signmethod=hmacsha1,"
    "timestamp=1795508835057,lan=NodeJS,_v=1.2.8|"
)
client = vendor.client(options, client_id, f"{options.device}&{options.product}", clean=False)
client.on_message = on_message
vendor.serve(client, options, [f"/sys/{device}/rrpc/request/+"], qos=1)
