// The gateway's console, used as a person would: console.test.js, with what `npm ci` has installed.
// RRPC_GATEWAY is the program, CHROMIUM the browser. The pictures are in target/console.

const assert = require("node:assert");
const { after, before, test } = require("node:test");
const { launch, Person } = require("./browser.js");
const { devices, start } = require("./gateway.js");

const KEY = "a token of the tests";
const HTML = `<img src=x onerror="document.title='run'"><script>document.title='run'</script>`;

let gateway, connected, browser;

before(async () => {
  gateway = await start();
  connected = await devices(gateway);
  browser = await launch();
});

after(async () => {
  await browser?.close();
  for (const device of connected ?? []) device.end(true);
  await gateway?.stop();
});

// Opens the page, and ends well.
async function visit(does, options) {
  const person = await Person.open(browser, gateway.url, options);
  await does(person, person.page);
  await person.leave();
}

async function signedIn(does, options) {
  await visit(async (person, page) => {
    await person.signIn(KEY);
    await person.sees("#devices", "airConditioner1");
    await person.sees("#live-state", "Live");
    await does(person, page);
  }, options);
}

// Fills in the form and sends it.
async function call(person, product, device, payload) {
  await person.write("#product", product);
  await person.write("#device", device);
  await person.write("#payload", payload);
  await person.page.click("#send");
  await person.page.waitForSelector("#send[aria-disabled=false]");
}

test("a wrong key is told so, and is not kept", () =>
  visit(async (person, page) => {
    for (const wrong of ["wrong", "schlüssel"]) {
      await person.signIn(wrong);
      await person.sees("#key-error", "The gateway does not know this key.");
      await page.waitForFunction(() => sessionStorage.length === 0);
      assert.equal(await page.$eval("#console", (it) => it.hidden), true);
    }
    await person.photograph("wrong-key");
  }));

test("an air conditioner that is told \"closed\" answers \"ok\"", () =>
  signedIn(async (person, page) => {
    await page.click("#devices button");
    assert.equal(await page.$eval("#product", (it) => it.value), "KL4J2TEST1");
    assert.equal(await page.$eval("#device", (it) => it.value), "airConditioner1");
    await page.type("#payload", "closed");
    await page.click("#send");
    await person.sees("#answer-body", "ok");
    await person.sees("#answer-title", "The device answered");
    await person.sees("#answer-badge", "200");
    assert.match(await person.text("#answer-took"), /^of airConditioner1 after [\d.]+ m?s$/);
    assert.match(await person.text("#answer-note"), /^2 bytes · .*message id \d+$/);
    await person.sees("#calls tr", "airConditioner1");
    await person.sees("#calls tr", "plain");
    await person.sees("#calls .ok", "ok");
    await person.sees("#reasons", "None has.");
  }));

test("a device that is not connected says why, and the failure is counted", () =>
  signedIn(async (person) => {
    await call(person, "KL4J2TEST1", "airConditioner2", "closed");
    await person.sees("#answer-badge", "offline");
    await person.sees("#answer-title", "The device is not connected.");
    await person.sees("#answer-note", "Service Unavailable (503), code offline");
    await person.sees("#calls .bad", "offline");
    await person.sees("#reasons", "the device is not connected");
    // The picture in words.
    assert.match(await person.text("#picture title"), /^Calls: 1\. Failed: 1 \(100 %\)\. Median: /);
    await person.photograph("offline");
    await call(person, "KL4J2TEST1", "nobody", "closed");
    await person.sees("#answer-badge", "no_such_device");
  }));

test("what a device answers is text, whatever it is", () =>
  signedIn(async (person, page) => {
    await call(person, "kitchens", "display", HTML);
    await person.sees("#answer-body", HTML);
    assert.equal(await page.$$eval("#answer *", (all) => all.filter((it) => /IMG|SCRIPT/.test(it.tagName)).length), 0);
    await call(person, "kitchens", HTML, "");
    await person.sees("#answer-title", `There is no device ${HTML}`);
    assert.equal(await page.$$eval("#console img, #console script", (all) => all.length), 0);
    assert.equal(await page.title(), "rrpc-gateway console");
    // Nor could a mistake make it more.
    const refused = await page.evaluate(() => {
      try {
        document.getElementById("answer-body").innerHTML = "<b>";
      } catch (error) {
        return error.name;
      }
    });
    assert.equal(refused, "TypeError");
    const [violation, ...others] = await page.evaluate(() => window.violations.splice(0));
    assert.match(violation, /^require-trusted-types-for/);
    assert.deepEqual(others, []);
    person.problems = person.problems.filter((it) => !it.includes("TrustedHTML"));
  }));

test("a status is the device's own, and a device that says 408 is asked once", () =>
  signedIn(async (person, page) => {
    const display = connected[1];
    for (const code of ["401", "407", "408"]) {
      const before = display.asked ?? 0;
      await call(person, "kitchens", "display", `status ${code}`);
      await person.sees("#answer-badge", code);
      await person.sees("#answer-title", "The device answered with an error");
      assert.equal(display.asked - before, 1);
    }
    assert.equal(await page.$eval("#console", (it) => it.hidden), false);
  }));

test("who signs in twice at once is signed in once", () =>
  visit(async (person, page) => {
    await page.type("#key", KEY);
    await page.evaluate(() => {
      const form = document.getElementById("sign-in");
      form.requestSubmit();
      form.requestSubmit();
    });
    await person.sees("#live-state", "Live");
    await call(person, "kitchens", "display", "once");
    await person.sees("#numbers", "Calls1");
  }));

test("what is answered when the key was forgotten is not shown", () =>
  signedIn(async (person, page) => {
    await call(person, "kitchens", "display", "a secret");
    await person.sees("#answer-body", "a secret");
    await person.write("#payload", "say nothing");
    await page.click("#send");
    await page.waitForSelector("#send[aria-disabled=true]");
    await page.click("#forget");
    await person.sees("#sign-in");
    await person.signIn(KEY);
    await person.sees("#devices", "display");
    await page.waitForSelector("#send[aria-disabled=false]");
    assert.equal(await page.$eval("#answer", (it) => it.hidden), true);
    assert(!(await person.text("main")).includes("a secret"));
  }));

test("bytes that are no text are shown and written in hex", () =>
  signedIn(async (person, page) => {
    await page.select("#encoding", "hex");
    await call(person, "kitchens", "display", "00 ff 41");
    await person.sees("#answer-body", "0000  00 ff 41");
    await person.sees("#answer-note", "3 bytes · not text, so in hex");
    await call(person, "kitchens", "display", "0");
    await person.sees("#payload-error", "two digits");
  }));

test("the form offers what a dialect has", () =>
  signedIn(async (person, page) => {
    await person.write("#filter", "AIRCOND");
    await person.sees("#devices-count", "1 device matches");
    await person.write("#filter", "nothing like it");
    await person.sees("#devices-count", "0 devices match");
    await person.write("#filter", "display");
    await person.sees("#devices-count", "1 device matches");
    await person.sees("#devices", "display");
    await page.click("#devices button");
    await person.sees("#dialect", "MQTT 5");
    await person.sees("#content-type-field");
    await page.click("[value=topic]");
    await person.sees("#topic-field");
    assert.equal(await page.$eval("#topic", (it) => it.value), "devices/kitchens/display/");
    await page.click("[value=service]");
    await person.sees("#service-field");
    await page.type("#service", "no/service");
    await page.click("#send");
    await person.sees("#answer-badge", "invalid");
    // Tencent's devices have neither.
    await person.write("#product", "KL4J2TEST1");
    await page.waitForFunction(() => document.getElementById("target").hidden);
    assert.equal(await page.$eval("#service-field", (it) => it.hidden), true);
  }));

test("a keyboard is enough", () =>
  visit(async (person, page) => {
    await page.keyboard.type(KEY);
    await person.press("Enter");
    await person.sees("#devices", "airConditioner1");
    await page.waitForFunction(() => document.activeElement.id === "filter");
    await person.tabTo("choose");
    assert.equal(await person.press("Enter"), "payload");
    await page.keyboard.type("closed");
    await person.tabTo("send");
    await person.press("Enter");
    await person.sees("#answer-body", "ok");
    await person.tabTo("answer-body");
    await person.tabTo("pause");
    await person.press("Space");
    await page.waitForFunction(() => document.getElementById("pause").getAttribute("aria-pressed") === "true");
    // Back over the long list.
    await page.evaluate(() => document.activeElement.blur());
    await page.focus("#forget");
    assert.equal(await person.press("Tab", { shift: true }), "skip");
    await person.press("Enter");
    await page.waitForFunction(() => document.activeElement.id === "call");
  }));

test("each field has a name, and what changes is said", () =>
  signedIn(async (person, page) => {
    const fields = await page.$$eval("input, select, textarea", (all) =>
      all.filter((it) => !it.labels?.length).map((it) => it.id),
    );
    assert.deepEqual(fields, []);
    const live = await page.$$eval("[role=status], [role=alert]", (all) => all.map((it) => it.id));
    for (const id of ["answer-said", "live-state", "key-error", "devices-error"]) assert(live.includes(id), id);
    const tree = await page.accessibility.snapshot();
    const within = ({ role, name, children = [] }) => [`${role} ${name}`, ...children.flatMap(within)];
    const names = within(tree);
    for (const wanted of ["heading Devices", "heading Call a device", "button Call", "textbox Payload"]) {
      assert(names.includes(wanted), `${wanted}: ${names}`);
    }
  }));

for (const [name, width, height] of [["phone", 360, 780], ["desktop", 1280, 900]]) {
  for (const scheme of ["light", "dark"]) {
    test(`it fits on a ${name}, ${scheme}`, async () => {
      const options = { width, height, scheme };
      await visit(async (person) => {
        await person.fits();
        await person.photograph(`${name}-${scheme}-key`);
      }, options);
      await signedIn(async (person, page) => {
        await call(person, "KL4J2TEST1", "airConditioner2", "closed");
        await call(person, "kitchens", "display", `{ "text": "${"a long text ".repeat(20)}" }`);
        await page.click("#devices button");
        await person.write("#payload", "closed");
        await page.click("#send");
        await person.sees("#answer-body", "ok");
        await page.waitForFunction(() => document.querySelectorAll("#calls tr").length === 3);
        await page.waitForSelector("#picture path.bad");
        await person.fits();
        await person.photograph(`${name}-${scheme}`);
      }, options);
    });
  }
}

test("the key is kept in its tab only, and forgotten when that is asked for", () =>
  signedIn(async (person, page) => {
    await page.reload();
    await person.sees("#devices", "airConditioner1");
    const stored = await page.evaluate(() => [localStorage.length, document.cookie, location.href]);
    assert.deepEqual(stored, [0, "", gateway.url]);
    const other = await person.context.newPage();
    await other.goto(gateway.url);
    await other.waitForSelector("#sign-in:not([hidden])");
    await other.close();
    await page.click("#forget");
    await person.sees("#sign-in");
    assert.equal(await page.evaluate(() => sessionStorage.length), 0);
    assert.equal(await page.$$eval("#devices tr", (all) => all.length), 0);
  }));

test("when the gateway goes it says so, and is live again when it is back", () =>
  signedIn(async (person) => {
    for (const device of connected) device.end(true);
    // The stream does not keep it.
    assert.equal(await gateway.stop(), 0);
    await person.sees("#live-state", "Not live");
    await person.sees("#live-error", "It is tried again");
    await person.sees("#devices-error", "The gateway cannot be reached.");
    await person.photograph("not-live");
    gateway = await start(gateway.http);
    await person.sees("#live-state", "Live");
    await person.sees("#devices-count", "None is connected");
    person.problems = person.problems.filter((it) => !/net::ERR_|NetworkError/.test(it));
  }));
