// Checks and sorting that the CPU kernels share.
#pragma once

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>

#include "../checks.h"

namespace mmvl {

constexpr int64_t kGrain = 1 << 14;

// An index outside [0, limit) would be read or written outside the memory of a tensor.
inline void check_range(const at::Tensor& index, int64_t limit, const char* name) {
  const int64_t* values = index.const_data_ptr<int64_t>();
  std::atomic<bool> good{true};
  at::parallel_for(0, index.numel(), kGrain, [&](int64_t begin, int64_t end) {
    bool fine = true;
    for (int64_t i = begin; i < end; ++i) {
      fine &= static_cast<uint64_t>(values[i]) < static_cast<uint64_t>(limit);
    }
    if (!fine) {
      good = false;
    }
  });
  TORCH_CHECK_INDEX(good.load(), name, " has values outside 0 to ", limit - 1);
}

// Items in the order of their keys, equal keys in the order they came. Negative keys are left out.
struct Groups {
  std::unique_ptr<int32_t[]> starts;  // (keys + 1,)
  std::unique_ptr<int32_t[]> order;   // (items,)
};

template <typename Key>
Groups group(const Key* keys, int64_t items, int64_t number) {
  Groups groups;
  groups.starts = std::make_unique<int32_t[]>(number + 2);
  groups.order.reset(new int32_t[std::max<int64_t>(items, 1)]);
  // counts go two places ahead, so that filling moves every start into its place
  int32_t* counts = groups.starts.get() + 2;
  for (int64_t i = 0; i < items; ++i) {
    if (keys[i] >= 0) {
      ++counts[keys[i]];
    }
  }
  for (int64_t key = 1; key < number; ++key) {
    counts[key] += counts[key - 1];
  }
  int32_t* next = groups.starts.get() + 1;
  for (int64_t i = 0; i < items; ++i) {
    if (keys[i] >= 0) {
      groups.order[next[keys[i]]++] = static_cast<int32_t>(i);
    }
  }
  return groups;
}

}  // namespace mmvl
