// Asks with MQTT.js as a browser has it: ask.js URL TOPIC PAYLOAD... prints one line for each answer.
//
// All requests are sent at once; each line holds the request's payload, the status and the answer. A
// browser has a WebSocket and no TCP: of Node, this takes only what stands for that, and the pool of
// certificate authorities (NODE_EXTRA_CA_CERTS).

const fs = require("node:fs");
const vm = require("node:vm");
const { WebSocket } = require("ws");

// What a page finds, and the script that it loads.
Object.assign(globalThis, { WebSocket, window: globalThis, self: globalThis, document: {} });
globalThis.navigator ??= { language: "en", userAgent: "node" };
vm.runInThisContext(fs.readFileSync(require.resolve("mqtt/dist/mqtt"), "utf8"));
const { mqtt } = globalThis;

const [url, topic, ...payloads] = process.argv.slice(2);
const answers = new Map();

function fail(reason) {
  console.error(String(reason));
  process.exit(1);
}

const client = mqtt.connect(url, {
  protocolVersion: 5,
  reconnectPeriod: 0,
  // There are no workers of a page.
  timerVariant: "native",
  properties: { requestResponseInformation: true },
});
setTimeout(() => fail("no answer"), 20000).unref();
client.on("error", fail);
client.on("close", () => answers.size < payloads.length && fail("closed"));

client.on("connect", (connack) => {
  const responseTopic = connack.properties.responseInformation;
  client.subscribe(responseTopic, { qos: 1 }, (error) => {
    if (error) fail(error);
    payloads.forEach((payload, number) => {
      const properties = { responseTopic, correlationData: Buffer.from(String(number)) };
      client.publish(topic, payload, { qos: 1, properties });
    });
  });
});

client.on("message", (_, payload, { properties }) => {
  const status = properties.userProperties?.status ?? "200";
  answers.set(Number(properties.correlationData.toString()), `${status} ${payload}`);
  if (answers.size === payloads.length) {
    payloads.forEach((request, number) => console.log(`${request} ${answers.get(number)}`));
    client.end();
  }
});
