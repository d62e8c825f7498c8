#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <torch/library.h>

#include "common.h"

namespace mmvl {
namespace {

// Channels whose sums stay in registers.
constexpr int64_t kBlock = 16;

struct Pool {
  const int64_t* weight;   // (P,) place of the weight of each point
  const int64_t* feature;  // (P,) its row of features
  const int64_t* voxel;    // (P,) its voxel
  int64_t channels;
};

template <typename T, int64_t kWidth>
void sum_run(const Pool& pool, const T* weights, const T* features, int64_t start, int64_t length,
             T* out) {
  T sums[kWidth] = {};
  for (int64_t i = start; i < start + length; ++i) {
    const T weight = weights[pool.weight[i]];
    const T* row = features + pool.feature[i] * pool.channels;
    for (int64_t c = 0; c < kWidth; ++c) {
      sums[c] += weight * row[c];
    }
  }
  std::copy(sums, sums + kWidth, out);
}

// The runs must cover the points one after the other, each of one voxel, voxels in rising order:
// only then no voxel is written twice and the backward pass, which needs no runs, fits.
void check_runs(const at::Tensor& starts, const at::Tensor& lengths, const at::Tensor& voxels) {
  const int64_t* start = starts.const_data_ptr<int64_t>();
  const int64_t* length = lengths.const_data_ptr<int64_t>();
  const int64_t* voxel = voxels.const_data_ptr<int64_t>();
  const int64_t runs = starts.numel(), points = voxels.numel();
  int64_t expected = 0;
  for (int64_t i = 0; i < runs; ++i) {
    TORCH_CHECK_VALUE(start[i] == expected && length[i] > 0 && length[i] <= points - expected,
                      "run ", i, " (start ", start[i], ", length ", length[i],
                      ") does not follow the run before it");
    expected += length[i];
  }
  TORCH_CHECK_VALUE(expected == points, "the runs cover ", expected, " of ", points, " points");
  std::atomic<bool> good{true};
  at::parallel_for(0, runs, 1024, [&](int64_t begin, int64_t end) {
    bool fine = true;
    for (int64_t i = begin; i < end; ++i) {
      fine &= i == 0 || voxel[start[i]] > voxel[start[i] - 1];
      for (int64_t k = start[i] + 1; k < start[i] + length[i]; ++k) {
        fine &= voxel[k] == voxel[start[i]];
      }
    }
    if (!fine) {
      good = false;
    }
  });
  TORCH_CHECK_VALUE(good.load(), "index_voxel does not rise from run to run, or changes within");
}

at::Tensor bev_pool(const at::Tensor& weights_, const at::Tensor& features_,
                    const at::Tensor& index_weight_, const at::Tensor& index_feature_,
                    const at::Tensor& index_voxel_, const at::Tensor& starts_,
                    const at::Tensor& lengths_, int64_t num_voxels) {
  check_floats({weights_, features_});
  check_indices({index_weight_, index_feature_, index_voxel_}, features_.device());
  check_indices({starts_, lengths_}, features_.device());
  const at::Tensor weights = weights_.contiguous(), features = features_.contiguous();
  const at::Tensor index_weight = index_weight_.contiguous();
  const at::Tensor index_feature = index_feature_.contiguous();
  const at::Tensor index_voxel = index_voxel_.contiguous();
  const at::Tensor starts = starts_.contiguous(), lengths = lengths_.contiguous();
  check_range(index_weight, weights.numel(), "index_weight");
  check_range(index_feature, features.size(0), "index_feature");
  check_range(index_voxel, num_voxels, "index_voxel");
  check_runs(starts, lengths, index_voxel);
  const int64_t channels = features.size(1);
  at::Tensor out = at::zeros({num_voxels, channels}, features.options());
  const Pool pool = {index_weight.const_data_ptr<int64_t>(),
                     index_feature.const_data_ptr<int64_t>(),
                     index_voxel.const_data_ptr<int64_t>(), channels};
  AT_DISPATCH_FLOATING_TYPES(features.scalar_type(), "bev_pool", [&] {
    const scalar_t* weight = weights.const_data_ptr<scalar_t>();
    const scalar_t* row = features.const_data_ptr<scalar_t>();
    const int64_t* start = starts.const_data_ptr<int64_t>();
    const int64_t* length = lengths.const_data_ptr<int64_t>();
    scalar_t* pooled = out.mutable_data_ptr<scalar_t>();
    at::parallel_for(0, starts.numel(), 256, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        scalar_t* cell = pooled + pool.voxel[start[i]] * channels;
        int64_t c = 0;
        for (; c + kBlock <= channels; c += kBlock) {
          sum_run<scalar_t, kBlock>(pool, weight, row + c, start[i], length[i], cell + c);
        }
        for (; c < channels; ++c) {
          sum_run<scalar_t, 1>(pool, weight, row + c, start[i], length[i], cell + c);
        }
      }
    });
  });
  return out;
}

// One row of features after the other: its points are a group, and no two rows share a point.
template <typename T>
void pull_back(const Pool& pool, const Groups& groups, int64_t rows, const T* grad,
               const T* weights, const T* features, T* dots, T* for_features) {
  at::parallel_for(0, rows, 1, [&](int64_t begin, int64_t end) {
    const int64_t channels = pool.channels;
    for (int64_t r = begin; r < end; ++r) {
      const T* feature = features + r * channels;
      T* sums = for_features + r * channels;
      for (int32_t k = groups.starts[r]; k < groups.starts[r + 1]; ++k) {
        const int64_t point = groups.order[k];
        const T* cell = grad + pool.voxel[point] * channels;
        const T weight = weights[pool.weight[point]];
        T dot = 0;
        for (int64_t c = 0; c < channels; ++c) {
          sums[c] += weight * cell[c];
          dot += cell[c] * feature[c];
        }
        dots[point] = dot;
      }
    }
  });
}

std::tuple<at::Tensor, at::Tensor> bev_pool_backward(
    const at::Tensor& grad_, const at::Tensor& weights_, const at::Tensor& features_,
    const at::Tensor& index_weight_, const at::Tensor& index_feature_,
    const at::Tensor& index_voxel_) {
  check_floats({grad_, weights_, features_});
  check_indices({index_weight_, index_feature_, index_voxel_}, features_.device());
  check_count(index_voxel_.numel(), "points");
  const at::Tensor grad = grad_.contiguous(), weights = weights_.contiguous();
  const at::Tensor features = features_.contiguous();
  const at::Tensor index_weight = index_weight_.contiguous();
  const at::Tensor index_feature = index_feature_.contiguous();
  const at::Tensor index_voxel = index_voxel_.contiguous();
  check_range(index_weight, weights.numel(), "index_weight");
  check_range(index_feature, features.size(0), "index_feature");
  check_range(index_voxel, grad.size(0), "index_voxel");
  const int64_t points = index_voxel.numel(), rows = features.size(0);
  const Pool pool = {index_weight.const_data_ptr<int64_t>(),
                     index_feature.const_data_ptr<int64_t>(),
                     index_voxel.const_data_ptr<int64_t>(), features.size(1)};
  const Groups groups = group(pool.feature, points, rows);
  at::Tensor for_weights = at::zeros_like(weights), for_features = at::zeros_like(features);
  AT_DISPATCH_FLOATING_TYPES(features.scalar_type(), "bev_pool_backward", [&] {
    std::unique_ptr<scalar_t[]> dots(new scalar_t[std::max<int64_t>(points, 1)]);
    pull_back(pool, groups, rows, grad.const_data_ptr<scalar_t>(),
              weights.const_data_ptr<scalar_t>(), features.const_data_ptr<scalar_t>(), dots.get(),
              for_features.mutable_data_ptr<scalar_t>());
    // a weight may serve several points: they are added in the order of the points
    scalar_t* sums = for_weights.mutable_data_ptr<scalar_t>();
    for (int64_t i = 0; i < points; ++i) {
      sums[pool.weight[i]] += dots[i];
    }
  });
  return {for_weights, for_features};
}

}  // namespace

TORCH_LIBRARY_IMPL(mmvl, CPU, m) {
  m.impl("bev_pool", &bev_pool);
  m.impl("bev_pool_backward", &bev_pool_backward);
}

}  // namespace mmvl
