#include <torch/library.h>

#include "common.cuh"
#include "kernels/voxel_ray_cast.cuh"

namespace mmvl {
namespace {

std::tuple<at::Tensor, at::Tensor, at::Tensor> voxel_ray_cast(const at::Tensor& occupied_,
                                                              const at::Tensor& origins_,
                                                              const at::Tensor& ends_,
                                                              const at::Tensor& index_grid_) {
  check_rays(occupied_, origins_, ends_, index_grid_);
  const c10::cuda::CUDAGuard guard(occupied_.device());
  const at::Tensor occupied = occupied_.contiguous(), origins = origins_.contiguous();
  const at::Tensor ends = ends_.contiguous(), index_grid = index_grid_.contiguous();
  const int64_t rays = index_grid.numel();
  const Grid grid = {occupied.size(3), occupied.size(2), occupied.size(1)};
  at::Tensor distance = at::empty({rays}, origins.options());
  at::Tensor voxel = at::empty({rays, 3}, index_grid.options());
  at::Tensor hit = at::empty({rays}, occupied.options());
  launch_voxel_ray_cast(occupied.const_data_ptr<bool>(), grid, occupied.size(0),
                        origins.const_data_ptr<double>(), ends.const_data_ptr<double>(),
                        indices(index_grid), rays, distance.mutable_data_ptr<double>(),
                        voxel.mutable_data_ptr<int64_t>(), hit.mutable_data_ptr<bool>(),
                        c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return {distance, voxel, hit};
}

}  // namespace

TORCH_LIBRARY_IMPL(mmvl, CUDA, m) { m.impl("voxel_ray_cast", &voxel_ray_cast); }

}  // namespace mmvl
