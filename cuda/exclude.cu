#include "cuda/device.cuh"

enum { THREADS = 128 };

/* One block a row. */
template <typename T>
__global__ void exclude_kernel(T *logits, const int32_t *begin, const int32_t *last, const int32_t *columns,
                               int64_t classes)
{
    const int64_t row = blockIdx.x;
    for (int64_t i = begin[row] + (int64_t)threadIdx.x; i <= last[row]; i += THREADS)
        if (columns[i] >= 0 && columns[i] < classes)
            logits[row * classes + columns[i]] = from_float<T>((float)EXCLUDED_LOGIT);
}

void cuda_exclude(struct backend *backend, struct tensor *logits, const struct tensor *begin,
                  const struct tensor *last, const struct tensor *columns)
{
    if (logits->shape[0] == 0)
        return;
    BY_STORAGE(logits, {
        LAUNCH(backend, (exclude_kernel<T>), dim3((unsigned)logits->shape[0]), dim3(THREADS), 0,
               data_of<T>(logits), data_of<int32_t>(begin), data_of<int32_t>(last), data_of<int32_t>(columns),
               logits->shape[1]);
    });
}
