// Yardstick for the speed of the numba rasterizer; fastgs itself does not use it.
//
// Normalized blend of K 2D Gaussians, without tiles:
//     w = exp(-d2 / 2) where d2 = a dx^2 + 2 b dx dy + c dy^2 < CUT2,  image = sum(w color) / (sum(w) + EPSILON).
// Pixel centres lie at +0.5. Forward, each thread owns a band of rows and loops over all Gaussians. Backward, each thread
// takes Gaussians and gathers their gradients in registers. Nothing that is written is shared, so nothing is atomic.
//
// In each row, the chord of a Gaussian is cut into blocks of 8 pixels; the last block may exceed the chord, where w = 0.
// Memory: row y of the scratch has four planes (weight, red, green, blue), `planes + (4 y + channel) * stride`, where
// stride >= width + 8 since a block may exceed the image.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <thread>
#include <vector>

namespace {

constexpr int LANES = 8;
constexpr float CUT2 = 3.5f * 3.5f, EPSILON = 1e-2f;
constexpr float SLACK = 2e-2f;  // pixels by which chords are widened against rounding; `d2 < CUT2` decides

typedef float Vec __attribute__((vector_size(4 * LANES)));
typedef int Int __attribute__((vector_size(4 * LANES)));
typedef float Loose __attribute__((vector_size(4 * LANES), aligned(4), may_alias));  // the same at any address

inline Vec load(const float* p) { return *reinterpret_cast<const Loose*>(p); }
inline void store(float* p, Vec v) { *reinterpret_cast<Loose*>(p) = v; }
inline float sum(Vec v) { return ((v[0] + v[4]) + (v[1] + v[5])) + ((v[2] + v[6]) + (v[3] + v[7])); }

// exp(-d2 / 2) where d2 < CUT2, else 0: 2^t = 2^n 2^f, n the nearest integer (added to the exponent bits), and 2^f
// on [-0.5, 0.5] by a polynomial of relative error 8e-8.
inline Vec weight(Vec d2) {
    Vec t = d2 * -0.72134752f;
    Int n = __builtin_convertvector(t - 0.5f, Int);  // towards zero, and t <= 0
    Vec f = t - __builtin_convertvector(n, Vec);
    Vec p = ((((1.3267e-3f * f + 9.67546e-3f) * f + 5.550743e-2f) * f + 0.24022122f) * f + 0.69314695f) * f + 1.0f;
    Vec e = (Vec)((Int)p + (n << 23));
    return d2 < CUT2 ? e : Vec{};
}

struct Gaussian {
    float x, y, a, b, c, det, slope, inverse_a;
    int top, bottom;  // rows [top, bottom)

    Gaussian(const float* mean, const float* conic, int begin, int end)
        : x(mean[0]), y(mean[1]), a(conic[0]), b(conic[1]), c(conic[2]), det(a * c - b * b) {
        inverse_a = 1.0f / a;
        slope = -b * inverse_a;
        float reach = std::sqrt(CUT2 * a / det) + SLACK;
        top = static_cast<int>(std::max(y - reach + 0.5f, static_cast<float>(begin)));
        bottom = static_cast<int>(std::min(std::max(y + reach + 0.5f, 0.0f), static_cast<float>(end)));
    }

    // Calls visit(first pixel, dx, dy) for each block of 8 pixels of the chord of row `row`.
    template <class Visit>
    inline void chord(int row, int width, Visit&& visit) const {
        const Vec ramp = {0, 1, 2, 3, 4, 5, 6, 7};
        float dy = row + 0.5f - y;
        float half = std::sqrt(std::max(CUT2 * a - det * dy * dy, 0.0f)) * inverse_a + SLACK;
        float center = x + slope * dy;
        int first = static_cast<int>(std::max(center - half + 0.5f, 0.0f));
        int end = static_cast<int>(std::min(std::max(center + half + 0.5f, 0.0f), static_cast<float>(width)));
        Vec dx = ramp + (first + 0.5f - x);
        for (int i = first; i < end; i += LANES, dx += static_cast<float>(LANES)) visit(i, dx, dy);
    }

    inline Vec weigh(Vec dx, float dy) const { return weight(dx * (a * dx + 2 * b * dy) + c * dy * dy); }
};

// Band i of `threads` is rows [edge(i), edge(i + 1)).
inline int edge(int height, int i, int threads) { return static_cast<int>(static_cast<long>(height) * i / threads); }

// task(i) for i in [0, parts), shared out among the threads (the caller is one of them).
template <class Task>
void share(int parts, int threads, Task task) {
    std::atomic<int> next{0};
    auto work = [&] { for (int i; (i = next++) < parts;) task(i); };
    std::vector<std::thread> others;
    for (int i = 1; i < threads; i++) others.emplace_back(work);
    work();
    for (auto& other : others) other.join();
}

}  // namespace

// image (3, H, W), inverse (H, W) = 1 / (sum(w) + EPSILON), planes: scratch of H * 4 * stride.
extern "C" void yardstick_forward(const float* means, const float* conics, const float* colors, int count, int height,
                                  int width, int stride, int threads, float* planes, float* image, float* inverse) {
    share(threads, threads, [=](int band) {
        const int begin = edge(height, band, threads), end = edge(height, band + 1, threads);
        std::memset(planes + 4l * begin * stride, 0, 4l * (end - begin) * stride * sizeof(float));
        for (int k = 0; k < count; k++) {
            const Gaussian g(means + 2 * k, conics + 3 * k, begin, end);
            const float red = colors[3 * k], green = colors[3 * k + 1], blue = colors[3 * k + 2];
            for (int row = g.top; row < g.bottom; row++) {
                float* base = planes + 4l * row * stride;
                g.chord(row, width, [&](int i, Vec dx, float dy) {
                    float* p = base + i;
                    const Vec w = g.weigh(dx, dy);
                    store(p, load(p) + w);
                    store(p + stride, load(p + stride) + w * red);
                    store(p + 2 * stride, load(p + 2 * stride) + w * green);
                    store(p + 3 * stride, load(p + 3 * stride) + w * blue);
                });
            }
        }
        for (int row = begin; row < end; row++) {
            const float* p = planes + 4l * row * stride;
            float* inv = inverse + static_cast<long>(row) * width;
            for (int i = 0; i < width; i++) inv[i] = 1.0f / (p[i] + EPSILON);
            for (int ch = 0; ch < 3; ch++) {
                float* out = image + (static_cast<long>(ch) * height + row) * width;
                for (int i = 0; i < width; i++) out[i] = p[(ch + 1) * stride + i] * inv[i];
            }
        }
    });
}

// gradient (3, H, W) is that of the image; d_means (K, 2), d_conics (K, 3), d_colors (K, 3) are written.
extern "C" void yardstick_backward(const float* means, const float* conics, const float* colors, int count, int height,
                                   int width, int stride, int threads, float* planes, const float* image,
                                   const float* inverse, const float* gradient, float* d_means, float* d_conics,
                                   float* d_colors) {
    const long area = static_cast<long>(height) * width;
    // Gradients of the four sums of each pixel; the padding is read too, so it is set to zero.
    share(threads, threads, [=](int band) {
        const int begin = edge(height, band, threads), end = edge(height, band + 1, threads);
        for (int row = begin; row < end; row++) {
            float* __restrict p = planes + 4l * row * stride;
            const float *im = image + static_cast<long>(row) * width, *gr = gradient + static_cast<long>(row) * width;
            const float* inv = inverse + static_cast<long>(row) * width;
            for (int i = 0; i < width; i++) {
                const float r = gr[i] * inv[i], g = gr[area + i] * inv[i], b = gr[2 * area + i] * inv[i];
                p[stride + i] = r, p[2 * stride + i] = g, p[3 * stride + i] = b;
                p[i] = -(r * im[i] + g * im[area + i] + b * im[2 * area + i]);
            }
            for (int ch = 0; ch < 4; ch++) std::fill(p + ch * stride + width, p + (ch + 1) * stride, 0.0f);
        }
    });
    constexpr int CHUNK = 256;
    share((count + CHUNK - 1) / CHUNK, threads, [=](int chunk) {
        for (int k = chunk * CHUNK; k < std::min(count, (chunk + 1) * CHUNK); k++) {
            const Gaussian g(means + 2 * k, conics + 3 * k, 0, height);
            const float red = colors[3 * k], green = colors[3 * k + 1], blue = colors[3 * k + 2];
            Vec tx{}, ty{}, txx{}, txy{}, tyy{}, tr{}, tg{}, tb{};  // moments of t = w dL/dw, and the colors
            for (int row = g.top; row < g.bottom; row++) {
                const float* base = planes + 4l * row * stride;
                g.chord(row, width, [&](int i, Vec dx, float dy) {
                    const float* p = base + i;
                    const Vec w = g.weigh(dx, dy);
                    const Vec up_r = load(p + stride), up_g = load(p + 2 * stride), up_b = load(p + 3 * stride);
                    tr += w * up_r, tg += w * up_g, tb += w * up_b;
                    const Vec t = w * (load(p) + red * up_r + green * up_g + blue * up_b);
                    const Vec u = t * dx, v = t * dy;
                    tx += u, ty += v, txx += u * dx, txy += u * dy, tyy += v * dy;
                });
            }
            const float sx = sum(tx), sy = sum(ty);
            d_means[2 * k] = g.a * sx + g.b * sy, d_means[2 * k + 1] = g.b * sx + g.c * sy;
            d_conics[3 * k] = -0.5f * sum(txx), d_conics[3 * k + 1] = -sum(txy), d_conics[3 * k + 2] = -0.5f * sum(tyy);
            d_colors[3 * k] = sum(tr), d_colors[3 * k + 1] = sum(tg), d_colors[3 * k + 2] = sum(tb);
        }
    });
}
