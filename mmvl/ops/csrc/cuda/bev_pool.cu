#include <torch/library.h>

#include "common.cuh"
#include "kernels/bev_pool.cuh"

namespace mmvl {
namespace {

at::Tensor bev_pool(const at::Tensor& weights_, const at::Tensor& features_,
                    const at::Tensor& index_weight_, const at::Tensor& index_feature_,
                    const at::Tensor& index_voxel_, const at::Tensor& starts_,
                    const at::Tensor& lengths_, int64_t num_voxels) {
  check_floats({weights_, features_});
  check_indices({index_weight_, index_feature_, index_voxel_}, features_.device());
  check_indices({starts_, lengths_}, features_.device());
  const c10::cuda::CUDAGuard guard(features_.device());
  const at::Tensor weights = weights_.contiguous(), features = features_.contiguous();
  const at::Tensor index_weight = index_weight_.contiguous();
  const at::Tensor index_feature = index_feature_.contiguous();
  const at::Tensor index_voxel = index_voxel_.contiguous();
  const at::Tensor starts = starts_.contiguous(), lengths = lengths_.contiguous();
  at::Tensor out = at::zeros({num_voxels, features.size(1)}, features.options());
  const PoolIndex index = {indices(index_weight), indices(index_feature), indices(index_voxel),
                           index_voxel.numel(),   weights.numel(),        features.size(0),
                           num_voxels,            features.size(1)};
  AT_DISPATCH_FLOATING_TYPES(features.scalar_type(), "bev_pool", [&] {
    launch_bev_pool(index, weights.const_data_ptr<scalar_t>(),
                    features.const_data_ptr<scalar_t>(), indices(starts), indices(lengths),
                    starts.numel(), out.mutable_data_ptr<scalar_t>(),
                    c10::cuda::getCurrentCUDAStream());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  });
  return out;
}

std::tuple<at::Tensor, at::Tensor> bev_pool_backward(
    const at::Tensor& grad_, const at::Tensor& weights_, const at::Tensor& features_,
    const at::Tensor& index_weight_, const at::Tensor& index_feature_,
    const at::Tensor& index_voxel_) {
  check_floats({grad_, weights_, features_});
  check_indices({index_weight_, index_feature_, index_voxel_}, features_.device());
  const c10::cuda::CUDAGuard guard(features_.device());
  const at::Tensor grad = grad_.contiguous(), weights = weights_.contiguous();
  const at::Tensor features = features_.contiguous();
  const at::Tensor index_weight = index_weight_.contiguous();
  const at::Tensor index_feature = index_feature_.contiguous();
  const at::Tensor index_voxel = index_voxel_.contiguous();
  const PoolIndex index = {indices(index_weight), indices(index_feature), indices(index_voxel),
                           index_voxel.numel(),   weights.numel(),        features.size(0),
                           grad.size(0),          features.size(1)};
  const Groups by_feature = group(index_feature, index.rows);
  const Groups by_weight = group(index_weight, index.weights);
  at::Tensor for_weights = at::empty_like(weights), for_features = at::empty_like(features);
  at::Tensor dots = at::empty({index.points}, weights.options());
  AT_DISPATCH_FLOATING_TYPES(features.scalar_type(), "bev_pool_backward", [&] {
    launch_bev_pool_backward(
        index, grad.const_data_ptr<scalar_t>(), weights.const_data_ptr<scalar_t>(),
        features.const_data_ptr<scalar_t>(),
        Order{indices(by_feature.order), indices(by_feature.starts)},
        Order{indices(by_weight.order), indices(by_weight.starts)},
        dots.mutable_data_ptr<scalar_t>(), for_weights.mutable_data_ptr<scalar_t>(),
        for_features.mutable_data_ptr<scalar_t>(), c10::cuda::getCurrentCUDAStream());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  });
  return {for_weights, for_features};
}

}  // namespace

TORCH_LIBRARY_IMPL(mmvl, CUDA, m) {
  m.impl("bev_pool", &bev_pool);
  m.impl("bev_pool_backward", &bev_pool_backward);
}

}  // namespace mmvl
