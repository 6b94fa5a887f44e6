"""A device as Aliyun's SDK for Python makes it: aliyun_device.py PORT prints "ready" and serves.

It echoes RRPC over system topics and over custom topics, and answers synchronous services with their
parameters. It speaks MQTT 3.1.1, answers at QoS 0, and subscribes to no service unless it is told to.
"""

import hmac
import json
import time

import vendor

parser = vendor.arguments(__doc__)
parser.add_argument("--secret", default="0123456789abcdef0123456789abcdef")
parser.add_argument("--sign", choices=["md5", "sha1", "sha256"], default="sha1")
parser.add_argument("--topic", action="append", help="custom topics, user/get by default")
parser.add_argument("--services", action="store_true", help="subscribe to the services as well")
parser.add_argument("--code", type=int, default=200, help="what services are answered with")
parser.add_argument("--copies", type=int, default=1, help="how often each answer is sent")
parser.add_argument("--most", type=int, default=50, help="answers; or a loop would never end")
options = parser.parse_args()

device = f"{options.product}/{options.device}"
custom = [f"{device}/{topic}" for topic in options.topic or ["user/get"]]
services = f"sys/{device}/thing/service/"
system = f"/sys/{device}/rrpc/request/"


def credentials():
    timestamp = str(int(time.time()))
    identity = f"{options.product}&{options.device}"
    client_id = (
        f"{identity}|securemode=3,signmethod=hmac{options.sign},ext=1,_ss=1,"
        f"lan=Python,_v=1.2.13,timestamp={timestamp}|"
    )
    content = (
        f"clientId{identity}deviceName{options.device}"
        f"productKey{options.product}timestamp{timestamp}"
    )
    password = hmac.new(options.secret.encode(), content.encode(), options.sign).hexdigest()
    return client_id, f"{options.device}&{options.product}", password


def answer(client, topic, payload):
    for _ in range(options.copies):
        if options.most > 0:
            options.most -= 1
            client.publish(topic, payload, qos=0)


def answer_service(client, topic, payload):
    request = json.loads(payload)
    if not isinstance(request.get("id"), str) or "params" not in request:
        return  # Here the SDK fails with an exception.
    data = {"echo": request["params"]}
    response = {"id": request["id"], "code": options.code, "data": data}
    answer(client, topic, json.dumps(response))


def on_message(client, userdata, message):
    topic = message.topic
    if topic.startswith(system):
        answer(client, topic.replace("/request/", "/response/"), message.payload)
    elif topic.startswith("/ext/rrpc/"):
        # A second slash behind the id makes it another topic, which is not answered.
        rest = topic.split("/", 4)[4]
        if rest in custom:
            answer(client, topic, message.payload)
        elif rest.startswith(services):
            answer_service(client, topic, message.payload)


filters = [f"{system}+", *(f"/ext/rrpc/+/{topic}" for topic in custom)]
if options.services:
    filters.append(f"/ext/rrpc/+/{services}+")
client = vendor.client(options, *credentials())
client.on_message = on_message
vendor.serve(client, options, filters)
