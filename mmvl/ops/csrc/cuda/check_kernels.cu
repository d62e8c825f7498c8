// Compiles every kernel without torch: `nvcc -c check_kernels.cu` needs neither torch nor a GPU.
// No part of the library.
#include "kernels/bev_pool.cuh"
#include "kernels/soft_splat.cuh"
#include "kernels/voxel_ray_cast.cuh"

namespace mmvl {

#define MMVL_INSTANTIATE(T)                                                                       \
  template void launch_bev_pool<T>(const PoolIndex&, const T*, const T*, const int64_t*,         \
                                   const int64_t*, int64_t, T*, cudaStream_t);                   \
  template void launch_bev_pool_backward<T>(const PoolIndex&, const T*, const T*, const T*,      \
                                            const Order&, const Order&, T*, T*, T*,              \
                                            cudaStream_t);                                       \
  template void launch_splat_cells<T>(const SplatInput<T>&, const Cells&, int64_t*,              \
                                      cudaStream_t);                                             \
  template void launch_soft_splat<T>(const SplatInput<T>&, const Cells&, const int64_t*,         \
                                     const int64_t*, T*, cudaStream_t);                          \
  template void launch_soft_splat_backward<T>(const SplatInput<T>&, const Grid&, const T*,       \
                                              const int64_t*, const int64_t*, T*, T*, T*,        \
                                              cudaStream_t);

MMVL_INSTANTIATE(float)
MMVL_INSTANTIATE(double)

}  // namespace mmvl
