// The gateway, on ports that are free, and two devices that are connected to it.

const { spawn } = require("node:child_process");
const { once } = require("node:events");
const path = require("node:path");
const readline = require("node:readline");
const mqtt = require("mqtt");

const ROOT = path.join(__dirname, "../..");
const PROGRAM = process.env.RRPC_GATEWAY ?? path.join(ROOT, "target/debug/rrpc-gateway");

// Starts it; with a port, where it was before.
async function start(port = 0) {
  // A stream that it would wait for at its end is a failure.
  const options = ["--grace", "10min", "--listen-http", `127.0.0.1:${port}`, "--listen-mqtt", "mqtt://127.0.0.1:0"];
  const config = ["--config", path.join(__dirname, "gateway.toml")];
  const child = spawn(PROGRAM, [...config, ...options], { stdio: ["ignore", "pipe", "inherit"] });
  const ended = once(child, "exit");
  const [line] = await Promise.race([once(readline.createInterface(child.stdout), "line"), ended]);
  const ready = /^ready: http 127\.0\.0\.1:(\d+), mqtt 127\.0\.0\.1:(\d+)$/.exec(line);
  if (!ready) throw new Error(`the gateway says: ${line}`);
  const [http, broker] = ready.slice(1).map(Number);
  return {
    http,
    url: `http://127.0.0.1:${http}/`,
    broker: `mqtt://127.0.0.1:${broker}`,
    // Its exit code.
    async stop() {
      child.kill("SIGTERM");
      return (await ended)[0];
    },
  };
}

async function connect({ broker }, options, topic, answer) {
  const client = mqtt.connect(broker, options);
  client.on("message", (...message) => answer(client, ...message));
  await once(client, "connect");
  await client.subscribeAsync(topic, { qos: 1 });
  return client;
}

// Of Tencent's. It answers "ok" when it is told "closed".
function airConditioner(gateway) {
  const options = {
    protocolVersion: 4,
    username: "KL4J2TEST1/airConditioner1",
    password: "MDEyMzQ1Njc4OWFiY2RlZg==",
  };
  return connect(gateway, options, "$rrpc/rxd/KL4J2TEST1/airConditioner1/+", (client, topic, told) => {
    client.publish(topic.replace("/rxd/", "/txd/"), String(told) === "closed" ? "ok" : "unknown");
  });
}

// MQTT 5. It answers with what it is told; to "status 408" with that, and to "say nothing" it does not.
function display(gateway) {
  const options = { protocolVersion: 5, username: "kitchens/display", password: "a password of the tests" };
  return connect(gateway, options, "devices/kitchens/display", (client, _topic, told, { properties }) => {
    client.asked = (client.asked ?? 0) + 1;
    if (String(told) === "say nothing") return;
    const { responseTopic, correlationData } = properties;
    const [, status] = /^status (\d+)$/.exec(told) ?? [];
    const said = status ? { userProperties: { status } } : {};
    client.publish(responseTopic, told, { properties: { correlationData, ...said } });
  });
}

module.exports = { start, devices: (gateway) => Promise.all([airConditioner(gateway), display(gateway)]) };
