#include <torch/library.h>

#include "common.cuh"
#include "kernels/soft_splat.cuh"

namespace mmvl {
namespace {

struct Arguments {
  at::Tensor weights, coordinates, features, index_feature, batch;

  template <typename T>
  SplatInput<T> as(int64_t batch_size) const {
    return {weights.const_data_ptr<T>(), coordinates.const_data_ptr<T>(),
            features.const_data_ptr<T>(), indices(index_feature), indices(batch),
            batch.numel(), features.size(0), features.size(1), batch_size};
  }
};

Arguments check(const at::Tensor& weights, const at::Tensor& coordinates,
                const at::Tensor& features, const at::Tensor& index_feature,
                const at::Tensor& batch) {
  check_floats({weights, coordinates, features});
  check_indices({index_feature, batch}, features.device());
  const int64_t points = batch.numel();
  TORCH_CHECK(weights.numel() == points && coordinates.numel() == 3 * points,
              "weights must be (P,) and coordinates (P, 3), as many as indices");
  return {weights.contiguous(), coordinates.contiguous(), features.contiguous(),
          index_feature.contiguous(), batch.contiguous()};
}

at::Tensor soft_splat(const at::Tensor& weights, const at::Tensor& coordinates,
                      const at::Tensor& features, const at::Tensor& index_feature,
                      const at::Tensor& batch, at::IntArrayRef size, int64_t batch_size) {
  TORCH_CHECK(size.size() == 3, "grid must be (X, Y, Z)");
  const Cells cells = {Grid{size[0], size[1], size[2]}};
  const c10::cuda::CUDAGuard guard(features.device());
  const Arguments given = check(weights, coordinates, features, index_feature, batch);
  at::Tensor keys = at::empty_like(given.batch);
  at::Tensor out = at::empty({batch_size, size[2], size[1], size[0], features.size(1)},
                             features.options());
  const c10::cuda::CUDAStream stream = c10::cuda::getCurrentCUDAStream();
  AT_DISPATCH_FLOATING_TYPES(features.scalar_type(), "soft_splat", [&] {
    const SplatInput<scalar_t> input = given.as<scalar_t>(batch_size);
    launch_splat_cells(input, cells, keys.mutable_data_ptr<int64_t>(), stream);
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    const Groups groups = group(keys, batch_size * cells.volume());
    launch_soft_splat(input, cells, indices(groups.order), indices(groups.starts),
                      out.mutable_data_ptr<scalar_t>(), stream);
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  });
  return out;
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> soft_splat_backward(
    const at::Tensor& grad_, const at::Tensor& weights, const at::Tensor& coordinates,
    const at::Tensor& features, const at::Tensor& index_feature, const at::Tensor& batch) {
  TORCH_CHECK(grad_.dim() == 5, "grad must be (B, Z, Y, X, C)");
  check_floats({grad_, features});
  const Grid grid = {grad_.size(3), grad_.size(2), grad_.size(1)};
  const c10::cuda::CUDAGuard guard(features.device());
  const Arguments given = check(weights, coordinates, features, index_feature, batch);
  const at::Tensor grad = grad_.contiguous();
  const Groups groups = group(given.index_feature, features.size(0));
  at::Tensor for_weights = at::empty_like(given.weights);
  at::Tensor for_coordinates = at::empty_like(given.coordinates);
  at::Tensor for_features = at::empty_like(given.features);
  AT_DISPATCH_FLOATING_TYPES(features.scalar_type(), "soft_splat_backward", [&] {
    launch_soft_splat_backward(
        given.as<scalar_t>(grad.size(0)), grid, grad.const_data_ptr<scalar_t>(),
        indices(groups.order), indices(groups.starts), for_weights.mutable_data_ptr<scalar_t>(),
        for_coordinates.mutable_data_ptr<scalar_t>(), for_features.mutable_data_ptr<scalar_t>(),
        c10::cuda::getCurrentCUDAStream());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  });
  return {for_weights, for_coordinates, for_features};
}

}  // namespace

TORCH_LIBRARY_IMPL(mmvl, CUDA, m) {
  m.impl("soft_splat", &soft_splat);
  m.impl("soft_splat_backward", &soft_splat_backward);
}

}  // namespace mmvl
