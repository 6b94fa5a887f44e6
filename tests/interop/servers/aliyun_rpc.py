"""Calls a device with aliyun-python-sdk-iot, which signs as RPC."""

import base64
import json

import server
from aliyunsdkcore.acs_exception.exceptions import ClientException, ServerException
from aliyunsdkcore.client import AcsClient
from aliyunsdkiot.request.v20180120.InvokeThingServiceRequest import InvokeThingServiceRequest
from aliyunsdkiot.request.v20180120.RRpcRequest import RRpcRequest

options = server.arguments(__doc__, "RRpc", "InvokeThingService")


def request():
    if options.action == "RRpc":
        new = RRpcRequest()
        new.set_RequestBase64Byte(base64.b64encode(options.payload.encode()).decode())
        new.set_Timeout(options.timeout)
        if options.topic:
            new.set_Topic(options.topic)
    else:
        new = InvokeThingServiceRequest()
        new.set_Identifier("echo")
        new.set_Args(options.payload)
    new.set_ProductKey(options.product)
    new.set_DeviceName(options.device)
    new.set_endpoint("127.0.0.1")
    return new


client = AcsClient(server.KEY, options.secret, "cn-shanghai", port=options.port)
try:
    reply = json.loads(client.do_action_with_exception(request()))
except (ClientException, ServerException) as error:
    server.raised(error, error.get_error_code())
else:
    if not reply["Success"]:
        server.failed(reply["Code"])
    elif options.action == "InvokeThingService":
        server.service_answered(reply["Data"]["Result"])
    elif reply["RrpcCode"] == "SUCCESS":
        server.answered(base64.b64decode(reply["PayloadBase64Byte"]))
    else:
        server.failed(reply["RrpcCode"])
