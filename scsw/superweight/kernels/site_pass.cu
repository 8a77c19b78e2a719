// One pass over the activations of a site: all that `scsw.superweight.site_statistics` takes from
// every single number.
//
// A lane of a warp holds one channel; a warp walks over chunks of CHUNK tokens of a cell. Counters
// of |x| lie in shared memory, for 32 channels of one block of threads, two 16-bit counters to a
// word: the lanes of a warp never meet in one bank, nor at one counter. Triton has no such
// counters, hence C++. Sums are added up in an order that depends on nothing but the shapes, in
// float64 after every GROUP tokens.
//
// To be defined: ACTIVATION (0 float32, 1 float16, 2 bfloat16), CHANNELS, SUMS (whether sums of
// powers are wanted), THREADS, CHUNK, BINS (without those of too small and too large numbers),
// LOWEST_BIN.

#define LANES 32
#define WARPS (THREADS / LANES)
#define GROUP 8                // tokens that a warp loads at once
#define WORDS ((BINS + 2) / 2) // of counters, for each channel
#define N_SUMS 9

typedef unsigned long long eight_bytes;

#if ACTIVATION == 0
typedef float activation;
__device__ inline float number(activation x) { return x; }
#elif ACTIVATION == 1
typedef unsigned short activation;
__device__ inline float number(activation x) {
  float wide;
  asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(x));
  return wide;
}
#else
typedef unsigned short activation;
__device__ inline float number(activation x) { return __uint_as_float((unsigned)x << 16); }
#endif

// Of one channel: sums over all tokens that a warp sees, and what a chunk of them has.
struct Sums {
  double x, square, cube, fourth, special, other;
  unsigned zeros, special_max, other_max; // bits of |x| are in the order of its size, NaN last
};
struct Chunk {
  unsigned largest;
  int token;
  double size;
};

// Add a group of tokens; all of them are genes' where ALL_GENES.
template <bool ALL_GENES>
__device__ __forceinline__ void add(const activation *at, eight_bytes kinds, int first, int inside,
                                    unsigned *counts, Sums &sums, Chunk &chunk) {
  activation loaded[GROUP];
#pragma unroll
  for (int i = 0; i < GROUP; i++) {
    const bool wanted = inside && (ALL_GENES || kinds >> 8 * i & 1);
    loaded[i] = wanted ? at[i * CHANNELS] : 0;
  }
  float x = 0, squares = 0, cubes = 0, fourths = 0, special = 0, other = 0;
#pragma unroll
  for (int i = 0; i < GROUP; i++) {
    if (!ALL_GENES && !(kinds >> 8 * i & 1)) continue;
    const float value = number(loaded[i]), absolute = fabsf(value);
    const unsigned bits = __float_as_uint(absolute);
    const int bin = min(max((int)(bits >> 19) - LOWEST_BIN, 0), BINS + 1);
    atomicAdd(&counts[(bin >> 1) * LANES], (bin & 1) * 0xffffu + 1);
    if (bits > chunk.largest) {
      chunk.largest = bits;
      chunk.token = first + i;
    }
    if (!SUMS) continue;
    const float square = value * value;
    x += value;
    squares += square;
    cubes += square * value;
    fourths += square * square;
    sums.zeros += value == 0;
    if (!ALL_GENES && kinds >> 8 * i & 2) {
      special += absolute;
      sums.special_max = max(sums.special_max, bits);
    } else {
      other += absolute;
      sums.other_max = max(sums.other_max, bits);
    }
  }
  sums.x += x;
  sums.square += squares;
  sums.cube += cubes;
  sums.fourth += fourths;
  sums.special += special;
  sums.other += other;
  chunk.size += special + other;
}

// kinds: for each token 0 at padding, 1 at a gene, 3 at a special token; (cells, chunks * CHUNK)
// counts: (BINS + 2, CHANNELS), added to
// largest, token, size: of each chunk the largest |x|, its token and the sum; (n_chunks, CHANNELS)
// sums: (gridDim.y, N_SUMS, CHANNELS)
extern "C" __global__ void __launch_bounds__(THREADS, 1024 / THREADS)
site_pass(const activation *x, const eight_bytes *kinds, int *counts, float *largest, int *token,
          double *size, double *sums, int tokens, int chunks, int n_chunks) {
  extern __shared__ unsigned shared[];
  const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
  const int channel = blockIdx.x * LANES + lane;
  const bool inside = CHANNELS % LANES == 0 || channel < CHANNELS;
  for (int i = threadIdx.x; i < WORDS * LANES; i += THREADS) shared[i] = 0;
  __syncthreads();

  Sums own = {};
  for (int number = blockIdx.y * WARPS + warp; number < n_chunks; number += gridDim.y * WARPS) {
    const int cell = number / chunks, begin = number % chunks * CHUNK;
    const activation *row = x + ((size_t)cell * tokens + begin) * CHANNELS + channel;
    Chunk chunk = {};
    for (int first = 0; first < CHUNK; first += GROUP, row += GROUP * CHANNELS) {
      const eight_bytes kind = kinds[((size_t)number * CHUNK + first) / GROUP];
      if (kind == 0x0101010101010101)
        add<true>(row, kind, begin + first, inside, shared + lane, own, chunk);
      else if (kind)
        add<false>(row, kind, begin + first, inside, shared + lane, own, chunk);
    }
    if (inside) {
      const size_t at = (size_t)number * CHANNELS + channel;
      largest[at] = __uint_as_float(chunk.largest);
      token[at] = chunk.token;
      if (SUMS) size[at] = chunk.size;
    }
  }

  __syncthreads();
  for (int word = warp; word < WORDS; word += WARPS) {
    const unsigned both = shared[word * LANES + lane];
    int *at = counts + (size_t)2 * word * CHANNELS + channel;
    if (inside && (both & 0xffff)) atomicAdd(at, (int)(both & 0xffff));
    if (inside && both >> 16) atomicAdd(at + CHANNELS, (int)(both >> 16));
  }

  if (!SUMS) return;
  __syncthreads();
  double *table = (double *)shared; // (N_SUMS, WARPS, LANES)
  const double mine[N_SUMS] = {own.x, own.square, own.cube, own.fourth, own.special, own.other,
                               (double)own.zeros, (double)__uint_as_float(own.special_max),
                               (double)__uint_as_float(own.other_max)};
#pragma unroll
  for (int sum = 0; sum < N_SUMS; sum++) table[(sum * WARPS + warp) * LANES + lane] = mine[sum];
  __syncthreads();
  for (int sum = warp; sum < N_SUMS; sum += WARPS) {
    double found = 0;
    for (int i = 0; i < WARPS; i++) {
      const double next = table[(sum * WARPS + i) * LANES + lane];
      found = sum < N_SUMS - 2 ? found + next : found < next || next != next ? next : found;
    }
    if (inside) sums[((size_t)blockIdx.y * N_SUMS + sum) * CHANNELS + channel] = found;
  }
}
