#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "../ray.h"
#include "common.h"

namespace mmvl {
namespace {

std::tuple<at::Tensor, at::Tensor, at::Tensor> voxel_ray_cast(const at::Tensor& occupied_,
                                                              const at::Tensor& origins_,
                                                              const at::Tensor& ends_,
                                                              const at::Tensor& index_grid_) {
  check_rays(occupied_, origins_, ends_, index_grid_);
  const int64_t rays = index_grid_.numel();
  const at::Tensor occupied = occupied_.contiguous(), origins = origins_.contiguous();
  const at::Tensor ends = ends_.contiguous(), index_grid = index_grid_.contiguous();
  check_range(index_grid, occupied.size(0), "index_grid");
  const Grid grid = {occupied.size(3), occupied.size(2), occupied.size(1)};
  const int64_t volume = grid.width * grid.height * grid.depth;
  at::Tensor distance = at::empty({rays}, origins.options());
  at::Tensor voxel = at::empty({rays, 3}, index_grid.options());
  at::Tensor hit = at::empty({rays}, occupied.options());
  const bool* cells = occupied.const_data_ptr<bool>();
  const double* from = origins.const_data_ptr<double>();
  const double* to = ends.const_data_ptr<double>();
  const int64_t* which = index_grid.const_data_ptr<int64_t>();
  double* path = distance.mutable_data_ptr<double>();
  int64_t* place = voxel.mutable_data_ptr<int64_t>();
  bool* met = hit.mutable_data_ptr<bool>();
  at::parallel_for(0, rays, 256, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Found found = cast_ray(cells + which[i] * volume, grid, from + 3 * i, to + 3 * i);
      path[i] = found.distance;
      place[3 * i] = found.x;
      place[3 * i + 1] = found.y;
      place[3 * i + 2] = found.z;
      met[i] = found.hit;
    }
  });
  return {distance, voxel, hit};
}

}  // namespace

TORCH_LIBRARY_IMPL(mmvl, CPU, m) { m.impl("voxel_ray_cast", &voxel_ray_cast); }

}  // namespace mmvl
