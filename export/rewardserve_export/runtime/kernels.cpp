// Fused CPU kernels for packed reward models: what oneDNN has no primitive for.
//
// Matrix products with weights are oneDNN's, called through PyTorch's own operators. Everything between them is here, each
// as one pass over its rows: a row's result never depends on the other rows of the batch.

#include <ATen/Parallel.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

namespace {

using at::BFloat16;
using at::Tensor;

// --- Numbers -------------------------------------------------------------------------------------------------------

// Written so that the compiler vectorises them: no branch, no call (it doesn't always inline by itself). NaN stays NaN.
#define INLINE __attribute__((always_inline)) inline

constexpr int64_t LANES = 16;

INLINE float widen(float x) { return x; }

INLINE float widen(BFloat16 x) {
  uint32_t bits = static_cast<uint32_t>(x.x) << 16;
  float wide;
  std::memcpy(&wide, &bits, sizeof wide);
  return wide;
}

template <typename T>
INLINE T narrow(float x);

template <>
INLINE float narrow(float x) { return x; }

template <>
INLINE BFloat16 narrow(float x) {  // to the nearest, ties to even
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  return BFloat16(static_cast<uint16_t>(x != x ? 0x7fc0 : rounded), BFloat16::from_bits());
}

// e^x within 2 units in the last place: 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2] (Cephes' expf).
INLINE float exponential(float x) {
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  float n = std::nearbyint(x * 1.44269504f);
  float r = std::fma(n, 2.12194440e-4f, std::fma(n, -0.693359375f, x));
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  int32_t bits = (static_cast<int32_t>(n) + 127) << 23;
  float power;
  std::memcpy(&power, &bits, sizeof power);
  return p * power;
}

typedef float Vector __attribute__((vector_size(LANES * sizeof(float)), aligned(4)));

INLINE Vector load(const float* from) {
  Vector wide;
  std::memcpy(&wide, from, sizeof wide);
  return wide;
}

INLINE Vector load(const BFloat16* from) {
  typedef uint16_t Halves __attribute__((vector_size(LANES * sizeof(uint16_t)), aligned(2)));
  typedef uint32_t Words __attribute__((vector_size(LANES * sizeof(uint32_t)), aligned(4)));
  Halves narrow;
  std::memcpy(&narrow, from, sizeof narrow);
  return (Vector)(__builtin_convertvector(narrow, Words) << 16);
}

// The largest and the smallest of `count` numbers, NaN left out. Compilers can't vectorise such a reduction themselves.
template <typename T>
inline std::pair<float, float> extremes(const T* values, int64_t count) {
  constexpr float INFINITE = std::numeric_limits<float>::infinity();
  Vector high = Vector{} - INFINITE, low = Vector{} + INFINITE;
  int64_t i = 0;
  for (; i + LANES <= count; i += LANES) {
    const Vector x = load(values + i);
    high = x > high ? x : high;
    low = x < low ? x : low;
  }
  float largest = -INFINITE, smallest = INFINITE;
  for (int64_t lane = 0; lane < LANES; ++lane) {
    largest = std::max(largest, high[lane]);
    smallest = std::min(smallest, low[lane]);
  }
  for (; i < count; ++i) {
    const float x = widen(values[i]);
    largest = x > largest ? x : largest;
    smallest = x < smallest ? x : smallest;
  }
  return {largest, smallest};
}

template <typename Body>
void for_each_row(int64_t rows, int64_t width, const Body& body) {
  const int64_t grain = std::max<int64_t>(1, 32768 / std::max<int64_t>(1, width));
  at::parallel_for(0, rows, grain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) body(row);
  });
}

#define DISPATCH(tensor, name, ...)                                       \
  [&] {                                                                   \
    if ((tensor).scalar_type() == at::kFloat) {                           \
      using T = float;                                                    \
      return __VA_ARGS__();                                               \
    }                                                                     \
    TORCH_CHECK((tensor).scalar_type() == at::kBFloat16, name, " has no kernel for ", (tensor).scalar_type()); \
    using T = BFloat16;                                                   \
    return __VA_ARGS__();                                                 \
  }()

// --- Row by row ----------------------------------------------------------------------------------------------------

Tensor rms_norm(const Tensor& input, const Tensor& weight, double eps) {
  const Tensor x = input.contiguous();
  Tensor out = at::empty_like(x);
  const int64_t width = x.size(-1), rows = x.numel() / width;
  DISPATCH(x, "rms_norm", [&] {
    const T *from = x.const_data_ptr<T>(), *scale = weight.const_data_ptr<T>();
    T* to = out.mutable_data_ptr<T>();
    for_each_row(rows, width, [&](int64_t row) {
      const T* a = from + row * width;
      T* b = to + row * width;
      float squares = 0;
      for (int64_t i = 0; i < width; ++i) squares += widen(a[i]) * widen(a[i]);
      const float factor = 1.0f / std::sqrt(squares / width + static_cast<float>(eps));
      for (int64_t i = 0; i < width; ++i) b[i] = narrow<T>(widen(narrow<T>(widen(a[i]) * factor)) * widen(scale[i]));
    });
  });
  return out;
}

// silu(gate) * up
Tensor swiglu(const Tensor& gate, const Tensor& up) {
  const Tensor g = gate.contiguous(), u = up.contiguous();
  Tensor out = at::empty_like(g);
  const int64_t width = g.size(-1), rows = g.numel() / width;
  DISPATCH(g, "swiglu", [&] {
    const T *a = g.const_data_ptr<T>(), *b = u.const_data_ptr<T>();
    T* to = out.mutable_data_ptr<T>();
    for_each_row(rows, width, [&](int64_t row) {
      const T *__restrict gates = a + row * width, *__restrict ups = b + row * width;
      T* __restrict product = to + row * width;
      for (int64_t i = 0; i < width; ++i) {
        const float x = widen(gates[i]);
        product[i] = narrow<T>(x / (1.0f + exponential(-x)) * widen(ups[i]));
      }
    });
  });
  return out;
}

template <typename T>
Tensor rotated(const Tensor& states, const Tensor& cos, const Tensor& sin) {
  const int64_t heads = states.size(1), tokens = states.size(2), dim = states.size(3), half = dim / 2;
  Tensor out = at::empty({1, tokens, heads, dim}, states.options());
  const Tensor c = cos.contiguous(), s = sin.contiguous();
  const T *from = states.const_data_ptr<T>(), *cosine = c.const_data_ptr<T>(), *sine = s.const_data_ptr<T>();
  T* to = out.mutable_data_ptr<T>();
  const int64_t head_stride = states.stride(1), token_stride = states.stride(2);
  for_each_row(tokens, heads * dim, [&](int64_t token) {
    const T *__restrict ct = cosine + token * dim, *__restrict st = sine + token * dim;
    for (int64_t head = 0; head < heads; ++head) {
      const T* __restrict a = from + token * token_stride + head * head_stride;
      T* __restrict b = to + (token * heads + head) * dim;
      const T *__restrict a2 = a + half, *__restrict ct2 = ct + half, *__restrict st2 = st + half;
      T* __restrict b2 = b + half;
      for (int64_t i = 0; i < half; ++i) b[i] = narrow<T>(widen(a[i]) * widen(ct[i]) - widen(a2[i]) * widen(st[i]));
      for (int64_t i = 0; i < half; ++i) b2[i] = narrow<T>(widen(a2[i]) * widen(ct2[i]) + widen(a[i]) * widen(st2[i]));
    }
  });
  return out.transpose(1, 2);
}

std::tuple<Tensor, Tensor> rotary(const Tensor& query, const Tensor& key, const Tensor& cos, const Tensor& sin) {
  TORCH_CHECK(query.stride(3) == 1 && key.stride(3) == 1 && query.size(0) == 1, "rotary needs one packed row");
  return DISPATCH(query, "rotary", [&] {
    return std::make_tuple(rotated<T>(query, cos, sin), rotated<T>(key, cos, sin));
  });
}

// --- Attention -----------------------------------------------------------------------------------------------------

// The inner dimension is walked in units of 32 bits: one float, or two neighbouring bfloat16.
constexpr int64_t PANEL = 64, VECTORS = PANEL / LANES;
constexpr int64_t TILE = 32;   // queries that share a softmax
constexpr int64_t CHUNK = 512;  // keys of one step: their scores stay in cache
constexpr int64_t ROWS = 4;    // accumulators of ROWS x VECTORS fit into the registers

template <typename T>
constexpr int64_t per_unit() { return 4 / sizeof(T); }

INLINE Vector multiply_add(Vector sum, const float* a, const float* b, int64_t lane) {
  Vector right;
  std::memcpy(&right, b + lane * LANES, sizeof right);
  return sum + *a * right;
}

INLINE Vector multiply_add(Vector sum, const BFloat16* a, const BFloat16* b, int64_t lane) {
#ifdef __AVX512BF16__
  int32_t pair;
  std::memcpy(&pair, a, sizeof pair);
  const __m512i left = _mm512_set1_epi32(pair), right = _mm512_loadu_si512(b + 2 * lane * LANES);
  return (Vector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)left, (__m512bh)right);
#else
  const float low = widen(a[0]), high = widen(a[1]);
  for (int64_t i = 0; i < LANES; ++i) {
    const BFloat16* pair = b + 2 * (lane * LANES + i);
    sum[i] += low * widen(pair[0]) + high * widen(pair[1]);
  }
  return sum;
#endif
}

// c [M, PANEL] (+)= a [M, units] x b [units, PANEL]
template <int64_t M, typename T>
void product(const T* a, int64_t a_stride, const T* b, int64_t units, float* c, int64_t c_stride, bool add) {
  Vector sums[M][VECTORS];
  for (int64_t m = 0; m < M; ++m)
    for (int64_t v = 0; v < VECTORS; ++v) {
      if (add) std::memcpy(&sums[m][v], c + m * c_stride + v * LANES, sizeof(Vector));
      else sums[m][v] = Vector{};
    }
  constexpr int64_t U = per_unit<T>();
  for (int64_t unit = 0; unit < units; ++unit, b += U * PANEL)
    for (int64_t m = 0; m < M; ++m)
      for (int64_t v = 0; v < VECTORS; ++v) sums[m][v] = multiply_add(sums[m][v], a + m * a_stride + U * unit, b, v);
  for (int64_t m = 0; m < M; ++m)
    for (int64_t v = 0; v < VECTORS; ++v) std::memcpy(c + m * c_stride + v * LANES, &sums[m][v], sizeof(Vector));
}

template <typename T>
void product(int64_t rows, const T* a, int64_t a_stride, const T* b, int64_t units, float* c, int64_t c_stride, bool add) {
  for (; rows >= ROWS; rows -= ROWS, a += ROWS * a_stride, c += ROWS * c_stride)
    product<ROWS>(a, a_stride, b, units, c, c_stride, add);
  for (; rows > 0; --rows, a += a_stride, c += c_stride) product<1>(a, a_stride, b, units, c, c_stride, add);
}

inline void interleave(const float* const* rows, int64_t from, int64_t count, float* out) {
  std::copy_n(rows[0] + from, count, out);
}

inline void interleave(const BFloat16* const* rows, int64_t from, int64_t count, BFloat16* __restrict out) {
  const BFloat16 *__restrict even = rows[0] + from, *__restrict odd = rows[1] + from;
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t pair = even[i].x | static_cast<uint32_t>(odd[i].x) << 16;
    std::memcpy(out + 2 * i, &pair, sizeof pair);
  }
}

struct Rules {
  float scale, softcap;
  int64_t behind, ahead;
};

struct Block {
  int64_t q_start, q_end, k_start, k_end, p_start, p_length;
  int64_t keys() const { return p_length + k_end - k_start; }
  int64_t position(int64_t query) const { return p_length + query - k_start; }
  int64_t token(int64_t key) const { return key < p_length ? p_start + key : k_start + key - p_length; }
};

template <typename T>
struct Heads {  // [heads, tokens, dim], any strides but the last
  const T* data;
  int64_t head_stride, token_stride;
  const T* at(int64_t head, int64_t token) const { return data + head * head_stride + token * token_stride; }
};

template <typename T>
class BlockAttention {
 public:
  // `keys` is that of the largest block.
  BlockAttention(Heads<T> query, Heads<T> key, Heads<T> value, int64_t dim, int64_t value_dim, int64_t keys, Rules rules)
      : query_(query), key_(key), value_(value), dim_(dim), value_dim_(value_dim), rules_(rules),
        panels_((value_dim + PANEL - 1) / PANEL), value_units_((keys + per_unit<T>() - 1) / per_unit<T>()),
        key_panels_((keys + PANEL - 1) / PANEL * PANEL * dim), value_panels_(panels_ * value_units_ * 4 / sizeof(T) * PANEL),
        scores_(TILE * CHUNK), weights_(TILE * CHUNK), output_(TILE * panels_ * PANEL) {}

  // Keys and values of one head, rearranged for `product`: one panel a PANEL of keys, and one a PANEL of value columns.
  // Those that the block before had, too (a prefix, or the beginning of a segment), are there already.
  void load(const Block& block, int64_t head) {
    constexpr int64_t U = per_unit<T>();
    const int64_t keys = block.keys();
    int64_t kept = 0;
    if (head == head_ && block.p_start == block_.p_start && block.p_length == block_.p_length)
      kept = block.k_start == block_.k_start ? std::min(keys, block_.keys()) : block.p_length;
    block_ = block;
    head_ = head;
    for (int64_t k = kept; k < keys; ++k) {
      const T* key = key_.at(head, block.token(k));
      T* panel = key_panels_.data() + k / PANEL * PANEL * dim_ + k % PANEL * U;
      for (int64_t i = 0; i < dim_; i += U) std::memcpy(panel + i * PANEL, key + i, U * sizeof(T));
    }
    const std::vector<T> zeros(value_dim_, T(0));
    for (int64_t unit = kept / U; unit * U < keys; ++unit) {
      const T* rows[U];
      for (int64_t u = 0; u < U; ++u)
        rows[u] = unit * U + u < keys ? value_.at(head, block.token(unit * U + u)) : zeros.data();
      for (int64_t p = 0; p < panels_; ++p)
        interleave(rows, p * PANEL, std::min(PANEL, value_dim_ - p * PANEL),
                   value_panels_.data() + (p * value_units_ + unit) * U * PANEL);
    }
  }

  // One head of up to TILE queries -> out, rows of value_dim. A sink is one more logit that takes no value.
  void run(int64_t head, int64_t first, int64_t last, const float* sink, T* out, int64_t out_stride) {
    const int64_t rows = last - first, width = panels_ * PANEL;
    float highest[TILE], sums[TILE];
    std::fill_n(highest, rows, sink ? *sink : -std::numeric_limits<float>::infinity());
    std::fill_n(sums, rows, sink ? 1.0f : 0.0f);
    std::fill_n(output_.data(), rows * width, 0.0f);
    const int64_t from = std::max<int64_t>(0, block_.position(first) - rules_.behind + 1) / PANEL * PANEL;
    const int64_t to = std::min(block_.keys(), block_.position(last - 1) + rules_.ahead);
    for (int64_t start = from; start < to; start += CHUNK) {
      const int64_t end = std::min(to, start + CHUNK);
      for (int64_t k = start; k < end; k += PANEL)
        product(rows, query_.at(head, first), query_.token_stride, key_panels_.data() + k * dim_,
                dim_ / per_unit<T>(), scores_.data() + k - start, CHUNK, false);
      for (int64_t r = 0; r < rows; ++r) soften(r, block_.position(first + r), start, end, highest[r], sums[r]);
      constexpr int64_t U = per_unit<T>();
      for (int64_t p = 0; p < panels_; ++p)
        product(rows, weights_.data(), CHUNK, value_panels_.data() + (p * value_units_ + start / U) * U * PANEL,
                (end - start + U - 1) / U, output_.data() + p * PANEL, width, true);
    }
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t i = 0; i < value_dim_; ++i)
        out[r * out_stride + i] = narrow<T>(output_[r * width + i] / sums[r]);
  }

 private:
  // Scores of one query at keys start to end - 1 become weights relative to the highest score so far.
  void soften(int64_t row, int64_t position, int64_t start, int64_t end, float& highest, float& sum) {
    const int64_t count = (end - start + 1) / 2 * 2;
    const int64_t low = std::clamp<int64_t>(position - rules_.behind + 1 - start, 0, end - start);
    const int64_t high = std::clamp<int64_t>(position + rules_.ahead - start, low, end - start);
    float* __restrict scores = scores_.data() + row * CHUNK;
    T* __restrict weights = weights_.data() + row * CHUNK;
    float scale = rules_.scale;
    if (rules_.softcap > 0) {
      for (int64_t i = low; i < high; ++i) {
        const float grown = exponential(2.0f * scale * scores[i] / rules_.softcap);
        scores[i] = rules_.softcap * (1.0f - 2.0f / (grown + 1.0f));
      }
      scale = 1.0f;
    }
    const float top = std::max(highest, scale * extremes(scores + low, high - low).first);
    if (top > highest) {
      const float factor = exponential(highest - top);
      float* output = output_.data() + row * panels_ * PANEL;
      for (int64_t i = 0; i < panels_ * PANEL; ++i) output[i] *= factor;
      sum *= factor;
      highest = top;
    }
    std::fill_n(weights, low, T(0));
    float added = 0;
    for (int64_t i = low; i < high; ++i) {
      const float weight = exponential(scores[i] * scale - top);
      added += weight;
      weights[i] = narrow<T>(weight);
    }
    sum += added;
    if (high < count) std::fill_n(weights + high, count - high, T(0));
  }

  Heads<T> query_, key_, value_;
  int64_t dim_, value_dim_;
  Rules rules_;
  int64_t panels_, value_units_, head_ = -1;
  Block block_{};
  std::vector<T> key_panels_, value_panels_;
  std::vector<float> scores_;
  std::vector<T> weights_;
  std::vector<float> output_;
};

Tensor packed_attention(const Tensor& query, const Tensor& key, const Tensor& value, const Tensor& blocks,
                        const std::optional<Tensor>& sinks, double scale, int64_t behind, int64_t ahead, double softcap) {
  const int64_t heads = query.size(1), tokens = query.size(2), dim = query.size(3), value_dim = value.size(3);
  const int64_t kv_heads = key.size(1), group = heads / kv_heads;
  Tensor out = at::empty({1, tokens, heads, value_dim}, query.options());
  const Tensor table = blocks.to(at::kLong).contiguous();
  const Block* block = reinterpret_cast<const Block*>(table.const_data_ptr<int64_t>());
  const Tensor sink = sinks ? sinks->to(at::kFloat).contiguous() : Tensor();
  const Rules rules{static_cast<float>(scale), static_cast<float>(softcap), behind, ahead};
  DISPATCH(query, "packed_attention", [&] {
    TORCH_CHECK(query.stride(3) == 1 && key.stride(3) == 1 && value.stride(3) == 1 && dim % per_unit<T>() == 0);
    const auto view = [](const Tensor& t) { return Heads<T>{t.const_data_ptr<T>(), t.stride(1), t.stride(2)}; };
    T* to = out.mutable_data_ptr<T>();
    const int64_t count = table.size(0);
    int64_t keys = 0;
    for (int64_t i = 0; i < count; ++i) keys = std::max(keys, block[i].keys());
    // Blocks of one head come one after another: neighbours share keys.
    at::parallel_for(0, kv_heads * count, 1, [&](int64_t begin, int64_t end) {
      BlockAttention<T> attention(view(query), view(key), view(value), dim, value_dim, keys, rules);
      for (int64_t task = begin; task < end; ++task) {
        const Block& b = block[task % count];
        const int64_t kv_head = task / count;
        attention.load(b, kv_head);
        for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head)
          for (int64_t q = b.q_start; q < b.q_end; q += TILE)
            attention.run(head, q, std::min(q + TILE, b.q_end), sink.defined() ? sink.const_data_ptr<float>() + head : nullptr,
                          to + (q * heads + head) * value_dim, heads * value_dim);
      }
    });
  });
  return out;
}

// --- Linear layers -------------------------------------------------------------------------------------------------

Tensor linear(const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias) {
  static const auto op = c10::Dispatcher::singleton()
      .findSchemaOrThrow("mkldnn::_linear_pointwise", "")
      .typed<Tensor(const Tensor&, const Tensor&, const std::optional<Tensor>&, std::string_view,
                    c10::List<std::optional<at::Scalar>>, std::optional<std::string_view>)>();
  return op.call(input, weight, bias, "none", c10::List<std::optional<at::Scalar>>(), "");
}

constexpr int64_t TURN = 64;  // columns that are rotated together, where the width is a multiple

// Multiplies TURN numbers by the Hadamard matrix of that order, over its root: an outlier is spread over all of them.
INLINE void rotate(float* values) {
  typedef int32_t Lanes __attribute__((vector_size(LANES * sizeof(int32_t))));
  constexpr int64_t VECTORS = TURN / LANES;
  Vector v[VECTORS];
  for (int64_t i = 0; i < VECTORS; ++i) v[i] = load(values + i * LANES) * (1.0f / 8.0f);
  for (int64_t step = 1; step < VECTORS; step *= 2)
    for (int64_t i = 0; i < VECTORS; ++i)
      if (!(i & step)) {
        const Vector sum = v[i] + v[i + step], difference = v[i] - v[i + step];
        v[i] = sum;
        v[i + step] = difference;
      }
  const Lanes lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  for (int32_t step = 1; step < LANES; step *= 2) {
    const Vector sign = __builtin_convertvector(1 + 2 * ((lane & step) != 0), Vector);  // true is -1: 1 or -1
    for (int64_t i = 0; i < VECTORS; ++i) v[i] = __builtin_shuffle(v[i], lane ^ step) + sign * v[i];
  }
  for (int64_t i = 0; i < VECTORS; ++i) std::memcpy(values + i * LANES, &v[i], sizeof(Vector));
}

// round(x * factor) + 128 for each x; |x * factor| is at most 127.
INLINE void to_bytes(const float* values, int64_t count, float factor, uint8_t* __restrict out) {
  typedef uint32_t Words __attribute__((vector_size(LANES * sizeof(uint32_t))));
  typedef uint8_t Bytes __attribute__((vector_size(LANES)));
  constexpr float SHIFT = 3 << 22;  // moves the integer part into the lowest bits, rounded
  int64_t i = 0;
  for (; i + LANES <= count; i += LANES) {
    const Bytes bytes = __builtin_convertvector((Words)(load(values + i) * factor + SHIFT) + 128, Bytes);
    std::memcpy(out + i, &bytes, sizeof bytes);
  }
  for (; i < count; ++i) out[i] = static_cast<uint8_t>(std::lrint(values[i] * factor) + 128);
}

// Every row is quantised by its own largest magnitude, so that it doesn't depend on its company.
std::tuple<Tensor, Tensor> quantize(const Tensor& input) {
  const Tensor x = input.contiguous();
  const int64_t width = x.size(-1), rows = x.numel() / width;
  Tensor out = at::empty(x.sizes(), x.options().dtype(at::kByte)), scale = at::empty({rows, 1}, x.options().dtype(at::kFloat));
  uint8_t* to = out.mutable_data_ptr<uint8_t>();
  float* scales = scale.mutable_data_ptr<float>();
  DISPATCH(x, "quantize", [&] {
    const T* from = x.const_data_ptr<T>();
    for_each_row(rows, width, [&](int64_t row) {
      static thread_local std::vector<float> scratch;
      scratch.resize(width);
      float* __restrict wide = scratch.data();
      const T* __restrict narrow = from + row * width;
      float poison = 0;  // NaN where a value is NaN or infinite: no byte could say so
      for (int64_t i = 0; i < width; ++i) {
        wide[i] = widen(narrow[i]);
        poison += wide[i] * 0.0f;
      }
      if (width % TURN == 0)
        for (int64_t i = 0; i < width; i += TURN) rotate(wide + i);
      const auto [high, low] = extremes(wide, width);
      const float largest = std::max(high, -low);
      to_bytes(wide, width, largest > 0 ? 127.0f / largest : 0.0f, to + row * width);
      scales[row] = largest / 127.0f + poison;
    });
  });
  return {out, scale};
}

Tensor linear_int8(const Tensor& input, const Tensor& scale, const Tensor& weight, const Tensor& weight_scale,
                   const Tensor& weight_zero, const std::optional<Tensor>& bias, at::ScalarType dtype) {
  static const auto op = c10::Dispatcher::singleton()
      .findSchemaOrThrow("onednn::qlinear_pointwise", "")
      .typed<Tensor(Tensor, double, int64_t, Tensor, Tensor, Tensor, std::optional<Tensor>, double, int64_t,
                    std::optional<at::ScalarType>, std::string_view, c10::List<std::optional<at::Scalar>>, std::string_view)>();
  Tensor out = op.call(input, 1.0, 128, weight, weight_scale, weight_zero, std::nullopt, 1.0, 0, dtype, "none",
                       c10::List<std::optional<at::Scalar>>(), "");
  const int64_t width = out.size(-1), rows = out.numel() / width;
  const Tensor shift = bias ? bias->to(at::kFloat).contiguous() : at::zeros({width}, scale.options());
  const float *scales = scale.const_data_ptr<float>(), *shifts = shift.const_data_ptr<float>();
  DISPATCH(out, "linear_int8", [&] {
    T* to = out.mutable_data_ptr<T>();
    for_each_row(rows, width, [&](int64_t row) {
      const float factor = scales[row];
      T* __restrict values = to + row * width;
      for (int64_t i = 0; i < width; ++i) values[i] = narrow<T>(widen(values[i]) * factor + shifts[i]);
    });
  });
  return out;
}

}  // namespace

TORCH_LIBRARY_IMPL(rewardserve, CPU, m) {
  m.impl("quantize", quantize);
  m.impl("rms_norm", rms_norm);
  m.impl("swiglu", swiglu);
  m.impl("rotary", rotary);
  m.impl("packed_attention", packed_attention);
}

// Weights in oneDNN's own layout are tensors of this backend; others are left to PyTorch's operators.
TORCH_LIBRARY_IMPL(rewardserve, MkldnnCPU, m) {
  m.impl("linear", linear);
  m.impl("linear_int8", linear_int8);
}
