// What the adapters of all devices ask of their arguments.
#pragma once

#include <ATen/core/Tensor.h>

#include <initializer_list>
#include <limits>

namespace mmvl {

inline void check_floats(std::initializer_list<at::Tensor> tensors) {
  const at::Tensor& first = *tensors.begin();
  for (const at::Tensor& each : tensors) {
    TORCH_CHECK(each.scalar_type() == first.scalar_type() &&
                    (first.scalar_type() == at::kFloat || first.scalar_type() == at::kDouble),
                "weights, coordinates, features and gradients must all be float32 or all float64");
    TORCH_CHECK(each.device() == first.device(), "all tensors must be on one device");
  }
}

inline void check_indices(std::initializer_list<at::Tensor> tensors, const at::Device& device) {
  const int64_t number = tensors.begin()->numel();
  for (const at::Tensor& each : tensors) {
    TORCH_CHECK(each.scalar_type() == at::kLong && each.dim() == 1, "indices must be (P,) int64");
    TORCH_CHECK(each.numel() == number, "indices of points must be of one length");
    TORCH_CHECK(each.device() == device, "all tensors must be on one device");
  }
}

inline void check_rays(const at::Tensor& occupied, const at::Tensor& origins,
                       const at::Tensor& ends, const at::Tensor& index_grid) {
  TORCH_CHECK(occupied.scalar_type() == at::kBool && occupied.dim() == 4,
              "occupied must be (T, Z, Y, X) bool");
  check_indices({index_grid}, occupied.device());
  for (const at::Tensor& each : {origins, ends}) {
    TORCH_CHECK(each.scalar_type() == at::kDouble && each.numel() == 3 * index_grid.numel(),
                "origins and ends must be (M, 3) float64, as many as index_grid");
    TORCH_CHECK(each.device() == occupied.device(), "all tensors must be on one device");
  }
}

// Orders of points are kept in 32 bits.
inline void check_count(int64_t count, const char* what) {
  TORCH_CHECK(count < std::numeric_limits<int32_t>::max(), "fewer than 2^31 - 1 ", what,
              " are possible, got ", count);
}

}  // namespace mmvl
