// What `site_pass` has found in the chunks of a batch, added to the statistics of a site, in place.
//
// Blocks of threads have three kinds of work, none of which waits for another: maxima and sums of
// 32 channels; maxima and sums of a group of cells in 32 channels; the largest channel of a cell.
// Sums are added up in an order that depends on nothing but the shapes.
//
// To be defined: CHANNELS, THREADS.

#define LANES 32
#define WARPS (THREADS / LANES)
#define WIDE ((CHANNELS + LANES - 1) / LANES)
#define N_SUMS 9
#define AHEAD 4 // numbers that a thread loads before it waits for the first

typedef unsigned long long eight_bytes;
typedef long long whole;

// The largest |x| and where it is, as one number: the larger is the larger |x|, and of equals the
// one that comes first. NaN is larger than all numbers.
__device__ inline eight_bytes placed(float largest, int place) {
  return (eight_bytes)__float_as_uint(largest) << 32 | (0xffffffffu - place);
}
__device__ inline float size_of(eight_bytes placed) { return __uint_as_float(placed >> 32); }
__device__ inline int place_of(eight_bytes placed) { return 0xffffffffu - (unsigned)placed; }
__device__ inline float larger(float a, float b) { return a > b || a != a ? a : b; }

// largest, token, size: as `site_pass` gives them, (n_chunks, CHANNELS); parts: (n_parts, N_SUMS,
// CHANNELS), or 0 of them
// groups: of each cell in each grouping, (n_groupings, cells); first_group: number of each
// grouping's first group
// lengths: real tokens of each cell; n_kinds: special tokens, and others
// max ... kind_tokens: the statistics; is_new, cell, at: the fields of `NewMaxima`
extern "C" __global__ void __launch_bounds__(THREADS)
site_update(const float *largest, const int *token, const double *size, const double *parts,
            const whole *groups, const whole *first_group, const whole *lengths,
            const whole *n_kinds, float *max_size, whole *max_cell, whole *max_token,
            eight_bytes *top, double *powers, whole *zeros, float *group_max, double *group_sum,
            eight_bytes *group_tokens, float *kind_max, double *kind_sum, whole *kind_tokens,
            unsigned char *is_new, whole *cell, whole *at, int cells, int chunks, int n_parts,
            int n_groupings, int n_groups, int n_before, int moments, int special) {
  extern __shared__ unsigned shared[];
  eight_bytes *found = (eight_bytes *)shared;
  double *sums = (double *)(found + THREADS);
  int *member = (int *)(sums + THREADS); // tokens of each cell of the group, and whether it has any
  const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
  const int channel = blockIdx.x % WIDE * LANES + lane;
  const bool inside = channel < CHANNELS;
  const int n_chunks = cells * chunks, role = blockIdx.x / WIDE - 1;

  if (role < 0) { // maxima and sums of channels
    eight_bytes best = 0;
    for (int first = warp; inside && first < n_chunks; first += AHEAD * WARPS) {
      float next[AHEAD];
#pragma unroll
      for (int i = 0; i < AHEAD; i++) {
        const int chunk = min(first + i * WARPS, n_chunks - 1);
        next[i] = largest[(size_t)chunk * CHANNELS + channel];
      }
#pragma unroll
      for (int i = 0; i < AHEAD; i++)
        best = max(best, placed(next[i], min(first + i * WARPS, n_chunks - 1)));
    }
    found[threadIdx.x] = best;
    __syncthreads();
    if (warp == 0 && inside) {
      for (int i = 1; i < WARPS; i++) best = max(best, found[i * LANES + lane]);
      const int chunk = place_of(best);
      const bool news = size_of(best) > max_size[channel] || size_of(best) != size_of(best);
      is_new[channel] = news;
      cell[channel] = chunk / chunks;
      at[channel] = token[(size_t)chunk * CHANNELS + channel];
      if (news) {
        max_size[channel] = size_of(best);
        max_cell[channel] = n_before + chunk / chunks;
        max_token[channel] = at[channel];
      }
    }
    for (int sum = warp; n_parts && inside && sum < N_SUMS; sum += WARPS) {
      double total = 0;
#pragma unroll 4
      for (int part = 0; part < n_parts; part++) {
        const double next = parts[((size_t)part * N_SUMS + sum) * CHANNELS + channel];
        total = sum < 7 ? total + next : (double)larger(next, total);
      }
      sums[sum * LANES + lane] = total;
    }
    __syncthreads();
    if (warp == 0 && inside && moments) {
      for (int sum = 0; sum < 4; sum++)
        powers[sum * CHANNELS + channel] += sums[sum * LANES + lane];
      powers[4 * CHANNELS + channel] += sums[4 * LANES + lane] + sums[5 * LANES + lane];
      zeros[channel] += (whole)sums[6 * LANES + lane];
    }
    if (warp < 2 && inside && special) { // special tokens, and the others
      const int own = warp * CHANNELS + channel;
      kind_sum[own] += sums[(4 + warp) * LANES + lane];
      kind_max[own] = larger(sums[(7 + warp) * LANES + lane], kind_max[own]);
    }
    if (blockIdx.x == 0 && threadIdx.x < 2 && special)
      kind_tokens[threadIdx.x] += n_kinds[threadIdx.x];
  } else if (role < n_groups) { // a group of cells
    for (int i = threadIdx.x; i <= cells; i += THREADS) member[i] = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < n_groupings * cells; i += THREADS)
      if (groups[i] + first_group[i / cells] == role) {
        member[i % cells] = lengths[i % cells];
        member[cells] = 1;
      }
    __syncthreads();
    if (!member[cells]) return;
    float best = 0;
    double total = 0;
    for (int first = warp; inside && first < n_chunks; first += AHEAD * WARPS) {
      float next[AHEAD];
      double more[AHEAD];
#pragma unroll
      for (int i = 0; i < AHEAD; i++) {
        const int chunk = first + i * WARPS;
        const bool own = chunk < n_chunks && member[chunk / chunks];
        next[i] = own ? largest[(size_t)chunk * CHANNELS + channel] : 0;
        more[i] = own && moments ? size[(size_t)chunk * CHANNELS + channel] : 0;
      }
#pragma unroll
      for (int i = 0; i < AHEAD; i++) {
        best = larger(next[i], best);
        total += more[i];
      }
    }
    found[threadIdx.x] = placed(best, 0);
    sums[threadIdx.x] = total;
    __syncthreads();
    if (warp == 0 && inside) {
      for (int i = 1; i < WARPS; i++) {
        best = larger(size_of(found[i * LANES + lane]), best);
        total += sums[i * LANES + lane];
      }
      const size_t own = (size_t)role * CHANNELS + channel;
      group_max[own] = larger(best, group_max[own]);
      if (moments) group_sum[own] += total;
    }
    if (blockIdx.x % WIDE == 0 && warp == 0) {
      eight_bytes n = 0;
      for (int i = lane; i < cells; i += LANES) n += member[i];
      atomicAdd(&group_tokens[role], n);
    }
  } else { // the largest channel of a cell
    const int own = blockIdx.x - WIDE * (1 + n_groups);
    eight_bytes best = 0;
    for (int c = threadIdx.x; c < CHANNELS; c += THREADS)
#pragma unroll 4
      for (int chunk = own * chunks; chunk < (own + 1) * chunks; chunk++)
        best = max(best, placed(largest[(size_t)chunk * CHANNELS + c], c));
    found[threadIdx.x] = best;
    eight_bytes *mine = found + threadIdx.x;
    for (int half = THREADS / 2; half > 0; half /= 2) {
      __syncthreads();
      if (threadIdx.x < half) *mine = max(*mine, mine[half]);
    }
    if (threadIdx.x == 0) atomicAdd(&top[place_of(found[0])], (eight_bytes)1);
  }
}
