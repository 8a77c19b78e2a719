// Enough of CUDA C++ for a CPU to run a kernel: one block after the other, its threads at once.

#include <algorithm>
#include <barrier>
#include <cmath>
#include <cstring>
#include <thread>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __shared__
#define __forceinline__ inline
#define __launch_bounds__(...)

struct Index {
  int x, y;
};
static thread_local Index threadIdx;
static Index blockIdx, gridDim;
static std::barrier<> *threads_of_block;
extern "C" {
alignas(16) unsigned shared[1 << 16];
}

using std::max;
using std::min;

static void __syncthreads() { threads_of_block->arrive_and_wait(); }

template <typename T> static void atomicAdd(T *at, T added) {
  __atomic_fetch_add(at, added, __ATOMIC_RELAXED);
}

static unsigned __float_as_uint(float x) {
  unsigned bits;
  std::memcpy(&bits, &x, 4);
  return bits;
}

static float __uint_as_float(unsigned bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}

template <typename Kernel, typename... Arguments>
static void launch(Kernel kernel, int width, int height, int n_threads, Arguments... arguments) {
  gridDim = {width, height};
  for (blockIdx.y = 0; blockIdx.y < height; blockIdx.y++)
    for (blockIdx.x = 0; blockIdx.x < width; blockIdx.x++) {
      std::barrier<> all(n_threads);
      threads_of_block = &all;
      std::vector<std::thread> threads;
      for (int i = 0; i < n_threads; i++)
        threads.emplace_back([=] {
          threadIdx = {i, 0};
          kernel(arguments...);
        });
      for (auto &thread : threads) thread.join();
    }
}

// Hand over numbers and addresses from a table as the kernel's own types.
template <typename... Types, std::size_t... Numbers>
static void call(void (*kernel)(Types...), int width, int height, int n_threads,
                 const long long *values, std::index_sequence<Numbers...>) {
  launch(kernel, width, height, n_threads, (Types)values[Numbers]...);
}

template <typename... Types>
static void call(void (*kernel)(Types...), int width, int height, int n_threads,
                 const long long *values) {
  call(kernel, width, height, n_threads, values, std::index_sequence_for<Types...>());
}
