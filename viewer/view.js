/** What is in view: the point in the middle of the stage and the zoom, in pixels of the page per pixel of the canvas. */

export const MAX_ZOOM = 100;
const MAX_FIT = 8;

/** Part of a canvas that is in view. */
export class Camera {
  /**
   * @param {number} width Width of the canvas of the Gaussians.
   * @param {number} height Its height.
   */
  constructor(width, height) {
    this.canvas = { width, height };
    this.stage = { width: 1, height: 1 };
    /** True while the whole picture is fitted into the stage, also when that changes its size. */
    this.fitted = true;
    this.x = width / 2;
    this.y = height / 2;
    this.zoom = 1;
  }

  /** Return the zoom at which the picture fills the stage; small ones are enlarged at most so many times. */
  get fitZoom() {
    return Math.min(this.stage.width / this.canvas.width, this.stage.height / this.canvas.height, MAX_FIT);
  }

  get minZoom() {
    return Math.min(0.5 * this.fitZoom, 0.1);
  }

  /** Take the size of the stage in pixels of the page. */
  resize(width, height) {
    this.stage = { width: Math.max(1, width), height: Math.max(1, height) };
    if (this.fitted) this.fit();
  }

  fit() {
    this.fitted = true;
    this.x = this.canvas.width / 2;
    this.y = this.canvas.height / 2;
    this.zoom = this.fitZoom;
  }

  /** Show a point in the middle at a zoom; both are limited to what makes sense. */
  look(x, y, zoom) {
    this.fitted = false;
    this.zoom = clamp(zoom, this.minZoom, MAX_ZOOM);
    this.x = clamp(x, 0, this.canvas.width);
    this.y = clamp(y, 0, this.canvas.height);
  }

  /** Move the picture by pixels of the page. */
  pan(dx, dy) {
    this.look(this.x - dx / this.zoom, this.y - dy / this.zoom, this.zoom);
  }

  /** Zoom by a factor so that what is at a place of the stage stays there. */
  zoomAt(factor, left, top) {
    const zoom = clamp(this.zoom * factor, this.minZoom, MAX_ZOOM);
    const [dx, dy] = [left - this.stage.width / 2, top - this.stage.height / 2];
    const change = 1 / this.zoom - 1 / zoom;
    this.look(this.x + dx * change, this.y + dy * change, zoom);
  }

  /** Return the canvas position at a place of the stage. */
  at(left, top) {
    return [this.x + (left - this.stage.width / 2) / this.zoom, this.y + (top - this.stage.height / 2) / this.zoom];
  }

  /**
   * Return the view of a renderer.
   * @param {number} ratio Pixels of the screen per pixel of the page.
   * @param {number} width Width in pixels of the screen.
   * @param {number} height Height in pixels of the screen.
   */
  project(ratio, width, height) {
    const scale = this.zoom * ratio;
    let [left, top] = [width / 2 - this.x * scale, height / 2 - this.y * scale];
    // At whole factors, pixels of the canvas cover whole pixels of the screen.
    if (Math.abs(scale - Math.round(scale)) < 1e-6 && scale > 0.5) [left, top] = [Math.round(left), Math.round(top)];
    return { originX: -left / scale, originY: -top / scale, scaleX: scale, scaleY: scale, width, height };
  }
}

export function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}

/**
 * Move a camera by mouse, touch and keys.
 * @param {HTMLElement} element Element that takes the input.
 * @param {() => ?Camera} find Callable that returns the camera to move, or null.
 * @param {object} on Callbacks: `change()` after a move; `pick(left, top)` at a click; `key(event)` for other keys, which
 *     returns true if it has used one.
 */
export function controlCamera(element, find, on) {
  const pointers = new Map();
  let moved = false;
  const place = (event) => {
    const box = element.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  // Of two panes side by side, the right one shows what the left one does.
  const local = ([left, top]) => {
    const { width } = find().stage;
    return [left >= width ? left - width : left, top];
  };
  const spread = () => {
    const [[x1, y1], [x2, y2]] = pointers.values();
    return { x: (x1 + x2) / 2, y: (y1 + y2) / 2, distance: Math.max(1, Math.hypot(x1 - x2, y1 - y2)) };
  };
  element.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !find()) return;
    element.setPointerCapture(event.pointerId);
    if (pointers.size < 2) pointers.set(event.pointerId, place(event));
    moved = pointers.size > 1;
  });
  element.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    const camera = find();
    if (!before || !camera) return;
    const now = place(event);
    if (pointers.size === 1) {
      // A tap that trembles is still a tap.
      if (!moved && Math.hypot(now[0] - before[0], now[1] - before[1]) < 4) return;
      moved = true;
      camera.pan(now[0] - before[0], now[1] - before[1]);
      pointers.set(event.pointerId, now);
    } else {
      const was = spread();
      pointers.set(event.pointerId, now);
      const is = spread();
      camera.pan(is.x - was.x, is.y - was.y);
      camera.zoomAt(is.distance / was.distance, ...local([is.x, is.y]));
    }
    on.change();
  });
  const release = (event) => {
    const known = pointers.delete(event.pointerId);
    if (known && !moved && event.type === "pointerup" && find()) on.pick(...local(place(event)));
  };
  element.addEventListener("pointerup", release);
  element.addEventListener("pointercancel", release);
  element.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const camera = find();
      if (!camera) return;
      const lines = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? 400 : 1;
      // Browsers report a pinch on a touchpad as a wheel with the control key, in small steps.
      const speed = event.ctrlKey ? 0.01 : 0.002;
      camera.zoomAt(Math.exp(-clamp(event.deltaY * lines, -400, 400) * speed), ...local(place(event)));
      on.change();
    },
    { passive: false },
  );
  element.addEventListener("keydown", (event) => {
    const camera = find();
    if (!camera || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = event.shiftKey ? 200 : 50;
    const { width, height } = camera.stage;
    const moves = {
      ArrowLeft: () => camera.pan(step, 0),
      ArrowRight: () => camera.pan(-step, 0),
      ArrowUp: () => camera.pan(0, step),
      ArrowDown: () => camera.pan(0, -step),
      "+": () => camera.zoomAt(1.25, width / 2, height / 2),
      "=": () => camera.zoomAt(1.25, width / 2, height / 2),
      "-": () => camera.zoomAt(0.8, width / 2, height / 2),
      0: () => camera.fit(),
      1: () => camera.look(camera.x, camera.y, 1),
    };
    if (moves[event.key]) {
      moves[event.key]();
      on.change();
    } else if (!on.key(event)) {
      return;
    }
    event.preventDefault();
  });
}
