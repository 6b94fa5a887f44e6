"""A device as Aliyun's SDK for Node makes it: aliyun_node_device.py PORT prints "ready" and serves.

It answers synchronous services on system topics, in JSON without spaces. It remembers one message id
for each service: of calls that overlap, all answers go to the last id. Its session is kept. It says no
ext, and subscribes to much more than it needs.
"""

import hashlib
import hmac
import json

import vendor

parser = vendor.arguments(__doc__)
parser.add_argument("--secret", default="0123456789abcdef0123456789abcdef")
parser.add_argument("--echo", action="store_true", help="answer what is no service with itself")
parser.add_argument("--after", type=int, default=1, help="answer when so many requests are there")
options = parser.parse_args()

device = f"{options.product}/{options.device}"
# After the services, in the order in which the SDK subscribes.
TOPICS = [
    f"/sys/{device}/thing/event/property/post_reply",
    f"/sys/{device}/thing/service/property/set",
    f"/sys/{device}/thing/event/+/post_reply",
    f"/sys/{device}/thing/deviceinfo/update_reply",
    f"/sys/{device}/thing/deviceinfo/delete_reply",
    f"/sys/{device}/thing/config/get_reply",
    f"/shadow/get/{device}",
    f"/sys/{device}/thing/config/push",
    f"/sys/{device}/thing/config/push_reply",
    f"/sys/{device}/thing/topo/add_reply",
    f"/sys/{device}/thing/topo/delete_reply",
    f"/sys/{device}/thing/topo/get_reply",
    f"/ext/session/{device}/combine/login_reply",
    f"/ext/session/{device}/combine/logout_reply",
    f"/sys/{device}/thing/sub/register_reply",
    f"/sys/{device}/rrpc/request/+",
]
message_ids = {}
waiting = []


def on_message(client, userdata, message):
    try:
        request = json.loads(message.payload)
        service = request["method"].rsplit(".", 1)[1]
    except (ValueError, TypeError, KeyError, IndexError):
        # The application gets it as a plain message.
        if options.echo:
            client.publish(message.topic.replace("/request/", "/response/"), message.payload)
        return
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


identity, timestamp = f"{options.product}&{options.device}", "1795508835057"
client_id = (
    f"{identity}|securemode=3,signmethod=hmacsha1,timestamp={timestamp},lan=NodeJS,_v=1.2.8|"
)
content = (
    f"clientId{identity}deviceName{options.device}productKey{options.product}timestamp{timestamp}"
)
password = hmac.new(options.secret.encode(), content.encode(), hashlib.sha1).hexdigest()
user = f"{options.device}&{options.product}"
client = vendor.client(options, client_id, user, password, clean=False)
client.on_message = on_message
vendor.serve(client, options, TOPICS, qos=1)
