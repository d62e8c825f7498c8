// Where a point lies between eight voxels, for the CPU and for CUDA. Free of torch headers.
#pragma once

#include <cmath>

#include "ray.h"

namespace mmvl {

// A cell is the space between eight voxel centres: one more than voxels along each axis, for the
// outermost cells have voxels on one side only. Cell i lies between the voxels i - 1 and i.
struct Cells {
  Grid grid;

  MMVL_HOST_DEVICE int64_t row() const { return grid.width + 1; }
  MMVL_HOST_DEVICE int64_t layer() const { return row() * (grid.height + 1); }
  MMVL_HOST_DEVICE int64_t volume() const { return layer() * (grid.depth + 1); }
};

template <typename T>
struct Place {
  int64_t x, y, z;  // lower voxel, -1 at the rim
  T fx, fy, fz;     // 0-1, the part of the way to the upper voxel
};

// False for a point that touches no voxel, NaN among them.
template <typename T>
MMVL_HOST_DEVICE inline bool find_place(const Grid& grid, const T* point, Place<T>& place) {
  const T x = floor(point[0]), y = floor(point[1]), z = floor(point[2]);
  if (!(x >= -1 && x < grid.width && y >= -1 && y < grid.height && z >= -1 && z < grid.depth)) {
    return false;
  }
  place = {static_cast<int64_t>(x), static_cast<int64_t>(y), static_cast<int64_t>(z),
           point[0] - x, point[1] - y, point[2] - z};
  return true;
}

template <typename T>
MMVL_HOST_DEVICE inline int64_t cell_of(const Cells& cells, const Place<T>& place, int64_t batch) {
  return batch * cells.volume() + (place.z + 1) * cells.layer() + (place.y + 1) * cells.row() +
         place.x + 1;
}

// Share of one corner (0 lower, 1 upper) along one axis, and what it changes by.
template <typename T>
MMVL_HOST_DEVICE inline T share_of(T part, int corner) {
  return corner ? part : 1 - part;
}

// Flat voxel of one corner, or -1 outside the grid.
template <typename T>
MMVL_HOST_DEVICE inline int64_t corner_voxel(const Grid& grid, const Place<T>& place, int64_t batch,
                                             int dx, int dy, int dz) {
  const int64_t x = place.x + dx, y = place.y + dy, z = place.z + dz;
  if (x < 0 || x >= grid.width || y < 0 || y >= grid.height || z < 0 || z >= grid.depth) {
    return -1;
  }
  return ((batch * grid.depth + z) * grid.height + y) * grid.width + x;
}

}  // namespace mmvl
