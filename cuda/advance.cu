#include "cuda/device.cuh"

enum { THREADS = 128 };

struct row_pointers {
    int32_t *token, *position, *length, *slot, *drawn, *log;
    int64_t *stream;
    uint32_t *forbidden; /* NULL: none */
    float *log_probability;
    int64_t words, columns;
};

static __device__ void end_row(const struct row_pointers &rows, int64_t row)
{
    rows.slot[row] = -1;
    rows.stream[row] = -1;
}

/* A thread owns a row, so that its bits need no atomic. */
__global__ void advance_kernel(struct row_pointers rows, const int32_t *tokens, const float *log_probability,
                               int32_t end, int64_t drawn_maximum, int64_t count)
{
    const int64_t row = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (row >= count || rows.stream[row] < 0)
        return;
    const int32_t token = tokens[row], drawn = rows.drawn[row];
    if (token < 0 || token == end) {
        end_row(rows, row);
        return;
    }
    const int64_t place = row * rows.columns + drawn % rows.columns;
    rows.log[place] = token;
    rows.log_probability[place] = log_probability[row];
    if (rows.forbidden)
        rows.forbidden[row * rows.words + token / 32] |= 1u << (token % 32);
    rows.token[row] = token;
    rows.position[row]++;
    rows.length[row]++;
    rows.drawn[row] = drawn + 1;
    if (drawn + 1 >= drawn_maximum)
        end_row(rows, row);
}

void cuda_advance(struct backend *backend, struct decode_rows rows, const struct tensor *tokens,
                  const struct tensor *log_probability, int32_t end, int64_t drawn_maximum)
{
    const int64_t count = tokens->shape[0];
    const struct row_pointers pointers = {
        .token = data_of<int32_t>(rows.token),
        .position = data_of<int32_t>(rows.position),
        .length = data_of<int32_t>(rows.length),
        .slot = data_of<int32_t>(rows.slot),
        .drawn = data_of<int32_t>(rows.drawn),
        .log = data_of<int32_t>(rows.log),
        .stream = data_of<int64_t>(rows.stream),
        .forbidden = data_of<uint32_t>(rows.forbidden),
        .log_probability = data_of<float>(rows.log_probability),
        .words = rows.forbidden ? rows.forbidden->shape[1] : 0,
        .columns = rows.log->shape[1],
    };
    LAUNCH(backend, advance_kernel, dim3(blocks_for(count, THREADS)), dim3(THREADS), 0, pointers,
           data_of<int32_t>(tokens), data_of<float>(log_probability), end, drawn_maximum, count);
}
