/*
 * attention.cuh: what the portable attention kernels and those on tensor cores share: operands, and how a block finds
 * its part of the packed sequences, whose lengths only the device knows.
 */
#ifndef IDREC_CUDA_ATTENTION_CUH
#define IDREC_CUDA_ATTENTION_CUH

#include "cuda/device.cuh"
#include "cuda/warp.cuh"

/* Shapes as in core/ops.h. */
template <typename T> struct attention_operands {
    const T *q, *k, *v;
    const int32_t *starts; /* [sequences + 1] */
    int64_t tokens;
    int sequences, query_heads, key_heads, width;
    float scale;
    bool bidirectional;
    bool packed; /* rows of heads can be read 16 bytes at a time */

    __device__ int64_t query_stride() const
    {
        return (int64_t)query_heads * width;
    }
    __device__ int64_t key_stride() const
    {
        return (int64_t)key_heads * width;
    }
    __device__ int key_head_of(int head) const
    {
        return head / (query_heads / key_heads);
    }
    /* The first element of a token's head in q, out and their gradients, and in k, v and theirs. */
    __device__ int64_t query_at(int64_t token, int head) const
    {
        return token * query_stride() + head * width;
    }
    __device__ int64_t key_at(int64_t token, int key_head) const
    {
        return token * key_stride() + key_head * width;
    }
};

/* What backward reads besides. */
template <typename T> struct attention_gradient {
    const T *d_out;
    const float *log_sum_exp, *delta; /* [query_heads, tokens]; delta: sum of d_out * out over a head */
};

/* A part of at most TILE tokens of a sequence: that with the number `tile`, from token first + tile * TILE on. */
struct attention_tile {
    int64_t first; /* token of the sequence */
    int length;    /* tokens of the sequence */
    int tile, count;
};

/* Sequence s has the blocks from starts[s] / TILE + s on: at least as many as tiles, whatever the lengths. */
template <int TILE, typename T> inline unsigned attention_blocks(const attention_operands<T> &o)
{
    return (unsigned)(o.tokens / TILE + o.sequences);
}

/* The tile of block blockIdx.x, found by every warp; tile >= count: there is none. */
template <int TILE> __device__ inline attention_tile find_tile(const int32_t *starts, int sequences)
{
    const int wanted = (int)blockIdx.x;
    int sequence = 0;
    for (int count = sequences; count > 1;) {
        const int step = (count + warp_width - 1) / warp_width, probe = sequence + lane_index() * step;
        const bool before =
            probe < sequences && lane_index() * step < count && starts[probe] / TILE + probe <= wanted;
        const int passed = __popc(warp_ballot(before)), last = passed > 0 ? passed - 1 : 0;
        sequence += last * step;
        count = count - last * step < step ? count - last * step : step;
    }
    attention_tile found;
    found.first = starts[sequence];
    found.length = starts[sequence + 1] - starts[sequence];
    found.count = (found.length + TILE - 1) / TILE;
    found.tile = wanted - (starts[sequence] / TILE + sequence);
    return found;
}

/* attention_tensor_core.cu: the same in bf16 on tensor cores, for heads that this takes, causal only. */
bool tensor_cores_take(const attention_operands<bf16> &operands);
void attention_forward_on_tensor_cores(struct backend *backend, bf16 *out, float *log_sum_exp,
                                       const attention_operands<bf16> &operands);
void attention_backward_on_tensor_cores(struct backend *backend, bf16 *d_q, bf16 *d_k, bf16 *d_v,
                                        const attention_operands<bf16> &operands,
                                        const attention_gradient<bf16> &gradient);

#endif
