// Chromium, and what a person does with it.

const assert = require("node:assert");
const fs = require("node:fs");
const path = require("node:path");
const puppeteer = require("puppeteer-core");

const SHOTS = path.join(__dirname, "../../target/console");

function program() {
  const names = ["chromium", "chromium-browser", "google-chrome"];
  const folders = process.env.PATH.split(path.delimiter);
  const all = names.flatMap((name) => folders.map((folder) => path.join(folder, name)));
  const found = process.env.CHROMIUM ?? all.find((file) => fs.existsSync(file));
  assert(found, "this test needs Chromium: install the package chromium");
  return found;
}

function launch() {
  fs.mkdirSync(SHOTS, { recursive: true });
  // Chromium's sandbox is not for root.
  const root = process.getuid() === 0 ? ["--no-sandbox"] : [];
  const args = ["--disable-dev-shm-usage", ...root];
  return puppeteer.launch({ executablePath: program(), args });
}

// Somebody who opens the page in a browser of their own.
class Person {
  // What must not be: errors of the page, violations of its policy, requests to anywhere else.
  problems = [];

  static async open(browser, url, { width = 1280, height = 900, scheme = "light" } = {}) {
    const person = new Person();
    person.context = await browser.createBrowserContext();
    await person.visit(url, { width, height, scheme });
    return person;
  }

  async visit(url, { width, height, scheme }) {
    const page = (this.page = await this.context.newPage());
    page.setDefaultTimeout(20_000);
    await page.setViewport({ width, height });
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
    page.on("pageerror", (error) => this.problems.push(`error: ${error.message}`));
    page.on("console", (message) => {
      // Chromium says so of each answer that is no success.
      const refused = /^Failed to load resource: the server responded with a status of/.test(message.text());
      const isApi = new URL(message.location().url ?? url, url).pathname.startsWith("/v1/");
      const isBad = ["error", "warn", "assert"].includes(message.type());
      if (isBad && !(refused && isApi)) this.problems.push(`console: ${message.text()}`);
    });
    page.on("request", (request) => {
      if (!request.url().startsWith(url)) this.problems.push(`request: ${request.url()}`);
    });
    await page.evaluateOnNewDocument(() => {
      window.violations = [];
      document.addEventListener("securitypolicyviolation", (event) => {
        window.violations.push(`${event.violatedDirective}: ${event.blockedURI}`);
      });
    });
    await page.goto(url);
    await this.sees("#sign-in");
  }

  // Waits until something is shown, and contains this text.
  async sees(selector, text = "") {
    const shown = (selector, text) => {
      const element = document.querySelector(selector);
      return Boolean(element?.getClientRects().length) && element.textContent.includes(text);
    };
    try {
      await this.page.waitForFunction(shown, { polling: "mutation" }, selector, text);
    } catch (error) {
      const is = await this.page.evaluate((it) => document.querySelector(it)?.textContent, selector);
      throw new Error(`${selector}: ${JSON.stringify(text)} is not seen, but ${JSON.stringify(is)}`, { cause: error });
    }
  }

  text(selector) {
    return this.page.$eval(selector, (element) => element.textContent);
  }

  async write(selector, text) {
    await this.page.click(selector, { count: 3 });
    await this.page.keyboard.press("Backspace");
    await this.page.type(selector, text);
  }

  async signIn(key) {
    await this.write("#key", key);
    await this.page.click("#sign-in button");
  }

  // Presses a key, and sees where the focus is: there must be something to see.
  async press(key, { shift = false } = {}) {
    if (shift) await this.page.keyboard.down("Shift");
    await this.page.keyboard.press(key);
    if (shift) await this.page.keyboard.up("Shift");
    const focus = await this.page.evaluate(() => {
      const { id, className, tagName } = document.activeElement;
      const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
      return { name: id || className || tagName, outline: outlineStyle !== "none" && parseFloat(outlineWidth) >= 2 };
    });
    assert(focus.outline || focus.name === "BODY", `the focus on ${focus.name} is not seen`);
    return focus.name;
  }

  // Presses Tab until the focus is there.
  async tabTo(name) {
    const been = [];
    while (been.length < 30) {
      const at = await this.press("Tab");
      if (at === name) return;
      been.push(at);
    }
    assert.fail(`Tab does not come to ${name}, but to ${been}`);
  }

  async fits() {
    const [content, window] = await this.page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    assert(content <= window, `it is ${content} px wide in a window of ${window} px`);
  }

  async photograph(name) {
    await this.page.screenshot({ path: path.join(SHOTS, `${name}.png`), fullPage: true });
  }

  // The end, when nothing was wrong.
  async leave() {
    this.problems.push(...(await this.page.evaluate(() => window.violations)));
    await this.context.close();
    assert.deepStrictEqual(this.problems, []);
  }
}

module.exports = { launch, Person };
