// The walk of one ray through a grid, for the CPU and for CUDA. Free of torch headers.
#pragma once

#include <cfloat>
#include <cmath>
#include <cstdint>

#ifdef __CUDACC__
#define MMVL_HOST_DEVICE __host__ __device__
#else
#define MMVL_HOST_DEVICE
#endif

namespace mmvl {

constexpr int kMaxSteps = 1001;
// a ray that begins farther away cannot reach the grid in so many steps, and fits an integer
constexpr double kFarthest = 1073741824.0;

struct Grid {
  int64_t width, height, depth;
};

struct Found {
  double distance;
  int64_t x, y, z;
  bool hit;
};

// One coordinate of the walk.
struct Axis {
  int64_t place;
  int step;
  double border;  // path to the next border
  double delta;   // path between two borders
};

MMVL_HOST_DEVICE inline Axis begin_axis(double start, double direction) {
  Axis axis;
  axis.place = static_cast<int64_t>(start);  // towards zero: (-1, 0) counts as voxel 0
  axis.step = direction >= 0 ? 1 : -1;
  const double next = static_cast<double>(axis.place + (axis.step > 0 ? 1 : 0));
  axis.border = direction != 0 ? (next - start) / direction : DBL_MAX;
  axis.delta = direction != 0 ? axis.step / direction : DBL_MAX;
  return axis;
}

MMVL_HOST_DEVICE inline double advance(Axis& axis) {
  const double passed = axis.border;
  axis.place += axis.step;
  axis.border += axis.delta;
  return passed;
}

// Squares are rounded before they are added, on every device, so that results are the same bits.
MMVL_HOST_DEVICE inline double length_of(double x, double y, double z) {
#ifdef __CUDA_ARCH__
  return sqrt(__dadd_rn(__dadd_rn(__dmul_rn(x, x), __dmul_rn(y, y)), __dmul_rn(z, z)));
#else
  return std::sqrt(x * x + y * y + z * z);
#endif
}

// occupied: one grid, (depth, height, width). start, end: xyz in voxels.
MMVL_HOST_DEVICE inline Found cast_ray(const bool* occupied, const Grid& grid, const double* start,
                                       const double* end) {
  Found found = {-1.0, 0, 0, 0, false};
  // written so that NaN fails too
  if (!(fabs(start[0]) < kFarthest && fabs(start[1]) < kFarthest && fabs(start[2]) < kFarthest)) {
    return found;
  }
  const double wx = end[0] - start[0], wy = end[1] - start[1], wz = end[2] - start[2];
  const double length = length_of(wx, wy, wz);
  Axis x = begin_axis(start[0], wx / length);
  Axis y = begin_axis(start[1], wy / length);
  Axis z = begin_axis(start[2], wz / length);
  bool was_inside = false;
  for (int i = 0; i < kMaxSteps; ++i) {
    const bool inside = x.place >= 0 && x.place < grid.width && y.place >= 0 &&
                        y.place < grid.height && z.place >= 0 && z.place < grid.depth;
    if (!inside && was_inside) {
      break;  // it does not come back
    }
    const int64_t px = x.place, py = y.place, pz = z.place;
    double passed;
    if (x.border < y.border) {
      passed = x.border < z.border ? advance(x) : advance(z);
    } else {
      passed = y.border < z.border ? advance(y) : advance(z);
    }
    if (inside) {
      was_inside = true;
      found = {passed, px, py, pz, occupied[(pz * grid.height + py) * grid.width + px]};
      if (found.hit) {
        break;
      }
    }
  }
  return found;
}

}  // namespace mmvl
