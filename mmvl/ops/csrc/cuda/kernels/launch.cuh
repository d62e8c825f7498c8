// How the kernels are launched. Free of torch headers.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

namespace mmvl {

constexpr int kThreads = 256;
constexpr int kWarp = 32;

// Blocks for so many threads; kernels stride over what is left.
inline unsigned blocks_for(int64_t threads) {
  const int64_t blocks = (threads + kThreads - 1) / kThreads;
  return static_cast<unsigned>(std::max<int64_t>(1, std::min<int64_t>(blocks, 1 << 20)));
}

__device__ inline int64_t first_thread() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

__device__ inline int64_t all_threads() { return static_cast<int64_t>(gridDim.x) * blockDim.x; }

// Sum over a warp, in lane 0; the order is fixed.
template <typename T>
__device__ inline T warp_sum(T value) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    value += __shfl_down_sync(0xffffffffu, value, offset);
  }
  return value;
}

}  // namespace mmvl
