"""Calls a device with alibabacloud-iot20180120, Aliyun's Tea SDK, which signs as ACS3."""

import base64

import server
from alibabacloud_iot20180120.client import Client
from alibabacloud_iot20180120.models import InvokeThingServiceRequest, RRpcRequest
from alibabacloud_tea_openapi.models import Config
from Tea.exceptions import TeaException

options = server.arguments(__doc__, "RRpc", "InvokeThingService")
client = Client(
    Config(
        access_key_id=server.KEY,
        access_key_secret=options.secret,
        endpoint=f"127.0.0.1:{options.port}",
        protocol="HTTP",
    )
)


def call():
    device = {"product_key": options.product, "device_name": options.device}
    if options.action == "InvokeThingService":
        request = InvokeThingServiceRequest(**device, identifier="echo", args=options.payload)
        return client.invoke_thing_service(request).body
    payload = base64.b64encode(options.payload.encode()).decode()
    return client.r_rpc(
        RRpcRequest(
            **device,
            topic=options.topic,
            timeout=options.timeout,
            request_base_64byte=payload,
        )
    ).body


try:
    reply = call()
except TeaException as error:
    server.raised(error, error.code)
else:
    if not reply.success:
        server.failed(reply.code)
    elif options.action == "InvokeThingService":
        server.service_answered(reply.data.result)
    elif reply.rrpc_code == "SUCCESS":
        server.answered(base64.b64decode(reply.payload_base_64byte))
    else:
        server.failed(reply.rrpc_code)
