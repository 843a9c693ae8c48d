/** The page: which picture is open, its controls, and its state in the address. */

import { describeFile, readItems, readOriginal, readWeights } from "./data.js";
import { $, announce, explain, tell } from "./dom.js";
import { element, showBits } from "./facts.js";
import { Camera, clamp, controlCamera } from "./view.js";
import { formatState, parseState } from "./view-state.js";
import { Viewer } from "./viewer.js";

const GLIDE = 150; // milliseconds of a zoom by a button
const THEMES = ["system", "light", "dark"];

let items = [];
let viewer = null;
let decoder = null;
let inspector = null;
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
  const picture = item.data ? undefined : document.querySelectorAll("#pictures img")[number];
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
  viewer = new Viewer(item, number, state, { decoder, onRest: remember });
  const mine = viewer;
  const { scene } = mine;
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
  $("theme").hidden = false;
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
  on("zoom-in", "click", () => glide(1.5));
  on("zoom-out", "click", () => glide(1 / 1.5));
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

/** Zoom about the middle by a factor, within a moment; at once where movement is unwanted or frames take longer. */
function glide(factor) {
  const mine = viewer;
  const still = mine.duration > GLIDE / 3 || matchMedia("(prefers-reduced-motion: reduce)").matches;
  const begin = performance.now();
  let done = 0;
  const step = (now) => {
    if (mine.closed) return;
    const share = still ? 1 : clamp((now - begin) / GLIDE, 0, 1);
    mine.camera.zoomAt(factor ** (share - done), mine.camera.stage.width / 2, mine.camera.stage.height / 2);
    mine.request(true);
    done = share;
    if (share < 1) requestAnimationFrame(step);
  };
  step(begin);
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

/** Let .fgs files that are dropped anywhere on the page be opened in it. */
function connectDrop() {
  window.addEventListener("dragover", (event) => event.preventDefault());
  window.addEventListener("drop", async (event) => {
    event.preventDefault(); // the browser would leave the page
    const file = event.dataTransfer?.files[0];
    if (!file) return;
    try {
      openFile(file.name, new Uint8Array(await file.arrayBuffer()));
    } catch (error) {
      tell(`${file.name}: ${explain(error)}`);
    }
  });
}

/** Open the bytes of a .fgs file in place of what the page carries. */
function openFile(name, bytes) {
  const item = describeFile(name, bytes, decoder, inspector);
  items = [item];
  $("pictures").replaceChildren();
  history.replaceState(null, "", "#");
  route();
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
 * @param {{decode?: Function, inspect?: Function, setModel?: Function}} parts Reader of .fgs files, if the page
 *   carries one, and what takes the weights that it needs.
 */
export function start({ decode = null, inspect = null, setModel = null } = {}) {
  decoder = decode;
  inspector = inspect;
  if (decode && inspect) connectDrop();
  window.addEventListener("error", (event) => tell(explain(event.error ?? event.message)));
  window.addEventListener("unhandledrejection", (event) => tell(explain(event.reason)));
  try {
    items = readItems();
    if (setModel) for (const [number, weights] of readWeights()) setModel(number, weights);
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
