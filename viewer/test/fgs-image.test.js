import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

// As much of a browser as the element touches; what is tested here is the element, not the browser.
class FakeElement extends EventTarget {
  attributes = new Map();
  children = [];
  style = {};
  textContent = "";
  isConnected = true;

  getAttribute(name) {
    return this.attributes.get(name) ?? null;
  }

  setAttribute(name, value) {
    const before = this.getAttribute(name);
    this.attributes.set(name, String(value));
    if (this.constructor.observedAttributes?.includes(name)) this.attributeChangedCallback(name, before, String(value));
  }

  removeAttribute(name) {
    this.attributes.delete(name);
  }

  attachShadow() {
    return { append: (...children) => this.children.push(...children) };
  }

  getContext() {
    return { putImageData: (image) => (this.image = image) };
  }
}

const files = new Map();
const registry = new Map();
Object.assign(globalThis, {
  HTMLElement: FakeElement,
  ImageData: class {
    constructor(data, width, height) {
      Object.assign(this, { data, width, height });
    }
  },
  CSSStyleSheet: class {
    replaceSync() {}
  },
  document: { createElement: () => new FakeElement() },
  customElements: { get: (name) => registry.get(name), define: (name, kind) => registry.set(name, kind) },
  devicePixelRatio: 2,
  fetch: async (address, { signal }) => {
    await new Promise((resolve) => setTimeout(resolve, 5));
    signal.throwIfAborted();
    if (address === "unreachable") throw new TypeError("Failed to fetch");
    return files.has(address) ? new Response(files.get(address)) : new Response("", { status: 404 });
  },
});
const { FgsImage } = await import("../fgs-image.js");

const golden = (name) => readFileSync(new URL(`../../tests/golden/${name}.fgs`, import.meta.url));
files.set("photo.fgs", golden("waves")); // 90 x 60 pixels
files.set("other.fgs", golden("gaussianimage")); // 64 x 64 pixels
files.set("learned.fgs", Uint8Array.of(0x46, 0x47, 0x53, 3, 0, 4, 1, 5, 7, 0, 0x6e, 0x0a)); // 5 x 7 pixels
files.set("damaged.fgs", golden("waves").subarray(0, 200));

/** Return an element with attributes, after it has loaded its file or failed. */
async function show(attributes) {
  const element = new FgsImage();
  for (const [name, value] of Object.entries(attributes)) element.attributes.set(name, value);
  await settle(element, () => element.connectedCallback());
  return element;
}

/** Do something with an element, and return the event that follows. */
function settle(element, act) {
  return new Promise((resolve) => {
    for (const name of ["load", "error"]) element.addEventListener(name, resolve, { once: true });
    act();
  });
}

function sizeOf({ canvas }) {
  return [canvas.width, canvas.height, canvas.style.width, canvas.style.aspectRatio];
}

test("the element is defined", () => assert.equal(registry.get("fgs-image"), FgsImage));

test("a file is drawn at the resolution of the screen, in the size that attributes tell", async () => {
  const cases = [
    [{}, [180, 120, "90px", "90 / 60"]],
    [{ width: "30" }, [60, 40, "30px", "30 / 20"]],
    [{ height: "30" }, [90, 60, "45px", "45 / 30"]],
    [{ width: "10", height: "10" }, [20, 20, "10px", "10 / 10"]],
    [{ width: "wide", height: "-3" }, [180, 120, "90px", "90 / 60"]],
  ];
  for (const [attributes, expected] of cases) {
    const element = await show({ src: "photo.fgs", ...attributes });
    assert.deepEqual(sizeOf(element), expected);
    const { data, width, height } = element.canvas.image;
    assert.deepEqual([data.length, width, height], [4 * expected[0] * expected[1], expected[0], expected[1]]);
    assert.ok(element.message.hidden);
  }
});

test("the weights that a file of version 3 needs are loaded", async () => {
  const element = await show({ src: "learned.fgs" });
  assert.deepEqual([element.message.textContent, element.gaussians.height], ["", 7]);
});

test("the element is an image with a description, and decoration if that is empty", async () => {
  const element = await show({ src: "photo.fgs", alt: "A cat" });
  assert.deepEqual([element.getAttribute("role"), element.getAttribute("aria-label")], ["img", "A cat"]);
  element.setAttribute("alt", "");
  assert.deepEqual([element.getAttribute("role"), element.getAttribute("aria-label")], ["none", null]);
});

test("changes of attributes are followed", async () => {
  const element = await show({ src: "photo.fgs", width: "30" });
  await settle(element, () => element.setAttribute("width", "45"));
  assert.deepEqual(sizeOf(element), [90, 60, "45px", "45 / 30"]);
  let draws = 0;
  element.addEventListener("load", () => draws++);
  await settle(element, () => {
    for (const size of ["40", "50"]) element.setAttribute("height", size);
    element.setAttribute("height", "30");
  });
  assert.deepEqual([sizeOf(element)[1], draws], [60, 1]);
  element.attributes.delete("height");
  await settle(element, () => element.setAttribute("src", "other.fgs"));
  assert.deepEqual(sizeOf(element), [90, 90, "45px", "45 / 45"]);
});

test("of two files that are asked for one after the other, the second is shown", async () => {
  const element = new FgsImage();
  element.attributes.set("src", "photo.fgs");
  element.connectedCallback();
  await settle(element, () => element.setAttribute("src", "other.fgs"));
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.equal(element.gaussians.width, 64);
});

test("what is wrong stands in place of the image, as text", async () => {
  const cases = [
    [{ src: "missing.fgs" }, "The file could not be loaded (status 404)."],
    [{ src: "unreachable" }, "The file could not be loaded or drawn."],
    [{ src: "damaged.fgs", alt: "<b>A cat</b>" }, "<b>A cat</b> (The file is cut short (after 200 bytes).)"],
    [{ src: "photo.fgs", width: "100000", height: "100000" }, "The image has more than 89478485 pixels"],
  ];
  for (const [attributes, message] of cases) {
    const element = await show(attributes);
    assert.ok(element.message.textContent.startsWith(message), element.message.textContent);
    assert.ok(!element.message.hidden && element.canvas.hidden);
    assert.equal(element.getAttribute("role"), "group");
    for (const name of ["width", "height"]) element.attributes.set(name, "30");
    const event = await settle(element, () => element.setAttribute("src", "other.fgs"));
    assert.equal(event.type, "load");
    assert.ok(element.message.hidden && element.getAttribute("role") === "img");
  }
});

test("nothing is shown without a file, or of an element that is gone", async () => {
  const element = new FgsImage();
  element.connectedCallback();
  await element.load();
  assert.deepEqual([element.canvas.width, element.message.textContent], [0, ""]);
  element.attributes.set("src", "missing.fgs");
  const loading = element.load();
  element.disconnectedCallback();
  await loading;
  assert.equal(element.message.textContent, "");
});
