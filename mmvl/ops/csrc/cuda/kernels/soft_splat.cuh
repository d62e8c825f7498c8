// Trilinear splatting of points into voxels and its gradients. Free of torch headers; no atomics,
// so that results repeat bit by bit.
#pragma once

#include <cassert>

#include "../../place.h"
#include "launch.cuh"

namespace mmvl {

template <typename T>
struct SplatInput {
  const T* weights;              // (points,)
  const T* coordinates;          // (points, 3)
  const T* features;             // (rows, channels)
  const int64_t* index_feature;  // (points,)
  const int64_t* batch;          // (points,)
  int64_t points, rows, channels, batch_size;
};

// Cell of every point; points that touch no voxel go behind the last one.
template <typename T>
__global__ void splat_cells_kernel(SplatInput<T> input, Cells cells, int64_t* __restrict__ keys) {
  Place<T> place;
  for (int64_t i = first_thread(); i < input.points; i += all_threads()) {
    const int64_t batch = input.batch[i];
    assert(batch >= 0 && batch < input.batch_size);
    const bool inside = find_place(cells.grid, input.coordinates + 3 * i, place);
    keys[i] = inside ? cell_of(cells, place, batch) : input.batch_size * cells.volume();
  }
}

// One thread sums one channel of one voxel over the eight cells around it.
template <typename T>
__global__ void splat_kernel(SplatInput<T> input, Cells cells, const int64_t* __restrict__ order,
                             const int64_t* __restrict__ starts, T* __restrict__ out) {
  const Grid grid = cells.grid;
  const int64_t channels = input.channels;
  const int64_t total = input.batch_size * grid.depth * grid.height * grid.width * channels;
  for (int64_t i = first_thread(); i < total; i += all_threads()) {
    const int64_t channel = i % channels;
    int64_t voxel = i / channels;
    const int64_t x = voxel % grid.width;
    voxel /= grid.width;
    const int64_t y = voxel % grid.height;
    voxel /= grid.height;
    const int64_t z = voxel % grid.depth, batch = voxel / grid.depth;
    T sum = 0;
    for (int corner = 0; corner < 8; ++corner) {
      // the voxel is this corner of the cell
      const int dx = corner & 1, dy = corner >> 1 & 1, dz = corner >> 2;
      const int64_t cell = batch * cells.volume() + (z + 1 - dz) * cells.layer() +
                           (y + 1 - dy) * cells.row() + x + 1 - dx;
      for (int64_t k = starts[cell]; k < starts[cell + 1]; ++k) {
        const int64_t point = order[k];
        Place<T> place;
        find_place(grid, input.coordinates + 3 * point, place);
        const T share =
            share_of(place.fx, dx) * share_of(place.fy, dy) * share_of(place.fz, dz);
        const int64_t row = input.index_feature[point];
        assert(row >= 0 && row < input.rows);
        sum += input.weights[point] * share * input.features[row * channels + channel];
      }
    }
    out[i] = sum;
  }
}

// One warp: the gradients of the weight and the coordinates of a point.
template <typename T>
__global__ void splat_points_kernel(SplatInput<T> input, Grid grid, const T* __restrict__ grad,
                                    T* __restrict__ for_weights, T* __restrict__ for_coordinates) {
  const int lane = threadIdx.x % kWarp;
  for (int64_t i = first_thread() / kWarp; i < input.points; i += all_threads() / kWarp) {
    Place<T> place;
    T weight = 0, slope_x = 0, slope_y = 0, slope_z = 0;
    if (find_place(grid, input.coordinates + 3 * i, place)) {
      const T* feature = input.features + input.index_feature[i] * input.channels;
      for (int corner = 0; corner < 8; ++corner) {
        const int dx = corner & 1, dy = corner >> 1 & 1, dz = corner >> 2;
        const int64_t voxel = corner_voxel(grid, place, input.batch[i], dx, dy, dz);
        if (voxel < 0) {
          continue;
        }
        T dot = 0;
        for (int64_t c = lane; c < input.channels; c += kWarp) {
          dot += grad[voxel * input.channels + c] * feature[c];
        }
        const T x = share_of(place.fx, dx), y = share_of(place.fy, dy), z = share_of(place.fz, dz);
        weight += x * y * z * dot;
        slope_x += (dx ? dot : -dot) * y * z;
        slope_y += (dy ? dot : -dot) * x * z;
        slope_z += (dz ? dot : -dot) * x * y;
      }
    }
    weight = warp_sum(weight);
    slope_x = warp_sum(slope_x);
    slope_y = warp_sum(slope_y);
    slope_z = warp_sum(slope_z);
    if (lane == 0) {
      for_weights[i] = weight;
      for_coordinates[3 * i] = input.weights[i] * slope_x;
      for_coordinates[3 * i + 1] = input.weights[i] * slope_y;
      for_coordinates[3 * i + 2] = input.weights[i] * slope_z;
    }
  }
}

// One thread: the gradient of one channel of one row of features. order, starts: points by row.
template <typename T>
__global__ void splat_features_kernel(SplatInput<T> input, Grid grid, const T* __restrict__ grad,
                                      const int64_t* __restrict__ order,
                                      const int64_t* __restrict__ starts,
                                      T* __restrict__ for_features) {
  const int64_t channels = input.channels;
  for (int64_t i = first_thread(); i < input.rows * channels; i += all_threads()) {
    const int64_t row = i / channels, channel = i % channels;
    T sum = 0;
    for (int64_t k = starts[row]; k < starts[row + 1]; ++k) {
      const int64_t point = order[k];
      Place<T> place;
      if (!find_place(grid, input.coordinates + 3 * point, place)) {
        continue;
      }
      for (int corner = 0; corner < 8; ++corner) {
        const int dx = corner & 1, dy = corner >> 1 & 1, dz = corner >> 2;
        const int64_t voxel = corner_voxel(grid, place, input.batch[point], dx, dy, dz);
        if (voxel >= 0) {
          const T share =
              share_of(place.fx, dx) * share_of(place.fy, dy) * share_of(place.fz, dz);
          sum += input.weights[point] * share * grad[voxel * channels + channel];
        }
      }
    }
    for_features[i] = sum;
  }
}

template <typename T>
void launch_splat_cells(const SplatInput<T>& input, const Cells& cells, int64_t* keys,
                        cudaStream_t stream) {
  splat_cells_kernel<T><<<blocks_for(input.points), kThreads, 0, stream>>>(input, cells, keys);
}

template <typename T>
void launch_soft_splat(const SplatInput<T>& input, const Cells& cells, const int64_t* order,
                       const int64_t* starts, T* out, cudaStream_t stream) {
  const Grid& grid = cells.grid;
  const int64_t voxels = input.batch_size * grid.depth * grid.height * grid.width;
  splat_kernel<T><<<blocks_for(voxels * input.channels), kThreads, 0, stream>>>(
      input, cells, order, starts, out);
}

template <typename T>
void launch_soft_splat_backward(const SplatInput<T>& input, const Grid& grid, const T* grad,
                                const int64_t* order, const int64_t* starts, T* for_weights,
                                T* for_coordinates, T* for_features, cudaStream_t stream) {
  splat_points_kernel<T><<<blocks_for(input.points * kWarp), kThreads, 0, stream>>>(
      input, grid, grad, for_weights, for_coordinates);
  splat_features_kernel<T><<<blocks_for(input.rows * input.channels), kThreads, 0, stream>>>(
      input, grid, grad, order, starts, for_features);
}

}  // namespace mmvl
