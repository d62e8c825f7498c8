// Sums of weighted features over sorted points. Free of torch headers; no atomics, so that results
// repeat bit by bit.
#pragma once

#include <cassert>

#include "launch.cuh"

namespace mmvl {

// Points P of a pool: places of their weights, their rows of features, their voxels.
struct PoolIndex {
  const int64_t* weight;
  const int64_t* feature;
  const int64_t* voxel;
  int64_t points, weights, rows, voxels, channels;
};

// One thread sums one channel of one run; neighbouring threads read neighbouring channels.
template <typename T>
__global__ void bev_pool_kernel(PoolIndex index, const T* __restrict__ weights,
                                const T* __restrict__ features, const int64_t* __restrict__ starts,
                                const int64_t* __restrict__ lengths, int64_t runs,
                                T* __restrict__ out) {
  const int64_t channels = index.channels;
  for (int64_t i = first_thread(); i < runs * channels; i += all_threads()) {
    const int64_t run = i / channels, channel = i % channels;
    const int64_t start = starts[run], end = start + lengths[run];
    assert(start >= 0 && end <= index.points);
    T sum = 0;
    for (int64_t k = start; k < end; ++k) {
      const int64_t row = index.feature[k], weight = index.weight[k];
      assert(row >= 0 && row < index.rows && weight >= 0 && weight < index.weights);
      sum += weights[weight] * features[row * channels + channel];
    }
    const int64_t voxel = index.voxel[start];
    assert(voxel >= 0 && voxel < index.voxels);
    out[voxel * channels + channel] = sum;
  }
}

// order: points sorted by row of features; starts (rows + 1,): where those of each row begin.
template <typename T>
__global__ void bev_pool_features_kernel(PoolIndex index, const T* __restrict__ grad,
                                         const T* __restrict__ weights,
                                         const int64_t* __restrict__ order,
                                         const int64_t* __restrict__ starts,
                                         T* __restrict__ for_features) {
  const int64_t channels = index.channels;
  for (int64_t i = first_thread(); i < index.rows * channels; i += all_threads()) {
    const int64_t row = i / channels, channel = i % channels;
    T sum = 0;
    for (int64_t k = starts[row]; k < starts[row + 1]; ++k) {
      const int64_t point = order[k];
      sum += weights[index.weight[point]] * grad[index.voxel[point] * channels + channel];
    }
    for_features[i] = sum;
  }
}

// One warp multiplies the gradient of a voxel and the features of a point.
template <typename T>
__global__ void bev_pool_dots_kernel(PoolIndex index, const T* __restrict__ grad,
                                     const T* __restrict__ features, T* __restrict__ dots) {
  const int64_t channels = index.channels;
  const int lane = threadIdx.x % kWarp;
  for (int64_t i = first_thread() / kWarp; i < index.points; i += all_threads() / kWarp) {
    const int64_t voxel = index.voxel[i], row = index.feature[i];
    assert(voxel >= 0 && voxel < index.voxels && row >= 0 && row < index.rows);
    T sum = 0;
    for (int64_t c = lane; c < channels; c += kWarp) {
      sum += grad[voxel * channels + c] * features[row * channels + c];
    }
    sum = warp_sum(sum);
    if (lane == 0) {
      dots[i] = sum;
    }
  }
}

// Adds the values of the points of each weight; order and starts as above, by weight.
template <typename T>
__global__ void sum_groups_kernel(const T* __restrict__ values, const int64_t* __restrict__ order,
                                  const int64_t* __restrict__ starts, int64_t groups,
                                  T* __restrict__ sums) {
  for (int64_t i = first_thread(); i < groups; i += all_threads()) {
    T sum = 0;
    for (int64_t k = starts[i]; k < starts[i + 1]; ++k) {
      sum += values[order[k]];
    }
    sums[i] = sum;
  }
}

template <typename T>
void launch_bev_pool(const PoolIndex& index, const T* weights, const T* features,
                     const int64_t* starts, const int64_t* lengths, int64_t runs, T* out,
                     cudaStream_t stream) {
  bev_pool_kernel<T><<<blocks_for(runs * index.channels), kThreads, 0, stream>>>(
      index, weights, features, starts, lengths, runs, out);
}

// by_feature, by_weight: order and starts of the points by row of features and by weight.
struct Order {
  const int64_t* order;
  const int64_t* starts;
};

template <typename T>
void launch_bev_pool_backward(const PoolIndex& index, const T* grad, const T* weights,
                              const T* features, const Order& by_feature, const Order& by_weight,
                              T* dots, T* for_weights, T* for_features, cudaStream_t stream) {
  bev_pool_dots_kernel<T><<<blocks_for(index.points * kWarp), kThreads, 0, stream>>>(
      index, grad, features, dots);
  sum_groups_kernel<T><<<blocks_for(index.weights), kThreads, 0, stream>>>(
      dots, by_weight.order, by_weight.starts, index.weights, for_weights);
  bev_pool_features_kernel<T><<<blocks_for(index.rows * index.channels), kThreads, 0, stream>>>(
      index, grad, weights, by_feature.order, by_feature.starts, for_features);
}

}  // namespace mmvl
