// One thread walks one ray. Free of torch headers.
#pragma once

#include <cassert>

#include "../../ray.h"
#include "launch.cuh"

namespace mmvl {

// occupied: (grids, depth, height, width). origins, ends: (rays, 3) xyz in voxels.
__global__ void voxel_ray_cast_kernel(const bool* __restrict__ occupied, Grid grid, int64_t grids,
                                      const double* __restrict__ origins,
                                      const double* __restrict__ ends,
                                      const int64_t* __restrict__ index_grid, int64_t rays,
                                      double* __restrict__ distance, int64_t* __restrict__ voxel,
                                      bool* __restrict__ hit) {
  const int64_t volume = grid.width * grid.height * grid.depth;
  for (int64_t i = first_thread(); i < rays; i += all_threads()) {
    const int64_t which = index_grid[i];
    assert(which >= 0 && which < grids);
    const Found found = cast_ray(occupied + which * volume, grid, origins + 3 * i, ends + 3 * i);
    distance[i] = found.distance;
    voxel[3 * i] = found.x;
    voxel[3 * i + 1] = found.y;
    voxel[3 * i + 2] = found.z;
    hit[i] = found.hit;
  }
}

inline void launch_voxel_ray_cast(const bool* occupied, const Grid& grid, int64_t grids,
                                  const double* origins, const double* ends,
                                  const int64_t* index_grid, int64_t rays, double* distance,
                                  int64_t* voxel, bool* hit, cudaStream_t stream) {
  voxel_ray_cast_kernel<<<blocks_for(rays), kThreads, 0, stream>>>(
      occupied, grid, grids, origins, ends, index_grid, rays, distance, voxel, hit);
}

}  // namespace mmvl
