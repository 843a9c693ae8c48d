/** One open picture of the page. */

import { readGaussians } from "./data.js";
import { $, announce, explain, tell } from "./dom.js";
import { grouped, showFacts, showPixel, sized } from "./facts.js";
import { encodePng } from "./png.js";
import { Scene } from "./scene.js";
import { MODES } from "./shaders.js";
import { Camera, clamp } from "./view.js";
import { Renderer } from "./webgl.js";

const MAX_EXPORT = 32768; // pixels a side
const EXPORT_STEP = 1024; // pixels a side of the pieces that are drawn for a file
const IDLE = 180; // milliseconds without a change after which a reduced picture is drawn in full
const SLOW = 45; // milliseconds of a frame above which the next one, while it moves, has fewer pixels

/** Picture that is open: its Gaussians, view and state; it draws, and fills the panels that follow from these. */
export class Viewer {
  /**
   * @param {import("./data.js").Item} item Facts of the picture.
   * @param {number} number Its number in the page, from 0.
   * @param {object} state State from the address.
   * @param {{decoder: ?Function, onRest: () => void}} page Reader of .fgs files, and a callback when nothing moves.
   */
  constructor(item, number, state, page) {
    const last = item.layerCounts.length;
    const known = item.kind === "fgs" && Number.isInteger(state.layers) && state.layers >= 1 && state.layers < last;
    if (!known) state.layers = undefined;
    const scene = makeScene(item, number, page.decoder, state.layers);
    if (state.channels && Number(state.channels) < scene.file.channels) scene.show(state.channels);
    else state.channels = undefined;
    this.page = page;
    this.item = item;
    this.number = number;
    this.scene = scene;
    this.scenes = { [state.layers ?? item.layerCounts.length]: scene };
    this.state = { k: scene.length, overlay: "none", compare: "none", split: 0.5, limit: 0.1, ...state };
    this.state.k = clamp(Math.round(this.state.k), Math.min(1, scene.length), scene.length);
    this.camera = new Camera(scene.width, scene.height);
    this.selected = [];
    this.quality = 1; // pixels drawn per pixel of the screen, a side
    this.busy = false;
    this.wanted = false;
    this.frames = 0;
  }

  /** Return the pixels of the screen per pixel of the page. */
  get ratio() {
    return window.devicePixelRatio || 1;
  }

  get isSplit() {
    return this.state.compare === "side" && this.bitmap;
  }

  /** Return a text that changes with what the PSNR depends on. */
  get shown() {
    const { k, layers, channels } = this.state;
    return [k, layers, channels, Boolean(this.bitmap)].join();
  }

  get isUnmeasured() {
    return this.measured !== this.shown;
  }

  /** Take the size of the stage, and draw. */
  resize() {
    const box = $("canvas").getBoundingClientRect();
    this.camera.resize(this.isSplit ? box.width / 2 : box.width, box.height);
    this.request();
  }

  /** Draw soon; `moving` allows fewer pixels until it rests. */
  request(moving = false) {
    clearTimeout(this.rest);
    if (!moving) this.quality = 1;
    else if (this.duration > SLOW) this.quality = clamp(Math.sqrt(SLOW / this.duration), 0.125, 1);
    this.restSoon();
    this.wanted = true;
    this.schedule();
  }

  /** Settle unless something changes before. */
  restSoon() {
    clearTimeout(this.rest);
    this.rest = setTimeout(() => this.settle(), IDLE);
  }

  schedule() {
    if (this.pending || this.busy || !this.wanted || !this.renderer) return;
    this.pending = requestAnimationFrame(() => {
      this.pending = 0;
      this.draw();
    });
  }

  /** Draw a frame, unless the one before is still being drawn. */
  draw() {
    if (!this.renderer || this.closed) return;
    this.wanted = false;
    const canvas = $("canvas");
    const box = canvas.getBoundingClientRect();
    const density = this.ratio * this.quality;
    const [width, height] = [box.width, box.height].map((side) => Math.max(1, Math.round(side * density)));
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const { state } = this;
    const compare = this.bitmap ? state.compare : "none";
    const halves = this.isSplit ? [Math.floor(width / 2), width - Math.floor(width / 2)] : [width];
    const modes = this.isSplit ? [MODES.image, MODES.original] : [MODES[compare] ?? MODES.image];
    const panes = halves.map((part, place) => ({
      ...this.camera.project(density, part, height),
      count: state.k,
      mode: modes[place],
      left: place * halves[0],
    }));
    const look = {
      split: state.split * width,
      limit: state.limit,
      square: 8 * density,
      overlay: state.overlay,
      line: 1.25 * density,
      dot: 1.5 * density,
      selected: this.selected,
    };
    const begin = performance.now();
    try {
      this.renderer.show(panes, look);
    } catch (error) {
      tell(explain(error));
      return;
    }
    this.busy = true;
    const quality = this.quality;
    this.renderer.whenDone((lost) => {
      this.busy = false;
      if (lost || this.closed) return;
      this.duration = (performance.now() - begin) / quality ** 2;
      this.frames += 1;
      if (this.frames === 1) this.opened();
      if ((quality < 1 || this.isUnmeasured) && !this.wanted) this.restSoon();
      this.schedule();
    });
    this.place();
  }

  /** Put the marks of the page where the picture has moved to. */
  place() {
    const { state, camera } = this;
    $("zoom").textContent = `${(100 * camera.zoom).toFixed(camera.zoom < 0.1 ? 1 : 0)} %`;
    const compare = this.bitmap ? state.compare : "none";
    $("handle").hidden = compare !== "swipe" && compare !== "side";
    $("handle").style.left = `${100 * (compare === "side" ? 0.5 : state.split)}%`;
    $("handle").classList.toggle("fixed", compare === "side");
    $("left-name").hidden = $("right-name").hidden = compare !== "swipe" && compare !== "side";
    const cross = $("cross");
    cross.hidden = !state.pixel || document.body.dataset.still === "true";
    if (state.pixel) {
      const side = Math.max(camera.zoom, 7);
      const [x, y] = [state.pixel[0] + 0.5, state.pixel[1] + 0.5];
      const left = (x - camera.x) * camera.zoom + camera.stage.width / 2;
      const top = (y - camera.y) * camera.zoom + camera.stage.height / 2;
      cross.hidden ||= left < 0 || top < 0 || left > camera.stage.width || top > camera.stage.height;
      Object.assign(cross.style, { left: `${left}px`, top: `${top}px`, width: `${side}px`, height: `${side}px` });
    }
  }

  /** Draw in full what was drawn with fewer pixels, keep the state in the address, and measure. */
  settle() {
    if (this.closed) return;
    if (this.quality < 1) {
      // In steps, so that a slow machine can be moved on before the last, which takes the longest.
      this.quality = this.quality < 0.3 ? 3 * this.quality : 1;
      this.wanted = true;
      this.schedule();
    }
    this.page.onRest();
    const { camera, scene } = this;
    const zoom = `Zoom ${(100 * camera.zoom).toFixed(0)} %`;
    if (this.spoken && this.spoken !== zoom) {
      announce(`${zoom}, middle at ${camera.x.toFixed(0)}, ${camera.y.toFixed(0)}`);
    }
    this.spoken = zoom;
    if (this.isUnmeasured && this.renderer && this.frames && !this.wanted && !this.busy) {
      this.measured = this.shown;
      const same = this.bitmap?.width === scene.width && this.bitmap.height === scene.height && !this.state.channels;
      this.psnr = same ? this.renderer.measure(this.state.k) : null;
      this.showStatistics();
    }
    this.showExport();
  }

  /** Make the renderer anew: at the start, and after the context was lost. */
  connect() {
    this.renderer = new Renderer($("canvas"), this.state.precision === "half");
    this.renderer.load(this.scene);
    if (this.bitmap) this.renderer.setOriginal(this.bitmap);
    this.busy = false;
    this.request();
  }

  /** Hide the preview, which has filled the stage until the first frame. */
  opened() {
    $("preview").hidden = true;
    document.body.dataset.drawn = "true";
    performance.mark("fastgs-drawn");
    this.showStatistics();
    this.settle();
  }

  /** Take the number of Gaussians that are shown. */
  setCount(count, keepText = false) {
    const { length } = this.scene;
    if (!length) return;
    this.state.k = clamp(Math.round(count) || 1, 1, length);
    if (!keepText) $("count").value = String(this.state.k);
    $("count-slider").value = String(Math.round(1000 * (Math.log(this.state.k) / Math.log(Math.max(length, 2)))));
    $("count-slider").setAttribute("aria-valuetext", `${this.state.k} Gaussians`);
    this.showBytes();
    if (this.state.pixel) this.pick(this.state.pixel);
    this.request(true);
  }

  /** Say which part of the file is needed for the Gaussians that are shown. */
  showBytes() {
    const { layerCounts, layerBytes, kind } = this.item;
    if (layerCounts.length < 2) return;
    const { k, layers = layerCounts.length } = this.state;
    // What the page reads itself, it reads as far as it is asked to; else the Gaussians say how far that would be.
    const layer = kind === "fgs" ? layers - 1 : layerCounts.findIndex((count) => count >= k);
    const whole = kind === "fgs" || layerCounts[layer] === k;
    $("bytes-slider").value = String(layer + 1);
    const size = `${grouped(layerBytes[layer])} of ${grouped(layerBytes.at(-1))}`;
    $("bytes").textContent = whole ? size : `within ${size}`;
    $("bytes-slider").setAttribute("aria-valuetext", `${size} bytes, layer ${layer + 1}`);
  }

  /** Read the first layers of the file, or show as many Gaussians as they hold. */
  readLayers(layers) {
    const { item, state } = this;
    if (item.kind !== "fgs") {
      this.setCount(item.layerCounts[layers - 1]);
      return;
    }
    state.layers = layers < item.layerCounts.length ? layers : undefined;
    this.scene = this.scenes[layers] ??= makeScene(item, this.number, this.page.decoder, state.layers);
    if (state.channels !== undefined) this.scene.show(state.channels);
    this.renderer?.load(this.scene);
    this.showLength();
    this.setCount(this.scene.length);
  }

  /** Show how many Gaussians there are. */
  showLength() {
    const { length } = this.scene;
    for (const id of ["count", "count-slider"]) $(id).disabled = !length;
    $("count").max = String(length);
    $("of").textContent = `of ${grouped(length)}`;
  }

  showStatistics() {
    const { item, scene, state } = this;
    const kind = scene.file.alpha ? `${item.channels}, the last is alpha` : String(item.channels);
    const rows = [
      ["Canvas", `${scene.width} × ${scene.height} pixels`],
      ["Gaussians", state.k < scene.length ? `${grouped(state.k)} of ${grouped(scene.length)}` : grouped(scene.length)],
      ["Channels", kind],
      ["Blend", item.blend],
      ...item.facts,
    ];
    if (item.bytes) {
      rows.push(["File", sized(item.bytes)]);
      rows.push(["Bits per pixel", ((8 * item.bytes) / (scene.width * scene.height)).toFixed(4)]);
    }
    if (this.psnr !== null && this.psnr !== undefined) rows.push(["PSNR", `${this.psnr.toFixed(2)} dB`]);
    if (this.renderer) rows.push(["Drawn in", this.renderer.precision]);
    showFacts($("facts"), rows);
  }

  /** Show the Gaussians of a pixel; none forgets them. */
  pick(pixel) {
    const { scene, state } = this;
    const inside = pixel && pixel[0] >= 0 && pixel[1] >= 0 && pixel[0] < scene.width && pixel[1] < scene.height;
    state.pixel = inside ? pixel : undefined;
    $("pixel").hidden = !inside;
    $("pixel-hint").hidden = Boolean(inside);
    this.selected = [];
    if (inside) {
      const found = scene.touch(pixel[0] + 0.5, pixel[1] + 0.5, state.k);
      this.selected = found.touching.slice(0, 24).map(({ index }) => index);
      showPixel($("pixel"), scene, pixel, found, this.originalAt(pixel));
      announce(`${found.touching.length} Gaussians make the pixel at column ${pixel[0]}, row ${pixel[1]}`);
    }
    this.request();
  }

  /** Return the colour of the original at a pixel, if it is as large as the canvas. */
  originalAt([x, y]) {
    const { bitmap, scene } = this;
    if (!bitmap || bitmap.width !== scene.width || bitmap.height !== scene.height) return null;
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [1, 1];
    const context = canvas.getContext("2d");
    context.drawImage(bitmap, x, y, 1, 1, 0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, scene.file.alpha ? 4 : 3);
  }

  /** Return the part of the canvas that a file shows, in pixels of the canvas. */
  exportPart() {
    const { camera, scene } = this;
    if ($("region").value === "image") return { x: 0, y: 0, width: scene.width, height: scene.height };
    const [left, top] = camera.at(0, 0).map((value) => Math.max(0, value));
    const [right, bottom] = camera.at(camera.stage.width, camera.stage.height);
    const width = Math.min(right, scene.width) - left;
    return { x: left, y: top, width, height: Math.min(bottom, scene.height) - top };
  }

  /** Fill in the size of the file to save. */
  showExport(width) {
    const part = this.exportPart();
    if (width === undefined && document.activeElement !== $("export-width")) {
      const natural = $("region").value === "image" ? part.width : part.width * this.camera.zoom * this.ratio;
      $("export-width").value = String(clamp(Math.round(natural), 1, MAX_EXPORT));
    }
    const columns = Number($("export-width").value);
    const rows = Math.round((columns * part.height) / part.width);
    const fine = columns >= 1 && columns <= MAX_EXPORT && rows >= 1 && rows <= MAX_EXPORT;
    $("export-size").textContent = fine
      ? `${grouped(columns)} × ${grouped(rows)} pixels`
      : `A side is from 1 to ${grouped(MAX_EXPORT)} pixels.`;
    $("save").disabled = !fine;
    return { ...part, columns, rows, fine };
  }

  /**
   * Return a part of the picture as a PNG file.
   * @param {object} part `x`, `y`, `width`, `height` in pixels of the canvas, and the size `columns`, `rows` of the file.
   * @returns {Promise<Blob>} The file.
   */
  async encode({ x, y, width, height, columns, rows }) {
    const [scaleX, scaleY] = [columns / width, rows / height];
    return encodePng(columns, rows, this.scene.alpha, EXPORT_STEP, async (top, count) => {
      const band = new Uint8Array(4 * columns * count);
      for (let left = 0; left < columns; left += EXPORT_STEP) {
        const step = Math.min(EXPORT_STEP, columns - left);
        const [originX, originY] = [x + left / scaleX, y + top / scaleY];
        const view = { originX, originY, scaleX, scaleY, width: step, height: count, count: this.state.k };
        const pixels = this.renderer.read(view);
        for (let row = 0; row < count; row++) {
          band.set(pixels.subarray(4 * step * row, 4 * step * (row + 1)), 4 * (columns * row + left));
        }
        await new Promise((resolve) => setTimeout(resolve));
      }
      return band;
    });
  }

  /** Return the state for the address. */
  remembered() {
    const { state, camera, scene } = this;
    const view = camera.fitted ? {} : { x: camera.x, y: camera.y, zoom: camera.zoom };
    const given = (name, usual) => (state[name] === usual ? undefined : state[name]);
    return {
      ...view,
      k: given("k", scene.length),
      layers: state.layers,
      overlay: given("overlay", "none"),
      compare: given("compare", "none"),
      split: given("split", 0.5),
      limit: given("limit", 0.1),
      pixel: state.pixel?.join(","),
      channels: given("channels", ""),
      precision: given("precision", "single"),
    };
  }
}

/** Return the Gaussians of a picture; of a .fgs file that the page reads itself, also of its first layers only. */
function makeScene(item, number, decoder, layers = Infinity) {
  return new Scene(readGaussians(item, number, decoder, layers), item.layerCounts.slice(0, layers));
}
