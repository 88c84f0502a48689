// Forward and backward passes of training on CPU, over float32 tensors in the order (batch, channel, height, width).
//
// Plain functions on memory: Python calls them through ctypes, so they need no header of Paddle and no version of it.
// Each works on the channels [first, last) and on nothing that another channel owns; so several threads may share the
// channels, and the result does not depend on how. A channel's planes of all images of a batch fit into the second
// cache, which makes several passes over them cost hardly more than one.
//
// Vectors are those of GCC and Clang, which fit them to whatever processor they compile for. Nothing here permits the
// compiler to forget NaN or infinity: by them the trainer recognises a broken step.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <vector>

namespace {

#if defined(__AVX512F__)
constexpr long LANES = 16;
#elif defined(__AVX__)
constexpr long LANES = 8;
#else
constexpr long LANES = 4;
#endif

typedef float Vector __attribute__((vector_size(LANES * sizeof(float))));
typedef int Mask __attribute__((vector_size(LANES * sizeof(float))));

inline Vector load(const float* from) {
  Vector value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

inline void store(float* to, Vector value) { std::memcpy(to, &value, sizeof value); }

inline Vector all(float value) { return Vector{} + value; }

inline Vector choose(Mask condition, Vector yes, Vector no) { return condition ? yes : no; }

inline double total(Vector value) {
  double sum = 0;
  for (long lane = 0; lane < LANES; ++lane) sum += value[lane];
  return sum;
}

struct Shape {
  long batch, channels, pixels;
  size_t plane(long image, long channel) const { return (size_t(image) * channels + channel) * pixels; }
};

// Mean and biased variance of a channel; the mean is known before the squares are summed, which thus do not cancel.
void statistics(const float* x, const Shape& shape, long channel, float* mean, float* variance) {
  const double count = double(shape.batch) * shape.pixels;
  double sum = 0;
  for (long image = 0; image < shape.batch; ++image) {
    const float* plane = x + shape.plane(image, channel);
    Vector sums[4] = {};
    long i = 0;
    for (; i + 4 * LANES <= shape.pixels; i += 4 * LANES)
      for (int k = 0; k < 4; ++k) sums[k] += load(plane + i + k * LANES);
    for (; i + LANES <= shape.pixels; i += LANES) sums[0] += load(plane + i);
    for (; i < shape.pixels; ++i) sum += plane[i];
    sum += total((sums[0] + sums[1]) + (sums[2] + sums[3]));
  }
  *mean = float(sum / count);
  const Vector centre = all(*mean);
  double squares = 0;
  for (long image = 0; image < shape.batch; ++image) {
    const float* plane = x + shape.plane(image, channel);
    Vector sums[4] = {};
    long i = 0;
    for (; i + 4 * LANES <= shape.pixels; i += 4 * LANES)
      for (int k = 0; k < 4; ++k) {
        const Vector distance = load(plane + i + k * LANES) - centre;
        sums[k] += distance * distance;
      }
    for (; i + LANES <= shape.pixels; i += LANES) {
      const Vector distance = load(plane + i) - centre;
      sums[0] += distance * distance;
    }
    for (; i < shape.pixels; ++i) squares += double(plane[i] - *mean) * (plane[i] - *mean);
    squares += total((sums[0] + sums[1]) + (sums[2] + sums[3]));
  }
  *variance = float(squares / count);
}

// A plane with a border of zeros, for 3 x 3 windows. Rows follow one another without a gap, so that all windows of a
// plane are one loop; the windows across the ends of rows are computed and left out.
struct Bordered {
  long height, width, stride;  // stride: floats from row to row
  std::vector<float> values;

  Bordered(long height, long width)
      : height(height), width(width), stride(width + 2), values(size_t(height + 5) * (width + 2) + 4 * LANES, 0.f) {}
};

// out[i] = sum over ky, kx of kernel[ky][kx] * in[i + ky * stride + kx], for i up to count rounded up to LANES.
void correlate(const float* in, const float* kernel, float* out, long count, long stride) {
  Vector factors[9];
  for (int k = 0; k < 9; ++k) factors[k] = all(kernel[k]);
  for (long i = 0; i < count; i += LANES) {
    Vector rows[3];
    for (int ky = 0; ky < 3; ++ky) {
      const float* row = in + i + ky * stride;
      rows[ky] = load(row) * factors[3 * ky];
      rows[ky] += load(row + 1) * factors[3 * ky + 1];
      rows[ky] += load(row + 2) * factors[3 * ky + 2];
    }
    store(out + i, (rows[0] + rows[1]) + rows[2]);
  }
}

// sums[ky][kx] += outer[i] * in[i + ky * stride + kx]
void correlate_with(const float* outer, const float* in, Vector* sums, long count, long stride) {
  Vector own[9];
  std::copy(sums, sums + 9, own);
  for (long i = 0; i < count; i += LANES) {
    const Vector factor = load(outer + i);
    for (int ky = 0; ky < 3; ++ky)
      for (int kx = 0; kx < 3; ++kx) own[3 * ky + kx] += factor * load(in + i + ky * stride + kx);
  }
  std::copy(own, own + 9, sums);
}

void spread(const float* plane, long height, long width, float* to, long row_step, long column_step) {
  for (long y = 0; y < height; ++y, plane += width, to += row_step) {
    if (column_step == 1)
      std::memcpy(to, plane, width * sizeof(float));
    else
      for (long x = 0; x < width; ++x) to[x * column_step] = plane[x];
  }
}

}  // namespace

extern "C" {

// Batch normalisation with the statistics of the batch, and PReLU behind it unless slope is null.
// x, y: (batch, channels, pixels); all others: (channels). mean, variance (biased), inverse_std are written.
void norm_forward(const float* x, const float* weight, const float* bias, const float* slope, float* y, float* mean,
                  float* variance, float* inverse_std, long batch, long channels, long pixels, double epsilon,
                  long first, long last) {
  const Shape shape{batch, channels, pixels};
  for (long c = first; c < last; ++c) {
    statistics(x, shape, c, mean + c, variance + c);
    inverse_std[c] = float(1.0 / std::sqrt(double(variance[c]) + epsilon));
    const float scale = weight[c] * inverse_std[c], centre = mean[c], shift = bias[c], below = slope ? slope[c] : 1.f;
    for (long image = 0; image < batch; ++image) {
      const float* from = x + shape.plane(image, c);
      float* to = y + shape.plane(image, c);
      long i = 0;
      for (; i + LANES <= pixels; i += LANES) {
        const Vector value = (load(from + i) - centre) * scale + shift;
        store(to + i, choose(value > 0.f, value, value * below));
      }
      for (; i < pixels; ++i) {
        const float value = (from[i] - centre) * scale + shift;
        to[i] = value > 0.f ? value : value * below;
      }
    }
  }
}

// dy: gradient of y. dx, dweight, dbias and, unless slope is null, dslope are written.
void norm_backward(const float* dy, const float* x, const float* weight, const float* bias, const float* slope,
                   const float* mean, const float* inverse_std, float* dx, float* dweight, float* dbias, float* dslope,
                   long batch, long channels, long pixels, long first, long last) {
  const Shape shape{batch, channels, pixels};
  for (long c = first; c < last; ++c) {
    const float inverse = inverse_std[c], centre = mean[c], scale = weight[c], shift = bias[c];
    // The very arithmetic of the forward pass: otherwise a value near zero could take the other side here.
    const float whole_scale = scale * inverse, below = slope ? slope[c] : 1.f;
    double sum = 0, sum_of_x = 0, sum_below = 0;
    for (long image = 0; image < batch; ++image) {
      const float* from = x + shape.plane(image, c);
      const float* gradient = dy + shape.plane(image, c);
      Vector sums[2] = {}, sums_of_x[2] = {}, sums_below[2] = {};
      long i = 0, k = 0;
      for (; i + LANES <= pixels; i += LANES, k ^= 1) {
        const Vector distance = load(from + i) - centre, value = distance * whole_scale + shift;
        const Vector outer = load(gradient + i);
        const Vector inner = choose(value > 0.f, outer, outer * below);
        sums[k] += inner;
        sums_of_x[k] += inner * distance;
        sums_below[k] += choose(value > 0.f, Vector{}, outer * value);
      }
      for (; i < pixels; ++i) {
        const float distance = from[i] - centre, value = distance * whole_scale + shift;
        const float inner = value > 0.f ? gradient[i] : gradient[i] * below;
        sum += inner;
        sum_of_x += double(inner) * distance;
        sum_below += value > 0.f ? 0.0 : double(gradient[i]) * value;
      }
      sum += total(sums[0] + sums[1]);
      sum_of_x += total(sums_of_x[0] + sums_of_x[1]);
      sum_below += total(sums_below[0] + sums_below[1]);
    }
    dbias[c] = float(sum);
    dweight[c] = float(sum_of_x * inverse);
    if (slope) dslope[c] = float(sum_below);
    const double count = double(batch) * pixels;
    const float mean_gradient = float(sum / count), slope_of_x = float(sum_of_x * inverse * inverse / count);
    for (long image = 0; image < batch; ++image) {
      const float* from = x + shape.plane(image, c);
      const float* gradient = dy + shape.plane(image, c);
      float* to = dx + shape.plane(image, c);
      long i = 0;
      for (; i + LANES <= pixels; i += LANES) {
        const Vector distance = load(from + i) - centre, value = distance * whole_scale + shift;
        const Vector outer = load(gradient + i);
        const Vector inner = choose(value > 0.f, outer, outer * below);
        store(to + i, (inner - mean_gradient - distance * slope_of_x) * whole_scale);
      }
      for (; i < pixels; ++i) {
        const float distance = from[i] - centre, value = distance * whole_scale + shift;
        const float inner = value > 0.f ? gradient[i] : gradient[i] * below;
        to[i] = (inner - mean_gradient - distance * slope_of_x) * whole_scale;
      }
    }
  }
}

// y = x where x > 0, slope * x elsewhere. slope: (channels).
void prelu_forward(const float* x, const float* slope, float* y, long batch, long channels, long pixels, long first,
                   long last) {
  const Shape shape{batch, channels, pixels};
  for (long image = 0; image < batch; ++image)
    for (long c = first; c < last; ++c) {
      const float* from = x + shape.plane(image, c);
      float* to = y + shape.plane(image, c);
      const float below = slope[c];
      long i = 0;
      for (; i + LANES <= pixels; i += LANES) {
        const Vector value = load(from + i);
        store(to + i, choose(value > 0.f, value, value * below));
      }
      for (; i < pixels; ++i) to[i] = from[i] > 0.f ? from[i] : from[i] * below;
    }
}

void prelu_backward(const float* dy, const float* x, const float* slope, float* dx, float* dslope, long batch,
                    long channels, long pixels, long first, long last) {
  const Shape shape{batch, channels, pixels};
  for (long c = first; c < last; ++c) {
    const float below = slope[c];
    double sum_below = 0;
    for (long image = 0; image < batch; ++image) {
      const float* from = x + shape.plane(image, c);
      const float* gradient = dy + shape.plane(image, c);
      float* to = dx + shape.plane(image, c);
      Vector sums = {};
      long i = 0;
      for (; i + LANES <= pixels; i += LANES) {
        const Vector value = load(from + i), outer = load(gradient + i);
        store(to + i, choose(value > 0.f, outer, outer * below));
        sums += choose(value > 0.f, Vector{}, outer * value);
      }
      for (; i < pixels; ++i) {
        to[i] = from[i] > 0.f ? gradient[i] : gradient[i] * below;
        sum_below += from[i] > 0.f ? 0.0 : double(gradient[i]) * from[i];
      }
      sum_below += total(sums);
    }
    dslope[c] = float(sum_below);
  }
}

// Depthwise convolution, 3 x 3, without bias. x: (batch, channels, height, width); weight: (channels, 9);
// y: (batch, channels, out_height, out_width). step: 1 or 2; top, left: 0 or 1 rows and columns of zeros before x, and
// at most 1 behind it.
void depthwise_forward(const float* x, const float* weight, float* y, long batch, long channels, long height,
                       long width, long out_height, long out_width, long step, long top, long left, long first,
                       long last) {
  Bordered in(height, width);
  Bordered out(height, width);
  for (long image = 0; image < batch; ++image)
    for (long c = first; c < last; ++c) {
      const size_t plane = size_t(image) * channels + c;
      spread(x + plane * height * width, height, width, &in.values[top * in.stride + left], in.stride, 1);
      float* to = y + plane * out_height * out_width;
      if (step == 1) {
        correlate(in.values.data(), weight + 9 * c, out.values.data(), out_height * in.stride, in.stride);
        for (long row = 0; row < out_height; ++row)
          std::memcpy(to + row * out_width, &out.values[row * in.stride], out_width * sizeof(float));
        continue;
      }
      for (long row = 0; row < out_height; ++row) {
        const float* from = &in.values[row * step * in.stride];
        correlate(from, weight + 9 * c, out.values.data(), (out_width - 1) * step + 1, in.stride);
        for (long column = 0; column < out_width; ++column) to[row * out_width + column] = out.values[column * step];
      }
    }
}

// The gradient of the input is the correlation of the output's gradient, spread by step, with the turned kernel; the
// gradient of the kernel is its correlation with the input.
void depthwise_backward(const float* dy, const float* x, const float* weight, float* dx, float* dweight, long batch,
                        long channels, long height, long width, long out_height, long out_width, long step, long top,
                        long left, long first, long last) {
  Bordered in(height, width);
  Bordered outer(height, width);
  Bordered result(height, width);
  const long stride = in.stride;
  float* corner = &outer.values[(2 - top) * stride + (2 - left)];  // where the output's pixel 0, 0 has its gradient
  for (long c = first; c < last; ++c) {
    float turned[9];
    std::reverse_copy(weight + 9 * c, weight + 9 * c + 9, turned);
    Vector sums[9] = {};
    for (long image = 0; image < batch; ++image) {
      const size_t plane = size_t(image) * channels + c;
      spread(x + plane * height * width, height, width, &in.values[top * stride + left], stride, 1);
      spread(dy + plane * out_height * out_width, out_height, out_width, corner, step * stride, step);
      correlate_with(corner, in.values.data(), sums, ((out_height - 1) * step + 1) * stride, stride);
      correlate(outer.values.data(), turned, result.values.data(), height * stride, stride);
      for (long row = 0; row < height; ++row)
        std::memcpy(dx + plane * height * width + row * width, &result.values[row * stride], width * sizeof(float));
    }
    for (int k = 0; k < 9; ++k) dweight[9 * c + k] = float(total(sums[k]));
  }
}

// Depthwise convolution whose kernel is as large as the map: a dot product. weight: (channels, pixels);
// y: (batch, channels).
void whole_forward(const float* x, const float* weight, float* y, long batch, long channels, long pixels, long first,
                   long last) {
  const Shape shape{batch, channels, pixels};
  for (long image = 0; image < batch; ++image)
    for (long c = first; c < last; ++c) {
      const float* from = x + shape.plane(image, c);
      const float* factors = weight + c * pixels;
      Vector sums = {};
      double sum = 0;
      long i = 0;
      for (; i + LANES <= pixels; i += LANES) sums += load(from + i) * load(factors + i);
      for (; i < pixels; ++i) sum += double(from[i]) * factors[i];
      y[image * channels + c] = float(sum + total(sums));
    }
}

void whole_backward(const float* dy, const float* x, const float* weight, float* dx, float* dweight, long batch,
                    long channels, long pixels, long first, long last) {
  const Shape shape{batch, channels, pixels};
  for (long c = first; c < last; ++c) std::fill(dweight + c * pixels, dweight + (c + 1) * pixels, 0.f);
  for (long image = 0; image < batch; ++image)
    for (long c = first; c < last; ++c) {
      const float outer = dy[image * channels + c];
      const float* from = x + shape.plane(image, c);
      const float* factors = weight + c * pixels;
      float* to = dx + shape.plane(image, c);
      float* sums = dweight + c * pixels;
      for (long i = 0; i < pixels; ++i) to[i] = outer * factors[i];
      for (long i = 0; i < pixels; ++i) sums[i] += outer * from[i];
    }
}

}  // extern "C"
