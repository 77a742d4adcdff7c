/*
 * mma.cuh: matrix products of a warp on tensor cores and asynchronous copies to shared memory, from sm_80 on, with a twin
 * of each for the host. All 32 lanes of a warp call together.
 *
 * Fragments of mma.sync.m16n8k16 (PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type"), where lane
 * = 4 * group + member, and each register of a and b holds two neighbours, the first in its lower half:
 *   a [16 rows, 16 columns]   register 0: row group,     columns 2 * member and + 1
 *                             register 1: row group + 8, the same columns
 *                             registers 2, 3: the same rows, columns 2 * member + 8 and + 9
 *   b [16 rows, 8 columns]    register 0: rows 2 * member and + 1, column group
 *                             register 1: rows 2 * member + 8 and + 9, column group
 *   c [16 rows, 8 columns]    numbers 0, 1: row group,     columns 2 * member and + 1
 *                             numbers 2, 3: row group + 8, the same columns
 * ldmatrix.x4 loads four 8 x 8 matrices; lane i gives the address of row i % 8 of matrix i / 8. Register m of a lane then
 * holds of matrix m row group, columns 2 * member and + 1; of its transpose with .trans: rows 2 * member and + 1,
 * column group.
 */
#ifndef IDREC_CUDA_MMA_CUH
#define IDREC_CUDA_MMA_CUH

#include "cuda/warp.cuh"

/* The rows of a fragment of a or c that a lane holds are group and group + 8, its columns of c 2 * member and + 1. */
__device__ inline int lane_group()
{
    return lane_index() / 4;
}

__device__ inline int lane_member()
{
    return lane_index() % 4;
}

/* ---- instructions -------------------------------------------------------------------------------------- */

#ifndef IDREC_HOST_CUDA

__device__ inline unsigned shared_address(const void *pointer)
{
    return (unsigned)__cvta_generic_to_shared(pointer);
}

/* c += a b. */
__device__ inline void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* `row`: of the matrix that this lane names. */
__device__ inline void load_matrices(uint32_t (&matrices)[4], const bf16 *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3])
                 : "r"(shared_address(row))
                 : "memory");
}

__device__ inline void load_matrices_transposed(uint32_t (&matrices)[4], const bf16 *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3])
                 : "r"(shared_address(row))
                 : "memory");
}

/* Starts a copy of 16 bytes to shared memory; zeros when it is not `there`, and nothing is read. */
__device__ inline void copy_pack(bf16 *to, const bf16 *from, bool there)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
                 "r"(there ? 16 : 0)
                 : "memory");
}

__device__ inline void copy_number(float *to, const float *from, bool there)
{
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(to)), "l"(from),
                 "r"(there ? 4 : 0)
                 : "memory");
}

/* The copies that this thread has started since the last call are a group. */
__device__ inline void close_copies()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

/* Waits until at most the newest `groups` of this thread go on. */
template <int groups> __device__ inline void wait_for_copies()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(groups) : "memory");
}

__device__ inline uint32_t two_bf16(float low, float high)
{
    uint32_t bits;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
    return bits;
}

/* 2^x; subnormal results are 0. */
__device__ inline float binary_exponential(float x)
{
    float result;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
    return result;
}

#else

/* The number `half` (0: the lower) of a register. */
inline float half_of(uint32_t bits, int half)
{
    return to_float(bf16{(uint16_t)(bits >> (16 * half))});
}

/* Fragments as given by the lanes of a warp. */
struct given_fragments {
    uint32_t a[4], b[2];
};

inline float a_element(const void *const (&lanes)[32], int row, int column)
{
    const given_fragments *lane = static_cast<const given_fragments *>(lanes[4 * (row % 8) + column % 8 / 2]);
    return half_of(lane->a[row / 8 + 2 * (column / 8)], column % 2);
}

inline float b_element(const void *const (&lanes)[32], int row, int column)
{
    const given_fragments *lane = static_cast<const given_fragments *>(lanes[4 * column + row % 8 / 2]);
    return half_of(lane->b[row / 8], row % 2);
}

inline void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    const given_fragments given = {{a[0], a[1], a[2], a[3]}, {b0, b1}};
    const void *lanes[32];
    host_cuda::give_address(&given, lanes);
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 16; k++)
            c[i] += a_element(lanes, lane_group() + 8 * (i / 2), k) *
                    b_element(lanes, k, 2 * lane_member() + i % 2);
    host_cuda::warp_barrier();
}

inline uint16_t matrix_element(const void *const (&rows)[32], int matrix, int row, int column)
{
    return static_cast<const bf16 *>(rows[8 * matrix + row])[column].bits;
}

inline void load_matrices(uint32_t (&matrices)[4], const bf16 *row)
{
    const void *rows[32];
    host_cuda::give_address(row, rows);
    for (int m = 0; m < 4; m++)
        matrices[m] = matrix_element(rows, m, lane_group(), 2 * lane_member()) |
                      (uint32_t)matrix_element(rows, m, lane_group(), 2 * lane_member() + 1) << 16;
    host_cuda::warp_barrier();
}

inline void load_matrices_transposed(uint32_t (&matrices)[4], const bf16 *row)
{
    const void *rows[32];
    host_cuda::give_address(row, rows);
    for (int m = 0; m < 4; m++)
        matrices[m] = matrix_element(rows, m, 2 * lane_member(), lane_group()) |
                      (uint32_t)matrix_element(rows, m, 2 * lane_member() + 1, lane_group()) << 16;
    host_cuda::warp_barrier();
}

inline void copy_pack(bf16 *to, const bf16 *from, bool there)
{
    host_cuda::copy_later(to, there ? from : nullptr, 16);
}

inline void copy_number(float *to, const float *from, bool there)
{
    host_cuda::copy_later(to, there ? from : nullptr, 4);
}

inline void close_copies()
{
    host_cuda::close_copy_group();
}

template <int groups> inline void wait_for_copies()
{
    host_cuda::wait_for_copies(groups);
}

inline uint32_t two_bf16(float low, float high)
{
    return from_float<bf16>(low).bits | (uint32_t)from_float<bf16>(high).bits << 16;
}

inline float binary_exponential(float x)
{
    return exp2f(x);
}

#endif

/* ---- fragments of tiles in shared memory ---------------------------------------------------------------- */

/* Fragment a: rows first .. + 15 and columns column .. + 15 of a tile [rows, stride]. */
template <int stride> __device__ inline void load_a(uint32_t (&a)[4], const bf16 *tile, int first, int column)
{
    load_matrices(a, tile + (first + lane_index() % 16) * stride + column + lane_index() / 16 * 8);
}

/* Two fragments b, {0, 1} of columns first .. + 7 and {2, 3} of + 8 .. + 15, of the transpose of a tile: its rows
 * first .. + 15 are columns of b, its columns column .. + 15 rows of b. */
template <int stride>
__device__ inline void load_b_of_rows(uint32_t (&b)[4], const bf16 *tile, int first, int column)
{
    const int row = first + lane_index() / 16 * 8 + lane_index() % 8;
    load_matrices(b, tile + row * stride + column + lane_index() / 8 % 2 * 8);
}

/* The same of the tile itself: rows first .. + 15 of it are rows of b, columns column .. + 15 columns of b. */
template <int stride>
__device__ inline void load_b_of_columns(uint32_t (&b)[4], const bf16 *tile, int first, int column)
{
    load_matrices_transposed(b, tile + (first + lane_index() % 16) * stride + column + lane_index() / 16 * 8);
}

/* Two fragments c side by side, columns 0 .. 7 and 8 .. 15, rounded to bf16, are a fragment a. */
__device__ inline void a_of_c(uint32_t (&a)[4], const float (&left)[4], const float (&right)[4])
{
    a[0] = two_bf16(left[0], left[1]);
    a[1] = two_bf16(left[2], left[3]);
    a[2] = two_bf16(right[0], right[1]);
    a[3] = two_bf16(right[2], right[3]);
}

#endif
