/**
 * Programs of the graphics card. The image is that of fastgs/render/reference.py: weights are
 * `exp(-d^2 / 2) * fade(d^2)`, where the fade falls linearly in d^2 from 1 at 3 standard deviations to 0 at 3.5.
 *
 * Rows of all targets go down as those of images do, but for the screen, whose rows go up.
 */

/** Standard deviations at which the weight begins to fade, and where the support ends. */
export const FADE_START = 3.0;
export const CUTOFF = 3.5;
/** Sum of weights at which the normalized rule is halfway between the colour of the Gaussians and black. */
export const EPSILON = 0.01;
/** Texels of a Gaussian: centre and standard deviations; cosine and sine; colour. */
export const TEXELS = 3;
/** Width of the texture of Gaussians, a multiple of TEXELS. */
export const TEXTURE_WIDTH = 3 * 512;
/** Width of the texture that lists the Gaussians to draw. */
export const LIST_WIDTH = 2048;
/** Vertices of a Gaussian: two triangles, without instancing, which software renderers do one instance at a time. */
export const VERTICES = 6;

const HEAD = `#version 300 es
precision highp float;
precision highp int;
precision highp sampler2D;
precision highp usampler2D;
`;

const FETCH = `
uniform sampler2D gaussians;
uniform usampler2D list; // indices of the Gaussians to draw
uniform int begin; // place of the first in the list
int findIndex() {
  int place = begin + gl_VertexID / ${VERTICES};
  return int(texelFetch(list, ivec2(place % ${LIST_WIDTH}, place / ${LIST_WIDTH}), 0).r);
}
vec4 part(int index, int number) {
  int place = index * ${TEXELS} + number;
  return texelFetch(gaussians, ivec2(place % ${TEXTURE_WIDTH}, place / ${TEXTURE_WIDTH}), 0);
}
vec2 findCorner() {
  int vertex = gl_VertexID % ${VERTICES};
  int number = vertex < 3 ? vertex : 6 - vertex; // 0 1 2, 3 2 1
  return vec2(number & 1, number >> 1) * 2.0 - 1.0;
}
`;

/** Places a quadrilateral over the support of each Gaussian. */
export const SPLAT_VERTEX = `${HEAD}
${FETCH}
uniform vec2 origin; // canvas position of the corner of the target
uniform vec2 scale; // pixels of the target per pixel of the canvas
uniform vec2 size; // of the target, in its pixels
flat out vec2 centre; // in pixels of the target
flat out vec4 frame; // rows of the matrix from pixels of the target to standard deviations
flat out vec4 color;
void main() {
  int index = findIndex();
  vec4 place = part(index, 0);
  vec2 turn = part(index, 1).xy; // cosine and sine
  color = part(index, 2);
  centre = (place.xy - origin) * scale;
  frame = vec4(turn / (place.z * scale), vec2(-turn.y, turn.x) / (place.w * scale));
  vec2 corner = findCorner();
  // A little wider than the support, since rasterizers round corners to parts of a pixel.
  vec2 along = corner * (${CUTOFF.toFixed(1)} * place.zw + 0.1 / min(scale.x, scale.y));
  vec2 offset = along.x * turn + along.y * vec2(-turn.y, turn.x);
  gl_Position = vec4((centre + offset * scale) / size * 2.0 - 1.0, 0.0, 1.0);
}
`;

const WEIGHT = `
flat in vec2 centre;
flat in vec4 frame;
flat in vec4 color;
float weigh() {
  // From the pixel centre itself: positions that are interpolated over a quadrilateral are rounded more.
  vec2 offset = gl_FragCoord.xy - centre;
  float u = dot(offset, frame.xy), v = dot(offset, frame.zw), d2 = u * u + v * v;
  if (d2 >= ${(CUTOFF ** 2).toFixed(2)}) discard;
  float fade = (${(CUTOFF ** 2).toFixed(2)} - d2) / ${(CUTOFF ** 2 - FADE_START ** 2).toFixed(2)};
  return exp(-0.5 * d2) * min(fade, 1.0);
}
`;

/** Adds weighted colours and weights, of opaque pictures in one target. */
export const SPLAT_OPAQUE = `${HEAD}${WEIGHT}
out vec4 sum;
void main() {
  float weight = weigh();
  sum = weight * vec4(color.rgb, 1.0);
}
`;

/** Adds weighted colours with alpha in one target and weights in another. */
export const SPLAT_ALPHA = `${HEAD}${WEIGHT}
layout(location = 0) out vec4 sum;
layout(location = 1) out vec4 weights;
void main() {
  float weight = weigh();
  sum = weight * color;
  weights = vec4(weight);
}
`;

/** Covers the whole target with one triangle. */
export const RESOLVE_VERTEX = `${HEAD}
void main() {
  gl_Position = vec4(vec2(gl_VertexID & 1, gl_VertexID >> 1) * 4.0 - 1.0, 0.0, 1.0);
}
`;

/** Values of `mode` in RESOLVE. */
export const MODES = { image: 0, original: 1, error: 2, swipe: 3, plain: 4, squares: 5 };

/**
 * Makes colours of sums. Each pixel is the mean of `factor` x `factor` samples.
 *
 * `plain` gives colours that are not multiplied by alpha, and alpha, without a checkerboard; `squares` the squared error of each
 * channel.
 */
export const RESOLVE = `${HEAD}
uniform sampler2D sums, weights, original;
uniform int factor, mode;
uniform bool normalized, transparent, flip, hasOriginal;
uniform vec2 corner; // of the viewport in the target, in pixels
uniform vec2 size; // of the viewport
uniform vec2 origin, scale; // of the pixels, not of the samples
uniform vec2 canvasSize;
uniform vec2 checker; // where the checkerboard begins, in pixels
uniform float square, split, limit;
out vec4 result;

vec4 blend(ivec2 at) {
  vec4 sum = texelFetch(sums, at, 0);
  float weight = transparent ? texelFetch(weights, at, 0).r : sum.a;
  vec4 color = transparent ? sum : vec4(sum.rgb, 0.0);
  if (normalized) color /= weight + ${EPSILON.toFixed(2)};
  if (!transparent) color.a = 1.0;
  return color;
}

vec4 drawn(ivec2 pixel) {
  vec4 total = vec4(0.0);
  for (int y = 0; y < factor; y++)
    for (int x = 0; x < factor; x++) total += blend(pixel * factor + ivec2(x, y));
  return clamp(total / float(factor * factor), 0.0, 1.0);
}

vec4 photo(vec2 pixel) {
  vec4 total = vec4(0.0);
  ivec2 bound = textureSize(original, 0);
  for (int y = 0; y < factor; y++)
    for (int x = 0; x < factor; x++) {
      vec2 place = origin + (pixel + (vec2(x, y) + 0.5) / float(factor)) / scale;
      ivec2 at = clamp(ivec2(floor(place / canvasSize * vec2(bound))), ivec2(0), bound - 1);
      vec4 color = texelFetch(original, at, 0);
      total += vec4(color.rgb * color.a, color.a);
    }
  return total / float(factor * factor);
}

vec4 overChecker(vec4 color, vec2 pixel) {
  vec2 cell = floor((pixel - checker) / square);
  float shade = mod(cell.x + cell.y, 2.0) < 0.5 ? 0.8 : 0.6;
  return vec4(color.rgb + (1.0 - color.a) * shade, 1.0);
}

vec3 heat(float t) {
  vec3 low = mix(vec3(0.02, 0.02, 0.06), vec3(0.45, 0.1, 0.45), clamp(t * 3.0, 0.0, 1.0));
  vec3 middle = mix(low, vec3(0.98, 0.45, 0.25), clamp(t * 3.0 - 1.0, 0.0, 1.0));
  return mix(middle, vec3(1.0, 0.98, 0.8), clamp(t * 3.0 - 2.0, 0.0, 1.0));
}

void main() {
  vec2 pixel = floor(gl_FragCoord.xy - corner);
  if (flip) pixel.y = size.y - 1.0 - pixel.y;
  vec2 place = origin + (pixel + 0.5) / scale;
  if (mode < ${MODES.plain} && (any(lessThan(place, vec2(0.0))) || any(greaterThanEqual(place, canvasSize)))) {
    result = vec4(0.0);
    return;
  }
  bool other = mode == ${MODES.original} || (mode == ${MODES.swipe} && pixel.x >= split);
  if (other && hasOriginal) {
    result = overChecker(photo(pixel), pixel);
    return;
  }
  vec4 color = drawn(ivec2(pixel));
  if (mode == ${MODES.plain}) {
    result = vec4(color.a > 0.0 ? clamp(color.rgb / max(color.a, 1e-6), 0.0, 1.0) : vec3(0.0), color.a);
  } else if (mode == ${MODES.squares}) {
    vec4 difference = color - photo(pixel);
    result = difference * difference;
  } else if (mode == ${MODES.error}) {
    vec4 difference = abs(color - photo(pixel));
    float mean = transparent ? dot(difference, vec4(0.25)) : dot(difference.rgb, vec3(1.0 / 3.0));
    result = vec4(heat(clamp(mean / limit, 0.0, 1.0)), 1.0);
  } else {
    result = overChecker(color, pixel);
  }
}
`;

/** Places a quadrilateral over the outline of each Gaussian at one standard deviation, or over its centre. */
export const MARK_VERTEX = `${HEAD}
${FETCH}
uniform vec2 origin, scale, size;
uniform float radius; // of a dot in pixels; 0 for an outline
uniform float line; // thickness of an outline in pixels
out vec2 offset; // from the centre, in pixels
flat out vec4 frame;
void main() {
  int index = findIndex();
  vec4 place = part(index, 0);
  vec2 turn = part(index, 1).xy;
  vec2 corner = findCorner();
  frame = vec4(turn / (place.z * scale), vec2(-turn.y, turn.x) / (place.w * scale));
  if (radius > 0.0) {
    offset = corner * (radius + 1.5);
  } else {
    vec2 along = corner * (place.zw + (line + 1.0) / min(scale.x, scale.y));
    offset = (along.x * turn + along.y * vec2(-turn.y, turn.x)) * scale;
  }
  vec2 at = (place.xy - origin) * scale + offset;
  gl_Position = vec4(vec2(at.x, size.y - at.y) / size * 2.0 - 1.0, 0.0, 1.0);
}
`;

/** Draws an outline or a dot with a smooth edge. */
export const MARK = `${HEAD}
in vec2 offset;
flat in vec4 frame;
uniform float radius, line;
uniform vec4 ink;
out vec4 result;
void main() {
  float cover;
  if (radius > 0.0) {
    cover = clamp(radius + 0.5 - length(offset), 0.0, 1.0);
  } else {
    // Distance in pixels to the ellipse, to first order: the value of the implicit function over its slope.
    vec2 at = vec2(dot(offset, frame.xy), dot(offset, frame.zw));
    float distance = length(at);
    vec2 slope = (at.x * frame.xy + at.y * frame.zw) / max(distance, 1e-6);
    cover = clamp(0.5 * line + 0.5 - abs(distance - 1.0) / max(length(slope), 1e-6), 0.0, 1.0);
  }
  result = vec4(ink.rgb, 1.0) * ink.a * cover;
}
`;
