#include "cuda/device.cuh"
#include "cuda/packs.cuh"
#include "cuda/warp.cuh"

enum { THREADS = 256, ROWS = THREADS / warp_width };

/* A warp a row. */
template <bool packed>
__global__ void unit_rows_forward_kernel(float *out, float *inverse_norm, const float *x, int64_t rows,
                                         int64_t width)
{
    constexpr int pack = pack_width<float>;
    const int64_t row = (int64_t)blockIdx.x * ROWS + warp_index();
    const int64_t end = row < rows ? width : 0;
    float values[pack], squares = 0.0f;
    for (int64_t first = lane_index() * pack; first < end; first += warp_width * pack) {
        load_values<packed>(values, x + row * width + first, end - first);
#pragma unroll
        for (int i = 0; i < pack; i++)
            squares = fmaf(values[i], values[i], squares);
    }
    const float norm = sqrtf(warp_sum(squares));
    const float inverse = 1.0f / (norm > (float)UNIT_ROWS_SMALLEST ? norm : (float)UNIT_ROWS_SMALLEST);
    if (lane_index() == 0 && row < rows)
        inverse_norm[row] = inverse;
    for (int64_t first = lane_index() * pack; first < end; first += warp_width * pack) {
        load_values<packed>(values, x + row * width + first, end - first);
#pragma unroll
        for (int i = 0; i < pack; i++)
            values[i] *= inverse;
        store_values<packed>(out + row * width + first, values, end - first);
    }
}

/* d_x += (d_out - out (out . d_out)) / norm. */
template <bool packed>
__global__ void unit_rows_backward_kernel(float *d_x, const float *d_out, const float *out,
                                          const float *inverse_norm, int64_t rows, int64_t width)
{
    constexpr int pack = pack_width<float>;
    const int64_t row = (int64_t)blockIdx.x * ROWS + warp_index();
    const int64_t start = row * width, end = row < rows ? width : 0;
    float upstream[pack], unit[pack], d[pack], along = 0.0f;
    for (int64_t first = lane_index() * pack; first < end; first += warp_width * pack) {
        load_values<packed>(upstream, d_out + start + first, end - first);
        load_values<packed>(unit, out + start + first, end - first);
#pragma unroll
        for (int i = 0; i < pack; i++)
            along = fmaf(upstream[i], unit[i], along);
    }
    along = warp_sum(along);
    const float inverse = row < rows ? inverse_norm[row] : 0.0f;
    for (int64_t first = lane_index() * pack; first < end; first += warp_width * pack) {
        load_values<packed>(upstream, d_out + start + first, end - first);
        load_values<packed>(unit, out + start + first, end - first);
        load_values<packed>(d, d_x + start + first, end - first);
#pragma unroll
        for (int i = 0; i < pack; i++)
            d[i] += inverse * (upstream[i] - along * unit[i]);
        store_values<packed>(d_x + start + first, d, end - first);
    }
}

void cuda_unit_rows_forward(struct backend *backend, struct tensor *out, struct tensor *inverse_norm,
                            const struct tensor *x)
{
    const int64_t rows = x->shape[0], width = x->shape[1];
    BY_ACCESS(packs_fit<float>(x->data, width) && aligned(out), {
        LAUNCH(backend, (unit_rows_forward_kernel<packed>), dim3(blocks_for(rows, ROWS)), dim3(THREADS), 0,
               data_of<float>(out), data_of<float>(inverse_norm), data_of<float>(x), rows, width);
    });
}

void cuda_unit_rows_backward(struct backend *backend, struct tensor *d_x, const struct tensor *d_out,
                             const struct tensor *out, const struct tensor *inverse_norm)
{
    const int64_t rows = out->shape[0], width = out->shape[1];
    BY_ACCESS(packs_fit<float>(d_x->data, width) && aligned(d_out, out), {
        LAUNCH(backend, (unit_rows_backward_kernel<packed>), dim3(blocks_for(rows, ROWS)), dim3(THREADS), 0,
               data_of<float>(d_x), data_of<float>(d_out), data_of<float>(out), data_of<float>(inverse_norm),
               rows, width);
    });
}
