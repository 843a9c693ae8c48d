// @ts-check
/**
 * Custom element `<fgs-image src="photo.fgs" width="640" alt="...">`, which draws a .fgs file into a canvas.
 *
 * Importing the module defines the element.
 */

import { isLearned } from "./codec/container.js";
import { FgsError, decode, loadModels } from "./fgs.js";
import { MAX_PIXELS, renderPixels } from "./render-cpu.js";

const MAX_BYTES = 2 ** 28; // of a file; larger ones are not loaded

// A sheet, since strict content security policies forbid style elements. Pages can style the element itself.
const STYLE = new CSSStyleSheet();
STYLE.replaceSync(`
  :host { display: inline-block; }
  canvas { display: block; max-width: 100%; }
  :host([hidden]), [hidden] { display: none; }
`);

/**
 * Element that shows a .fgs file as an image.
 *
 * Attributes: `src` is the address of the file, `alt` its description, `width` and `height` are the size in CSS pixels;
 * one of them alone keeps the proportions of the canvas, and without both the size is that of the canvas. The image is
 * drawn at the resolution of the screen. It fires `load` when it is drawn, and `error`, with the error in `detail`, when
 * it cannot be; what is wrong then stands in place of the image.
 */
export class FgsImage extends HTMLElement {
  static observedAttributes = ["src", "alt", "width", "height"];

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [STYLE];
    this.canvas = document.createElement("canvas");
    this.message = document.createElement("span");
    this.message.setAttribute("part", "message");
    this.message.hidden = true;
    root.append(this.canvas, this.message);
    /** @type {import("./types.js").Gaussians | null} */
    this.gaussians = null;
    this.isStale = false;
    /** @type {AbortController | null} */
    this.loading = null;
  }

  connectedCallback() {
    this.describe();
    this.load();
  }

  disconnectedCallback() {
    this.loading?.abort();
  }

  /**
   * @param {string} name
   * @param {string | null} before
   * @param {string | null} value
   */
  attributeChangedCallback(name, before, value) {
    if (!this.isConnected || before === value) return;
    if (name === "src") this.load();
    else if (name === "alt") this.describe();
    else if (!this.isStale) {
      // Of a width and a height that are set one after the other, only both are drawn.
      this.isStale = true;
      queueMicrotask(() => {
        this.isStale = false;
        if (this.gaussians) this.show(this.gaussians);
      });
    }
  }

  /** Load the file that `src` names, and draw it; what is wrong is shown instead, never thrown. */
  async load() {
    this.loading?.abort();
    const loading = (this.loading = new AbortController());
    this.gaussians = null;
    const src = this.getAttribute("src");
    if (!src) {
      this.canvas.width = this.canvas.height = 0;
      this.setMessage("");
      return;
    }
    try {
      const bytes = await fetchBytes(src, loading.signal);
      if (isLearned(bytes)) await loadModels();
      const gaussians = decode(bytes);
      if (loading.signal.aborted) return;
      this.gaussians = gaussians;
      this.show(gaussians);
    } catch (error) {
      if (!loading.signal.aborted) this.fail(error);
    }
  }

  /**
   * Draw Gaussians at the size that the attributes tell.
   *
   * @param {import("./types.js").Gaussians} gaussians
   */
  show(gaussians) {
    try {
      const [width, height] = this.findSize(gaussians);
      const ratio = globalThis.devicePixelRatio || 1;
      const columns = Math.max(1, Math.round(width * ratio));
      const rows = Math.max(1, Math.round(height * ratio));
      const pixels = renderPixels(gaussians, columns, rows, { antialias: true });
      this.canvas.width = columns;
      this.canvas.height = rows;
      this.canvas.style.width = `${width}px`;
      this.canvas.style.aspectRatio = `${width} / ${height}`; // kept where the page is too narrow for the width
      this.canvas.getContext("2d")?.putImageData(new ImageData(pixels, columns, rows), 0, 0);
      this.setMessage("");
      this.dispatchEvent(new Event("load"));
    } catch (error) {
      this.fail(error);
    }
  }

  /**
   * Return the width and height in CSS pixels.
   *
   * @param {{width: number, height: number}} canvas Size of the canvas in pixels.
   * @returns {[number, number]}
   * @throws {FgsError} The image would have too many pixels.
   */
  findSize(canvas) {
    let width = readLength(this.getAttribute("width"));
    let height = readLength(this.getAttribute("height"));
    if (!width && !height) width = canvas.width;
    width ||= (height * canvas.width) / canvas.height;
    height ||= (width * canvas.height) / canvas.width;
    if (width * height > MAX_PIXELS) {
      throw new FgsError(`The image has more than ${MAX_PIXELS} pixels; give it a smaller width.`);
    }
    return [width, height];
  }

  /** Tell assistive technology that this is an image, and its description; an empty one means decoration. */
  describe() {
    const alt = this.getAttribute("alt");
    this.setAttribute("role", alt === "" ? "none" : "img");
    if (alt) this.setAttribute("aria-label", alt);
    else this.removeAttribute("aria-label");
  }

  /**
   * Show a message in place of the image; an empty one shows the image.
   *
   * @param {string} text
   */
  setMessage(text) {
    this.message.textContent = text;
    this.message.hidden = !text;
    this.canvas.hidden = Boolean(text);
    // The parts of an image are not read aloud; a message is.
    if (text) this.setAttribute("role", "group");
    else this.describe();
  }

  /**
   * Show what went wrong, and fire `error`.
   *
   * @param {unknown} error
   */
  fail(error) {
    const alt = this.getAttribute("alt");
    const reason = error instanceof FgsError ? error.message : "The file could not be loaded or drawn.";
    this.setMessage(alt ? `${alt} (${reason})` : reason);
    this.dispatchEvent(new CustomEvent("error", { detail: error }));
  }
}

/**
 * Return the number of an attribute such as width="640"; 0 if there is none that is positive.
 *
 * @param {string | null} text
 * @returns {number}
 */
function readLength(text) {
  const length = Number.parseFloat(text ?? "");
  return length > 0 && Number.isFinite(length) ? length : 0;
}

/**
 * Load a file.
 *
 * @param {string} address
 * @param {AbortSignal} signal
 * @returns {Promise<Uint8Array>}
 * @throws {FgsError} There is no such file, or it is too large.
 */
async function fetchBytes(address, signal) {
  const response = await fetch(address, { signal });
  if (!response.ok) throw new FgsError(`The file could not be loaded (status ${response.status}).`);
  const reader = response.body?.getReader();
  /** @type {Uint8Array[]} */
  const chunks = [];
  let size = 0;
  while (reader) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.length;
    if (size > MAX_BYTES) {
      await reader.cancel();
      throw new FgsError(`The file is larger than ${MAX_BYTES} bytes.`);
    }
    chunks.push(value);
  }
  const bytes = new Uint8Array(size);
  let place = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, place);
    place += chunk.length;
  }
  return bytes;
}

if (!customElements.get("fgs-image")) customElements.define("fgs-image", FgsImage);
