/**
 * Draws Gaussians with WebGL2: every Gaussian adds its weighted colour and its weight to floating-point targets, and a
 * second pass makes colours of the sums. Nothing is drawn that is not in view.
 */

import {
  LIST_WIDTH,
  MARK,
  MARK_VERTEX,
  MODES,
  RESOLVE,
  RESOLVE_VERTEX,
  SPLAT_ALPHA,
  SPLAT_OPAQUE,
  SPLAT_VERTEX,
  TEXELS,
  TEXTURE_WIDTH,
  VERTICES,
} from "./shaders.js";

/** Largest side of a target in samples: larger pictures are drawn in tiles. */
const TILE = 2048;
/** Samples that are drawn before the graphics card is told to begin, so that no command takes it for seconds. */
const SLICE = 4e7;

/** Vertex and fragment shader of each program. */
const SOURCES = {
  opaque: [SPLAT_VERTEX, SPLAT_OPAQUE],
  alpha: [SPLAT_VERTEX, SPLAT_ALPHA],
  resolve: [RESOLVE_VERTEX, RESOLVE],
  mark: [MARK_VERTEX, MARK],
};

/** Error with a sentence for the reader of the page. */
export class RenderError extends Error {}

/**
 * @typedef {object} View Part of the canvas of the Gaussians, and the pixels that show it.
 * @property {number} originX Canvas position of the left edge of the pixels.
 * @property {number} originY Canvas position of their upper edge.
 * @property {number} scaleX Pixels per pixel of the canvas.
 * @property {number} scaleY Likewise, downwards.
 * @property {number} width Number of pixels in a row.
 * @property {number} height Number of rows.
 * @property {number} count Number of Gaussians, from the most important.
 */

/** Renderer of one canvas element. */
export class Renderer {
  /**
   * @param {HTMLCanvasElement} canvas Element to draw to.
   * @param {boolean} half True to use half-precision targets even where single precision is there.
   * @throws {RenderError} The browser lacks what is needed.
   */
  constructor(canvas, half = false) {
    const options = { alpha: true, antialias: false, depth: false, premultipliedAlpha: true };
    const gl = canvas.getContext("webgl2", options);
    if (!gl) throw new RenderError("This browser has no WebGL2, or it is switched off, so Gaussians cannot be drawn.");
    this.gl = gl;
    this.canvas = canvas;
    const float = gl.getExtension("EXT_color_buffer_float");
    const single = float && gl.getExtension("EXT_float_blend") && !half;
    if (!float && !gl.getExtension("EXT_color_buffer_half_float")) {
      throw new RenderError("This graphics card cannot draw to floating-point targets, so Gaussians cannot be drawn.");
    }
    /** Precision of the sums, for the statistics. */
    this.precision = single ? "32-bit float" : "16-bit float (this graphics card blends no 32-bit ones)";
    this.format = single ? gl.RGBA32F : gl.RGBA16F;
    this.side = Math.min(TILE, gl.getParameter(gl.MAX_TEXTURE_SIZE));
    this.programs = {};
    this.nothing = gl.createVertexArray();
    this.original = null;
    this.targets = null;
    this.drawn = "";
    gl.disable(gl.DEPTH_TEST);
    gl.disable(gl.DITHER);
  }

  /**
   * Take the Gaussians to draw.
   * @param {import("./scene.js").Scene} scene Gaussians in order of importance.
   * @throws {RenderError} There are more than the graphics card holds.
   */
  load(scene) {
    const { gl } = this;
    this.scene = scene;
    this.drawn = "";
    const rows = Math.max(1, Math.ceil((scene.length * TEXELS) / TEXTURE_WIDTH));
    if (rows > gl.getParameter(gl.MAX_TEXTURE_SIZE)) {
      throw new RenderError(`This graphics card does not hold ${scene.length} Gaussians.`);
    }
    gl.deleteTexture(this.gaussians ?? null);
    this.gaussians = makeTexture(gl);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA32F, TEXTURE_WIDTH, rows, 0, gl.RGBA, gl.FLOAT, scene.texels(rows));
    gl.deleteTexture(this.list ?? null);
    this.list = makeTexture(gl);
    const lines = Math.max(1, Math.ceil(scene.length / LIST_WIDTH));
    gl.texStorage2D(gl.TEXTURE_2D, 1, gl.R32UI, LIST_WIDTH, lines);
    this.listed = new Uint32Array(LIST_WIDTH * lines);
  }

  /**
   * Take the photo to compare with.
   * @param {?ImageBitmap} image Photo with colours that are not multiplied by alpha.
   */
  setOriginal(image) {
    const { gl } = this;
    gl.deleteTexture(this.original);
    this.original = null;
    if (!image || Math.max(image.width, image.height) > gl.getParameter(gl.MAX_TEXTURE_SIZE)) return;
    this.original = makeTexture(gl);
    gl.pixelStorei(gl.UNPACK_PREMULTIPLY_ALPHA_WEBGL, false);
    gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, gl.RGBA, gl.UNSIGNED_BYTE, image);
  }

  /**
   * Draw to the screen.
   * @param {View[]} panes Parts of the screen from left to right, each with a `mode` of MODES and its left edge `left`.
   * @param {object} look Options: `split`, `limit`, `square`, `overlay`, `line`, `dot`, `selected`.
   */
  show(panes, look) {
    const { gl, canvas } = this;
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    for (const pane of panes) {
      this.#paint(pane, { ...look, mode: pane.mode, flip: true, left: pane.left, rows: canvas.height, frame: null });
      if (look.overlay !== "none") this.#mark(pane, look, this.#choose(pane), look.overlay === "centres");
      if (look.selected.length) this.#markSelected(pane, look);
    }
  }

  /**
   * Return 8-bit pixels, rows downwards, with colours that are not multiplied by alpha.
   * @param {View} view Part to draw, at most as large as the largest target.
   * @returns {Uint8Array} R, G, B, A of each pixel.
   */
  read(view) {
    const { gl } = this;
    const pixels = new Uint8Array(4 * view.width * view.height);
    this.#intoTexture(view, gl.RGBA8, MODES.plain, () => {
      gl.readPixels(0, 0, view.width, view.height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
    });
    return pixels;
  }

  /**
   * Return the PSNR in dB of the picture at the size of the original, against the original in 8 bits.
   * @param {number} count Number of Gaussians.
   * @returns {?number} PSNR; null without an original.
   */
  measure(count) {
    const { gl, scene } = this;
    if (!this.original) return null;
    const { width, height } = scene;
    const step = 512;
    const used = scene.gray ? [0] : [0, 1, 2];
    if (scene.alpha) used.push(3);
    let total = 0;
    for (let top = 0; top < height; top += step) {
      for (let left = 0; left < width; left += step) {
        const [columns, rows] = [Math.min(step, width - left), Math.min(step, height - top)];
        const view = { originX: left, originY: top, scaleX: 1, scaleY: 1, width: columns, height: rows, count };
        const squares = new Float32Array(4 * columns * rows);
        this.#intoTexture(view, this.format, MODES.squares, () => {
          gl.readPixels(0, 0, columns, rows, gl.RGBA, gl.FLOAT, squares);
        });
        for (let place = 0; place < squares.length; place += 4) {
          for (const channel of used) total += squares[place + channel];
        }
      }
    }
    return -10 * Math.log10(Math.max(total / (width * height * used.length), 1e-10));
  }

  /**
   * Call back when everything that was drawn so far is done.
   * @param {(lost: boolean) => void} then Callback; true if the context was lost meanwhile.
   */
  whenDone(then) {
    const { gl } = this;
    const fence = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0);
    gl.flush();
    const look = () => {
      if (gl.isContextLost() || !fence) return then(true);
      const state = gl.clientWaitSync(fence, 0, 0);
      if (state === gl.TIMEOUT_EXPIRED) return void setTimeout(look, 2);
      gl.deleteSync(fence);
      return then(false);
    };
    setTimeout(look, 0);
  }

  /** Return a program by its name in SOURCES; it is compiled when it is first used. */
  #program(name) {
    this.programs[name] ??= build(this.gl, ...SOURCES[name]);
    return this.programs[name];
  }

  /** Draw a view into a texture of a format, call back while it is bound, and delete it. */
  #intoTexture(view, format, mode, use) {
    const { gl } = this;
    const texture = makeTexture(gl);
    gl.texStorage2D(gl.TEXTURE_2D, 1, format, view.width, view.height);
    const frame = gl.createFramebuffer();
    gl.bindFramebuffer(gl.FRAMEBUFFER, frame);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0);
    const look = { mode, flip: false, left: 0, rows: view.height, frame, split: 0, limit: 1, square: 8 };
    this.#paint(view, look);
    gl.bindFramebuffer(gl.FRAMEBUFFER, frame);
    use();
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.deleteFramebuffer(frame);
    gl.deleteTexture(texture);
  }

  /** Draw a view, tile by tile: sums first, then colours. */
  #paint(view, look) {
    // Where pixels are larger than those of the canvas, each is the mean of as many samples as cover it.
    const factor = Math.max(1, Math.min(Math.ceil(1 / Math.min(view.scaleX, view.scaleY) - 1e-6), this.side));
    const step = Math.max(1, Math.floor(this.side / factor));
    for (let top = 0; top < view.height; top += step) {
      for (let left = 0; left < view.width; left += step) {
        const tile = {
          ...view,
          originX: view.originX + left / view.scaleX,
          originY: view.originY + top / view.scaleY,
          width: Math.min(step, view.width - left),
          height: Math.min(step, view.height - top),
        };
        if (look.mode !== MODES.original) this.#accumulate(tile, factor);
        this.#resolve(tile, factor, view, left, top, look);
      }
    }
  }

  /** Add up the Gaussians of a tile, unless the targets hold just that. */
  #accumulate(tile, factor) {
    const { gl, scene } = this;
    const key = [tile.originX, tile.originY, tile.scaleX, tile.scaleY, tile.width, tile.height, tile.count].join();
    if (key === this.drawn) return;
    this.drawn = key;
    const [width, height] = [tile.width * factor, tile.height * factor];
    this.#prepareTargets(width, height);
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.targets.frame);
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    const program = this.#program(scene.alpha ? "alpha" : "opaque");
    gl.useProgram(program.id);
    const chosen = this.#choose(tile);
    this.#bindGaussians(program, chosen);
    gl.uniform2f(program.origin, tile.originX, tile.originY);
    gl.uniform2f(program.scale, tile.scaleX * factor, tile.scaleY * factor);
    gl.uniform2f(program.size, width, height);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE);
    const perSample = tile.scaleX * tile.scaleY * factor * factor;
    let begin = 0;
    let load = 0;
    for (let place = 0; place < chosen.length; place++) {
      load += 64 + Math.min(scene.area(chosen[place]) * perSample, width * height);
      if (load > SLICE || place === chosen.length - 1) {
        this.#drawListed(program, begin, place + 1 - begin);
        gl.flush();
        [begin, load] = [place + 1, 0];
      }
    }
    gl.disable(gl.BLEND);
  }

  /** Make colours of the sums of a tile. */
  #resolve(tile, factor, view, left, top, look) {
    const { gl, scene } = this;
    const program = this.#program("resolve");
    gl.bindFramebuffer(gl.FRAMEBUFFER, look.frame);
    const x = look.left + left;
    const y = look.flip ? look.rows - top - tile.height : top;
    gl.viewport(x, y, tile.width, tile.height);
    gl.useProgram(program.id);
    bind(gl, 0, this.targets ? this.targets.sums : this.gaussians);
    bind(gl, 1, this.targets?.weights ?? this.gaussians);
    bind(gl, 2, this.original ?? this.gaussians);
    gl.uniform1i(program.sums, 0);
    gl.uniform1i(program.weights, 1);
    gl.uniform1i(program.original, 2);
    gl.uniform1i(program.factor, factor);
    gl.uniform1i(program.mode, look.mode);
    gl.uniform1i(program.normalized, Number(scene.normalized));
    gl.uniform1i(program.transparent, Number(scene.alpha));
    gl.uniform1i(program.flip, Number(look.flip));
    gl.uniform1i(program.hasOriginal, Number(Boolean(this.original)));
    gl.uniform2f(program.corner, x, y);
    gl.uniform2f(program.size, tile.width, tile.height);
    gl.uniform2f(program.origin, tile.originX, tile.originY);
    gl.uniform2f(program.scale, tile.scaleX, tile.scaleY);
    gl.uniform2f(program.canvasSize, scene.width, scene.height);
    gl.uniform2f(program.checker, -view.originX * view.scaleX - left, -view.originY * view.scaleY - top);
    gl.uniform1f(program.square, look.square);
    gl.uniform1f(program.split, look.split - left);
    gl.uniform1f(program.limit, look.limit);
    gl.bindVertexArray(this.nothing);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  /** Draw outlines or centres over a pane. */
  #mark(pane, look, chosen, dots, ink = [1, 0.84, 0.29, 0.9], line = look.line) {
    const { gl, canvas } = this;
    const program = this.#program("mark");
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.viewport(pane.left, canvas.height - pane.height, pane.width, pane.height);
    gl.useProgram(program.id);
    this.#bindGaussians(program, chosen);
    gl.uniform2f(program.origin, pane.originX, pane.originY);
    gl.uniform2f(program.scale, pane.scaleX, pane.scaleY);
    gl.uniform2f(program.size, pane.width, pane.height);
    gl.uniform1f(program.radius, dots ? look.dot : 0);
    gl.uniform1f(program.line, line);
    gl.uniform4f(program.ink, ...ink);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    this.#drawListed(program, 0, chosen.length);
    gl.disable(gl.BLEND);
  }

  /** Draw the outlines of the Gaussians that make a pixel, bright on dark, to be seen on everything. */
  #markSelected(pane, look) {
    const chosen = Uint32Array.from(look.selected.filter((index) => index < pane.count));
    this.#mark(pane, look, chosen, false, [0, 0, 0, 0.8], 2 * look.line + 2);
    this.#mark(pane, look, chosen, false, [0.35, 0.9, 1, 1], look.line + 0.5);
  }

  /** Return the indices of the Gaussians that reach a view. */
  #choose(view) {
    const right = view.originX + view.width / view.scaleX;
    const bottom = view.originY + view.height / view.scaleY;
    return this.scene.within(view.originX, view.originY, right, bottom, view.count);
  }

  /** Let a program that is in use read the Gaussians, and the list of those to draw. */
  #bindGaussians(program, chosen) {
    const { gl, listed } = this;
    bind(gl, 0, this.gaussians);
    bind(gl, 1, this.list);
    gl.uniform1i(program.gaussians, 0);
    gl.uniform1i(program.list, 1);
    listed.set(chosen);
    const lines = Math.ceil(chosen.length / LIST_WIDTH);
    const part = listed.subarray(0, lines * LIST_WIDTH);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, LIST_WIDTH, lines, gl.RED_INTEGER, gl.UNSIGNED_INT, part);
  }

  /** Draw some Gaussians of the list. */
  #drawListed(program, begin, count) {
    const { gl } = this;
    gl.bindVertexArray(this.nothing);
    gl.uniform1i(program.begin, begin);
    gl.drawArrays(gl.TRIANGLES, 0, VERTICES * count);
  }

  /** Make the targets of the sums at least as large as asked for. */
  #prepareTargets(width, height) {
    const { gl, scene, targets } = this;
    const count = scene.alpha ? 2 : 1;
    if (targets && targets.count === count && targets.width >= width && targets.height >= height) return;
    if (targets) {
      gl.deleteTexture(targets.sums);
      gl.deleteTexture(targets.weights);
      gl.deleteFramebuffer(targets.frame);
    }
    const made = { count, weights: null, frame: gl.createFramebuffer() };
    made.width = Math.max(width, targets?.width ?? 0);
    made.height = Math.max(height, targets?.height ?? 0);
    gl.bindFramebuffer(gl.FRAMEBUFFER, made.frame);
    const names = ["sums", "weights"].slice(0, count);
    names.forEach((name, number) => {
      made[name] = makeTexture(gl);
      gl.texStorage2D(gl.TEXTURE_2D, 1, this.format, made.width, made.height);
      gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0 + number, gl.TEXTURE_2D, made[name], 0);
    });
    gl.drawBuffers(names.map((_, number) => gl.COLOR_ATTACHMENT0 + number));
    this.targets = made;
    if (gl.checkFramebufferStatus(gl.FRAMEBUFFER) !== gl.FRAMEBUFFER_COMPLETE && !gl.isContextLost()) {
      throw new RenderError("This graphics card refuses floating-point targets, so Gaussians cannot be drawn.");
    }
  }
}

/** Return a texture that is bound and read without interpolation. */
function makeTexture(gl) {
  const texture = gl.createTexture();
  gl.activeTexture(gl.TEXTURE0);
  gl.bindTexture(gl.TEXTURE_2D, texture);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
  gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
  return texture;
}

function bind(gl, unit, texture) {
  gl.activeTexture(gl.TEXTURE0 + unit);
  gl.bindTexture(gl.TEXTURE_2D, texture);
}

/**
 * Compile a program.
 * @returns {object} `id`, and the place of each uniform by its name.
 */
function build(gl, vertex, fragment) {
  const id = gl.createProgram();
  const shaders = [
    [gl.VERTEX_SHADER, vertex],
    [gl.FRAGMENT_SHADER, fragment],
  ].map(([kind, source]) => {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(id, shader);
    return shader;
  });
  gl.linkProgram(id);
  if (!gl.getProgramParameter(id, gl.LINK_STATUS) && !gl.isContextLost()) {
    const log = [...shaders.map((shader) => gl.getShaderInfoLog(shader)), gl.getProgramInfoLog(id)].join(" ");
    throw new RenderError(`This graphics card does not take the programs of this page (${log.trim()}).`);
  }
  const program = { id };
  const count = gl.getProgramParameter(id, gl.ACTIVE_UNIFORMS) ?? 0;
  for (let number = 0; number < count; number++) {
    const { name } = gl.getActiveUniform(id, number);
    program[name] = gl.getUniformLocation(id, name);
  }
  return program;
}
