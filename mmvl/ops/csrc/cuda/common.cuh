// What the adapters of CUDA kernels share.
#pragma once

#include <ATen/Dispatch.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/searchsorted.h>
#include <ATen/ops/sort.h>
#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "../checks.h"

namespace mmvl {

// Items in the order of their keys, equal keys in the order they came, and where each key of
// 0 to number - 1 begins.
struct Groups {
  at::Tensor order, starts;
};

inline Groups group(const at::Tensor& keys, int64_t number) {
  const auto [sorted, order] = at::sort(keys, /*stable=*/true, /*dim=*/0, /*descending=*/false);
  return {order, at::searchsorted(sorted, at::arange(number + 1, keys.options()))};
}

inline const int64_t* indices(const at::Tensor& tensor) {
  return tensor.const_data_ptr<int64_t>();
}

}  // namespace mmvl
