#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <torch/library.h>

#include <vector>

#include "../place.h"
#include "common.h"

namespace mmvl {
namespace {

// A point as the splat reads it: sorted by cell, so that memory is read in order.
template <typename T>
struct Splat {
  T fx, fy, fz, weight;
  int32_t row;
};

template <typename T>
struct Input {
  const T* weights;
  const T* coordinates;
  const T* features;
  const int64_t* index_feature;
  const int64_t* batch;
  int64_t points, channels;
};

// Points sorted by cell, and where the points of each cell begin.
template <typename T>
struct Sorted {
  std::unique_ptr<int32_t[]> starts;
  std::unique_ptr<Splat<T>[]> points;
};

template <typename T>
Sorted<T> sort_by_cell(const Input<T>& input, const Cells& cells, int64_t number) {
  std::unique_ptr<int32_t[]> keys(new int32_t[std::max<int64_t>(input.points, 1)]);
  at::parallel_for(0, input.points, kGrain, [&](int64_t begin, int64_t end) {
    Place<T> place = {};
    for (int64_t i = begin; i < end; ++i) {
      const bool inside = find_place(cells.grid, input.coordinates + 3 * i, place);
      keys[i] = inside ? static_cast<int32_t>(cell_of(cells, place, input.batch[i])) : -1;
    }
  });
  Groups groups = group(keys.get(), input.points, number);
  const int64_t kept = groups.starts[number];
  Sorted<T> sorted = {std::move(groups.starts), nullptr};
  sorted.points.reset(new Splat<T>[std::max<int64_t>(kept, 1)]);
  at::parallel_for(0, kept, kGrain, [&](int64_t begin, int64_t end) {
    Place<T> place = {};
    for (int64_t k = begin; k < end; ++k) {
      const int64_t i = groups.order[k];
      find_place(cells.grid, input.coordinates + 3 * i, place);
      sorted.points[k] = {place.fx, place.fy, place.fz, input.weights[i],
                          static_cast<int32_t>(input.index_feature[i])};
    }
  });
  return sorted;
}

// One row of voxels (fixed b, z, y) sums the four rows of cells around it, in a fixed order: no
// voxel is written by two threads, and the sums do not depend on how many threads there are.
template <typename T>
void sum_row(const Input<T>& input, const Cells& cells, const Sorted<T>& sorted, int64_t batch,
             int64_t z, int64_t y, T* out) {
  const int64_t channels = input.channels, width = cells.grid.width;
  for (int side = 0; side < 4; ++side) {
    const int dz = side >> 1, dy = side & 1;
    const int64_t first = batch * cells.volume() + (z + 1 - dz) * cells.layer() +
                          (y + 1 - dy) * cells.row();
    for (int64_t x = 0; x <= width; ++x) {
      T* lower = x > 0 ? out + (x - 1) * channels : nullptr;
      T* upper = x < width ? out + x * channels : nullptr;
      for (int32_t k = sorted.starts[first + x]; k < sorted.starts[first + x + 1]; ++k) {
        const Splat<T>& point = sorted.points[k];
        const T share = point.weight * share_of(point.fz, dz) * share_of(point.fy, dy);
        const T* row = input.features + point.row * channels;
        if (lower) {
          const T part = share * (1 - point.fx);
          for (int64_t c = 0; c < channels; ++c) {
            lower[c] += part * row[c];
          }
        }
        if (upper) {
          const T part = share * point.fx;
          for (int64_t c = 0; c < channels; ++c) {
            upper[c] += part * row[c];
          }
        }
      }
    }
  }
}

template <typename T>
void splat(const Input<T>& input, const Grid& grid, int64_t batch_size, T* out) {
  const Cells cells = {grid};
  const Sorted<T> sorted = sort_by_cell(input, cells, batch_size * cells.volume());
  at::parallel_for(0, batch_size * grid.depth * grid.height, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t layer = i / grid.height;
      sum_row(input, cells, sorted, layer / grid.depth, layer % grid.depth, i % grid.height,
              out + i * grid.width * input.channels);
    }
  });
}

// Gradients of one point; adds the gradient of its features to for_feature.
template <typename T>
void pull_point(const Input<T>& input, const Grid& grid, const T* grad, int64_t i, T* sums,
                T* for_weight, T* for_coordinate, T* for_feature) {
  Place<T> place = {};
  if (!find_place(grid, input.coordinates + 3 * i, place)) {
    return;
  }
  const int64_t channels = input.channels;
  const T* feature = input.features + input.index_feature[i] * channels;
  std::fill(sums, sums + channels, T(0));
  T weight = 0, slopes[3] = {};
  for (int corner = 0; corner < 8; ++corner) {
    const int dx = corner & 1, dy = corner >> 1 & 1, dz = corner >> 2;
    const int64_t voxel = corner_voxel(grid, place, input.batch[i], dx, dy, dz);
    if (voxel < 0) {
      continue;
    }
    const T* cell = grad + voxel * channels;
    const T x = share_of(place.fx, dx), y = share_of(place.fy, dy), z = share_of(place.fz, dz);
    const T share = x * y * z;
    T dot = 0;
    for (int64_t c = 0; c < channels; ++c) {
      dot += cell[c] * feature[c];
      sums[c] += share * cell[c];
    }
    weight += share * dot;
    slopes[0] += (dx ? dot : -dot) * y * z;
    slopes[1] += (dy ? dot : -dot) * x * z;
    slopes[2] += (dz ? dot : -dot) * x * y;
  }
  *for_weight = weight;
  for (int axis = 0; axis < 3; ++axis) {
    for_coordinate[axis] = input.weights[i] * slopes[axis];
  }
  for (int64_t c = 0; c < channels; ++c) {
    for_feature[c] += input.weights[i] * sums[c];
  }
}

template <typename T>
void pull_back(const Input<T>& input, const Grid& grid, int64_t rows, const T* grad,
               T* for_weights, T* for_coordinates, T* for_features) {
  const Groups groups = group(input.index_feature, input.points, rows);
  at::parallel_for(0, rows, 1, [&](int64_t begin, int64_t end) {
    std::vector<T> sums(input.channels);
    for (int64_t r = begin; r < end; ++r) {
      for (int32_t k = groups.starts[r]; k < groups.starts[r + 1]; ++k) {
        const int64_t i = groups.order[k];
        pull_point(input, grid, grad, i, sums.data(), for_weights + i, for_coordinates + 3 * i,
                   for_features + r * input.channels);
      }
    }
  });
}

void check(const at::Tensor& weights, const at::Tensor& coordinates, const at::Tensor& features,
           const at::Tensor& index_feature, const at::Tensor& batch, const Grid& grid,
           int64_t batch_size) {
  check_floats({weights, coordinates, features});
  check_indices({index_feature, batch}, features.device());
  const int64_t points = batch.numel();
  TORCH_CHECK(weights.numel() == points && coordinates.numel() == 3 * points,
              "weights must be (P,) and coordinates (P, 3), as many as indices");
  check_count(points, "points");
  check_count(features.size(0), "rows of features");
  check_count(batch_size * Cells{grid}.volume(), "cells");
  check_range(index_feature, features.size(0), "index_feature");
  check_range(batch, batch_size, "batch");
}

template <typename T>
Input<T> input_of(const at::Tensor& weights, const at::Tensor& coordinates,
                  const at::Tensor& features, const at::Tensor& index_feature,
                  const at::Tensor& batch) {
  return {weights.const_data_ptr<T>(),
          coordinates.const_data_ptr<T>(),
          features.const_data_ptr<T>(),
          index_feature.const_data_ptr<int64_t>(),
          batch.const_data_ptr<int64_t>(),
          batch.numel(),
          features.size(1)};
}

at::Tensor soft_splat(const at::Tensor& weights_, const at::Tensor& coordinates_,
                      const at::Tensor& features_, const at::Tensor& index_feature_,
                      const at::Tensor& batch_, at::IntArrayRef size, int64_t batch_size) {
  TORCH_CHECK(size.size() == 3, "grid must be (X, Y, Z)");
  const Grid grid = {size[0], size[1], size[2]};
  const at::Tensor weights = weights_.contiguous(), coordinates = coordinates_.contiguous();
  const at::Tensor features = features_.contiguous(), batch = batch_.contiguous();
  const at::Tensor index_feature = index_feature_.contiguous();
  check(weights, coordinates, features, index_feature, batch, grid, batch_size);
  at::Tensor out = at::zeros({batch_size, grid.depth, grid.height, grid.width, features.size(1)},
                             features.options());
  AT_DISPATCH_FLOATING_TYPES(features.scalar_type(), "soft_splat", [&] {
    splat(input_of<scalar_t>(weights, coordinates, features, index_feature, batch), grid,
          batch_size, out.mutable_data_ptr<scalar_t>());
  });
  return out;
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> soft_splat_backward(
    const at::Tensor& grad_, const at::Tensor& weights_, const at::Tensor& coordinates_,
    const at::Tensor& features_, const at::Tensor& index_feature_, const at::Tensor& batch_) {
  TORCH_CHECK(grad_.dim() == 5, "grad must be (B, Z, Y, X, C)");
  const Grid grid = {grad_.size(3), grad_.size(2), grad_.size(1)};
  const at::Tensor grad = grad_.contiguous(), batch = batch_.contiguous();
  const at::Tensor weights = weights_.contiguous(), coordinates = coordinates_.contiguous();
  const at::Tensor features = features_.contiguous();
  const at::Tensor index_feature = index_feature_.contiguous();
  check_floats({grad, features});
  check(weights, coordinates, features, index_feature, batch, grid, grad.size(0));
  at::Tensor for_weights = at::zeros_like(weights), for_features = at::zeros_like(features);
  at::Tensor for_coordinates = at::zeros_like(coordinates);
  AT_DISPATCH_FLOATING_TYPES(features.scalar_type(), "soft_splat_backward", [&] {
    pull_back(input_of<scalar_t>(weights, coordinates, features, index_feature, batch), grid,
              features.size(0), grad.const_data_ptr<scalar_t>(),
              for_weights.mutable_data_ptr<scalar_t>(),
              for_coordinates.mutable_data_ptr<scalar_t>(),
              for_features.mutable_data_ptr<scalar_t>());
  });
  return {for_weights, for_coordinates, for_features};
}

}  // namespace

TORCH_LIBRARY_IMPL(mmvl, CPU, m) {
  m.impl("soft_splat", &soft_splat);
  m.impl("soft_splat_backward", &soft_splat_backward);
}

}  // namespace mmvl
