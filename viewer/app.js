/** The page: which picture is open, its controls, and its state in the address. */

import { DataError, readGaussians, readItems, readOriginal } from "./data.js";
import { element, grouped, showBits, showFacts, showPixel, sized } from "./facts.js";
import { encodePng } from "./png.js";
import { Scene } from "./scene.js";
import { MODES } from "./shaders.js";
import { Camera, clamp, controlCamera } from "./view.js";
import { formatState, parseState } from "./view-state.js";
import { Renderer, RenderError } from "./webgl.js";

const MAX_EXPORT = 32768; // pixels a side
const EXPORT_STEP = 1024; // pixels a side of the pieces that are drawn for a file
const IDLE = 180; // milliseconds without a change after which a reduced picture is drawn in full
const SLOW = 45; // milliseconds of a frame above which the next one, while it moves, has fewer pixels
const THEMES = ["system", "light", "dark"];

const $ = (id) => document.getElementById(id);

/** Show a sentence about what is wrong; without one, hide it. */
function tell(sentence = "") {
  $("problem").textContent = sentence;
  $("problem").hidden = !sentence;
}

/** Say something to screen readers. */
function announce(sentence) {
  $("status").textContent = sentence;
}

/** Return the sentence for an error, and let the console have what is not for readers. */
function explain(error) {
  if (error instanceof DataError || error instanceof RenderError) return error.message;
  console.error(error);
  return `Something went wrong in this page (${error?.message ?? error}). Reload it, or make it again with fastgs view.`;
}

/** One open picture. */
class Viewer {
  constructor(item, number, scene, state) {
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
    this.rest = setTimeout(() => this.settle(), IDLE);
    this.wanted = true;
    this.schedule();
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
      this.quality = 1;
      this.wanted = true;
      this.schedule();
    }
    remember();
    const { camera, scene } = this;
    const zoom = `Zoom ${(100 * camera.zoom).toFixed(0)} %`;
    if (this.spoken && this.spoken !== zoom) {
      announce(`${zoom}, middle at ${camera.x.toFixed(0)}, ${camera.y.toFixed(0)}`);
    }
    this.spoken = zoom;
    const shown = [this.state.k, this.state.layers, this.state.channels].join();
    if (this.measured !== shown && this.renderer && this.frames) {
      if (this.bitmap) this.measured = shown;
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
    this.scene = this.scenes[layers] ??= makeScene(item, this.number, state.layers);
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

let items = [];
let viewer = null;
let decoder = null;
let theme = "system";
let lastHash = "";

/** Keep the state in the address, without an entry in the history for each change. */
function remember() {
  const state = { picture: items.length > 1 && viewer ? viewer.number + 1 : undefined };
  Object.assign(state, viewer?.remembered(), { theme: theme === "system" ? undefined : theme });
  const hash = formatState(state);
  if (hash === lastHash || (hash === "#" && !location.hash)) return;
  lastHash = hash;
  try {
    history.replaceState(null, "", hash);
  } catch {
    // Pages inside others may have no address; the state is then not kept.
  }
}

/** Open what the address says: a picture, or the gallery. */
async function route() {
  const state = parseState(location.hash);
  lastHash = location.hash;
  setTheme(state.theme ?? theme);
  const number = items.length === 1 ? 1 : state.picture;
  tell();
  if (viewer) viewer.closed = true;
  viewer = null;
  document.body.dataset.drawn = "false";
  const open = Number.isInteger(number) && number >= 1 && number <= items.length;
  if (state.picture !== undefined && !open) tell(`This page has no picture ${state.picture}; here are those it has.`);
  $("viewer").hidden = !open;
  $("gallery").hidden = open;
  for (const id of ["back", "neighbours"]) $(id).hidden = !open || items.length === 1;
  if (!open) {
    document.title = $("title").textContent = `${items.length} pictures`;
    return;
  }
  try {
    await openPicture(number - 1, state);
  } catch (error) {
    if (viewer) viewer.renderer = null;
    tell(explain(error));
  }
}

async function openPicture(number, state) {
  const item = items[number];
  document.title = $("title").textContent = item.name;
  const picture = document.querySelectorAll("#pictures img")[number];
  if (picture) $("preview").src = picture.src;
  $("preview").hidden = !picture;
  const camera = new Camera(item.width, item.height);
  camera.resize($("stage").clientWidth, $("stage").clientHeight);
  $("preview").style.width = `${item.width * camera.zoom}px`;
  $("preview").style.height = `${item.height * camera.zoom}px`;
  const { length } = items;
  $("previous").href = `#picture=${((number + length - 1) % length) + 1}`;
  $("next").href = `#picture=${((number + 1) % length) + 1}`;
  $("canvas").setAttribute("aria-label", `${item.name}, ${item.width} by ${item.height} pixels`);
  // The preview is painted before the graphics card is asked for anything, which may keep it from painting.
  await new Promise((resolve) => {
    requestAnimationFrame(() => setTimeout(resolve));
    setTimeout(resolve, 200); // pages that are not seen have no frames
  });
  const last = item.layerCounts.length;
  const known = item.kind === "fgs" && Number.isInteger(state.layers) && state.layers >= 1 && state.layers < last;
  if (!known) state.layers = undefined;
  const scene = makeScene(item, number, state.layers);
  if (state.channels && Number(state.channels) < scene.file.channels) scene.show(state.channels);
  viewer = new Viewer(item, number, scene, state);
  const mine = viewer;
  fillControls(mine);
  mine.connect();
  if (state.zoom) mine.camera.look(state.x ?? scene.width / 2, state.y ?? scene.height / 2, state.zoom);
  mine.resize();
  if (state.pixel) mine.pick(state.pixel);
  if (!item.original) return;
  const bitmap = await readOriginal(number);
  if (mine.closed) return;
  mine.bitmap = bitmap;
  mine.renderer?.setOriginal(bitmap);
  showCompare();
  if (mine.state.pixel) mine.pick(mine.state.pixel);
  mine.resize();
}

/** Return the Gaussians of a picture; of a .fgs file that the page reads itself, also of its first layers only. */
function makeScene(item, number, layers = Infinity) {
  return new Scene(readGaussians(item, number, decoder, layers), item.layerCounts.slice(0, layers));
}

/** Show in the controls what the viewer has. */
function fillControls(mine) {
  const { item, scene, state } = mine;
  mine.showLength();
  $("bytes-row").hidden = item.layerCounts.length < 2;
  $("bytes-slider").max = String(item.layerCounts.length);
  $("overlay").value = state.overlay;
  const names = scene.file.alpha || scene.file.channels <= 1 ? [] : [...Array(scene.file.channels).keys()];
  const whole = scene.file.channels < 3 ? [] : [["", scene.file.channels === 3 ? "RGB" : "first three as RGB"]];
  const options = [...whole, ...names.map((channel) => [String(channel), `channel ${channel + 1}`])];
  $("channels").replaceChildren(...options.map(([value, text]) => Object.assign(element("option", text), { value })));
  $("channels").value = state.channels ?? options[0]?.[0] ?? "";
  $("channels-row").hidden = options.length < 2;
  $("compare-section").hidden = !item.original;
  $("compare").value = state.compare;
  $("split").value = String(Math.round(1000 * state.split));
  $("limit").value = String(state.limit);
  if (!$("limit").value) $("limit").value = String((state.limit = 0.1));
  $("pixel").hidden = true;
  $("pixel-hint").hidden = false;
  $("link-row").hidden = true;
  showBits($("bits"), item.bits, item.count);
  mine.psnr = null;
  mine.showStatistics();
  mine.setCount(state.k);
  showCompare();
}

/** Show the controls that belong to the kind of comparison. */
function showCompare() {
  $("split-row").hidden = viewer.state.compare !== "swipe";
  $("limit-row").hidden = viewer.state.compare !== "error";
}

function setTheme(name) {
  theme = name;
  document.documentElement.dataset.theme = name;
  $("theme").textContent = `Theme: ${name}`;
}

/** Save a file under a name. */
function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

async function save() {
  const part = viewer.showExport(Number($("export-width").value));
  if (!part.fine) return;
  $("save").disabled = true;
  announce("Saving");
  try {
    const stem = viewer.item.name.replace(/\.[^.]*$/, "").replace(/[\\/:*?"<>|]/g, "_") || "picture";
    download(await viewer.encode(part), `${stem}-${part.columns}x${part.rows}.png`);
    announce("Saved");
  } catch (error) {
    tell(`The picture could not be saved (${error.message}); choose a smaller width.`);
  }
  $("save").disabled = false;
}

async function copyLink() {
  remember();
  const link = location.href;
  try {
    await navigator.clipboard.writeText(link);
    announce("Link copied");
    $("copy").textContent = "Copied";
    setTimeout(() => ($("copy").textContent = "Copy link"), 1500);
  } catch {
    // Without access to the clipboard, the reader copies it.
    $("link-row").hidden = false;
    $("link").value = link;
    $("link").select();
  }
}

/** Let the controls act on the open picture. */
function connectControls() {
  const on = (id, event, act) => $(id).addEventListener(event, (happening) => viewer && act(happening));
  on("count", "input", () => $("count").value && viewer.setCount(Number($("count").value), true));
  on("count", "change", () => viewer.setCount(Number($("count").value)));
  on("count-slider", "input", () => {
    viewer.setCount(Math.exp((Number($("count-slider").value) / 1000) * Math.log(Math.max(viewer.scene.length, 2))));
  });
  on("bytes-slider", "input", () => viewer.readLayers(Number($("bytes-slider").value)));
  on("overlay", "change", () => {
    viewer.state.overlay = $("overlay").value;
    viewer.request();
  });
  on("channels", "change", () => {
    viewer.state.channels = $("channels").value;
    viewer.scene.show($("channels").value);
    viewer.renderer?.load(viewer.scene);
    viewer.request();
  });
  on("compare", "change", () => {
    viewer.state.compare = $("compare").value;
    showCompare();
    viewer.resize();
  });
  on("split", "input", () => {
    viewer.state.split = Number($("split").value) / 1000;
    viewer.request(true);
  });
  on("limit", "change", () => {
    viewer.state.limit = Number($("limit").value);
    viewer.request();
  });
  const zoom = (factor) => () => {
    viewer.camera.zoomAt(factor, viewer.camera.stage.width / 2, viewer.camera.stage.height / 2);
    viewer.request(true);
  };
  on("zoom-in", "click", zoom(1.5));
  on("zoom-out", "click", zoom(1 / 1.5));
  on("fit", "click", () => {
    viewer.camera.fit();
    viewer.request();
  });
  on("actual", "click", () => {
    viewer.camera.look(viewer.camera.x, viewer.camera.y, 1 / viewer.ratio);
    viewer.request();
  });
  on("region", "change", () => viewer.showExport());
  on("export-width", "input", () => viewer.showExport(Number($("export-width").value)));
  $("export").addEventListener("submit", (event) => {
    event.preventDefault();
    if (viewer?.renderer) save();
  });
  on("copy", "click", copyLink);
  $("theme").addEventListener("click", () => {
    setTheme(THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length]);
    remember();
  });
  connectHandle();
  connectCanvas();
}

/** Let the edge between the pictures be dragged. */
function connectHandle() {
  const handle = $("handle");
  handle.addEventListener("pointerdown", (event) => {
    if (viewer?.state.compare !== "swipe") return;
    handle.setPointerCapture(event.pointerId);
    const move = (moved) => {
      const box = $("canvas").getBoundingClientRect();
      viewer.state.split = clamp((moved.clientX - box.left) / box.width, 0, 1);
      $("split").value = String(Math.round(1000 * viewer.state.split));
      viewer.request(true);
    };
    handle.addEventListener("pointermove", move);
    const end = () => handle.removeEventListener("pointermove", move);
    handle.addEventListener("pointerup", end, { once: true });
    handle.addEventListener("pointercancel", end, { once: true });
    event.preventDefault();
  });
}

function connectCanvas() {
  const canvas = $("canvas");
  controlCamera(canvas, () => viewer?.camera ?? null, {
    change: () => viewer?.request(true),
    pick: (left, top) => viewer?.pick(viewer.camera.at(left, top).map(Math.floor)),
    key: (event) => viewer !== null && useKey(event.key),
  });
  canvas.addEventListener("webglcontextlost", (event) => {
    event.preventDefault();
    $("preview").hidden = false;
    document.body.dataset.drawn = "false";
    if (viewer) Object.assign(viewer, { renderer: null, frames: 0 });
    tell("The graphics card has dropped this picture. It comes back by itself in most browsers; else reload the page.");
  });
  canvas.addEventListener("webglcontextrestored", () => {
    if (!viewer) return;
    try {
      viewer.connect();
      tell();
    } catch (error) {
      tell(explain(error));
    }
  });
  new ResizeObserver(() => viewer?.resize()).observe(canvas);
}

/** Act on a key of the picture; return true if it has a meaning. */
function useKey(key) {
  const toggle = (name) => {
    viewer.state.overlay = viewer.state.overlay === name ? "none" : name;
    $("overlay").value = viewer.state.overlay;
    viewer.request();
  };
  const acts = {
    e: () => toggle("ellipses"),
    c: () => toggle("centres"),
    "[": () => viewer.setCount(viewer.state.k / 2),
    "]": () => viewer.setCount(viewer.state.k * 2),
    Enter: () => viewer.pick([viewer.camera.x, viewer.camera.y].map(Math.floor)),
    Escape: () => viewer.pick(null),
  };
  const act = acts[key] ?? acts[key.toLowerCase()];
  act?.();
  return Boolean(act);
}

/**
 * Start the page.
 * @param {{decode?: Function}} parts Reader of .fgs files, if the page carries one.
 */
export function start({ decode = null } = {}) {
  decoder = decode;
  window.addEventListener("error", (event) => tell(explain(event.error ?? event.message)));
  window.addEventListener("unhandledrejection", (event) => tell(explain(event.reason)));
  try {
    items = readItems();
  } catch (error) {
    tell(explain(error));
    return;
  }
  connectControls();
  for (const [place, link] of document.querySelectorAll("#pictures a").entries()) link.href = `#picture=${place + 1}`;
  window.addEventListener("hashchange", () => location.hash !== lastHash && route());
  route();
  // For scripts: the open picture as a PNG file, `fastgs.encode({x, y, width, height, columns, rows})`.
  window.fastgs = {
    encode: (part) => viewer.encode(part),
    get viewer() {
      return viewer;
    },
  };
}
