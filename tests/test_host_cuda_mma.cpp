/*
 * The twins of mma.cuh on the host: fragments against the formulas of the PTX ISA, in its own terms (element i of a
 * fragment, groupID, threadID_in_group), products of tiles in shared memory against plain loops, and copies that are
 * there only after the wait.
 */
#include <vector>

#include "cuda/device.cuh"
#include "cuda/mma.cuh"

extern "C" {
#include "cuda/backend.h"
#include "tests/host_schedule.h"
#include "tests/support.h"
}

enum { M = 16, N = 16, K = 16, STRIDE = 24, DEFECTS = 32 };

/* Small whole numbers, whose products and sums bf16 and f32 hold exactly. */
static __device__ float number(int row, int column)
{
    return (float)((row * 37 + column * 101 + row * column) % 15 - 7);
}

static __device__ uint32_t pair(float low, float high)
{
    return from_float<bf16>(low).bits | (uint32_t)from_float<bf16>(high).bits << 16;
}

/* "Matrix Fragments for mma.m16n8k16 with floating point type": row and column of elements a_i, b_i and c_i. */
struct place {
    int row, column;
};
static __device__ place place_in_a(int lane, int i)
{
    const int group_id = lane >> 2, thread_in_group = lane % 4;
    const bool upper = (0 <= i && i < 2) || (4 <= i && i < 6);
    return {upper ? group_id : group_id + 8, thread_in_group * 2 + (i & 1) + (i >= 4 ? 8 : 0)};
}
static __device__ place place_in_b(int lane, int i)
{
    return {lane % 4 * 2 + (i & 1) + (i >= 2 ? 8 : 0), lane >> 2};
}
static __device__ place place_in_c(int lane, int i)
{
    return {i < 2 ? lane >> 2 : (lane >> 2) + 8, lane % 4 * 2 + (i & 1)};
}

static __device__ float expected(int row, int column)
{
    float sum = 0.0f;
    for (int k = 0; k < K; k++)
        sum += number(row, k) * number(k, 50 + column);
    return sum;
}

static __global__ void fragments_kernel(int *defects)
{
    const int lane = lane_index();
    uint32_t a[4], b[2];
    for (int r = 0; r < 4; r++) {
        const place low = place_in_a(lane, 2 * r), high = place_in_a(lane, 2 * r + 1);
        a[r] = pair(number(low.row, low.column), number(high.row, high.column));
    }
    for (int r = 0; r < 2; r++) {
        const place low = place_in_b(lane, 2 * r), high = place_in_b(lane, 2 * r + 1);
        b[r] = pair(number(low.row, 50 + low.column), number(high.row, 50 + high.column));
    }
    float c[4] = {};
    multiply_add(c, a, b[0], b[1]);
    int wrong = 0;
    for (int i = 0; i < 4; i++)
        wrong += c[i] != expected(place_in_c(lane, i).row, place_in_c(lane, i).column);
    defects[lane] = wrong;
}

static __device__ int wrong_of_two(const float (&c)[2][4])
{
    int wrong = 0;
    for (int n = 0; n < 2; n++)
        for (int i = 0; i < 4; i++) {
            const place at = place_in_c(lane_index(), i);
            wrong += c[n][i] != expected(at.row, 8 * n + at.column);
        }
    return wrong;
}

/* The same product from tiles: a by rows, b by rows and transposed, and a once more from fragments c. */
static __global__ void tiles_kernel(int *defects)
{
    SHARED_ARRAY(bf16, left, M * STRIDE);
    SHARED_ARRAY(bf16, right, K * STRIDE);
    SHARED_ARRAY(bf16, transposed, N * STRIDE);
    for (int index = lane_index(); index < 256; index += warp_width) {
        const int row = index / 16, column = index % 16;
        left[row * STRIDE + column] = from_float<bf16>(number(row, column));
        right[row * STRIDE + column] = from_float<bf16>(number(row, 50 + column));
        transposed[column * STRIDE + row] = right[row * STRIDE + column];
    }
    __syncwarp();
    uint32_t a[4], of_rows[4], of_columns[4];
    load_a<STRIDE>(a, left, 0, 0);
    load_b_of_rows<STRIDE>(of_rows, transposed, 0, 0);
    load_b_of_columns<STRIDE>(of_columns, right, 0, 0);
    float c[2][4] = {}, again[2][4] = {}, given[2][4];
    for (int n = 0; n < 2; n++)
        for (int i = 0; i < 4; i++) {
            const place at = place_in_c(lane_index(), i);
            given[n][i] = number(at.row, 8 * n + at.column);
        }
    for (int n = 0; n < 2; n++)
        multiply_add(c[n], a, of_rows[2 * n], of_rows[2 * n + 1]);
    a_of_c(a, given[0], given[1]);
    for (int n = 0; n < 2; n++)
        multiply_add(again[n], a, of_columns[2 * n], of_columns[2 * n + 1]);
    defects[lane_index()] = wrong_of_two(c) + wrong_of_two(again);
}

static __global__ void copies_kernel(int *defects, const float *from)
{
    SHARED_ARRAY(float, shared, 3 * warp_width);
    float *own = shared + 3 * lane_index();
    int wrong = 0;
    for (int i = 0; i < 2; i++) {
        copy_number(own + i, from + i, true);
        close_copies();
    }
    copy_number(own + 2, from, false);
    close_copies();
    wait_for_copies<2>();
    wrong += own[0] != from[0] || own[1] == from[1];
    wait_for_copies<0>();
    wrong += own[1] != from[1] || own[2] != 0.0f;
    defects[lane_index()] = wrong;
}

static int count_defects(struct backend *device, int *memory)
{
    int defects[DEFECTS], sum = 0;
    device->download(device, defects, memory, sizeof defects);
    for (int wrong : defects)
        sum += wrong;
    return sum;
}

static void instructions_do_what_the_ptx_isa_says(void **)
{
    struct error error = ERROR_INITIALIZER;
    struct backend *device = cuda_backend_open(0, &error);
    require(device != NULL, &error);
    int *defects = static_cast<int *>(device->allocate(device, DEFECTS * sizeof *defects));
    float *from = static_cast<float *>(device->allocate(device, 2 * sizeof *from));
    const float numbers[2] = {3.0f, 5.0f};
    device->upload(device, from, numbers, sizeof numbers);
    for (int schedule = 0; schedule < host_schedule_count(); schedule++) {
        host_schedule_choose(schedule);
        LAUNCH(device, fragments_kernel, dim3(1), dim3(warp_width), 0, defects);
        assert_int_equal(count_defects(device, defects), 0);
        LAUNCH(device, tiles_kernel, dim3(1), dim3(warp_width), 0, defects);
        assert_int_equal(count_defects(device, defects), 0);
        LAUNCH(device, copies_kernel, dim3(1), dim3(warp_width), 0, defects, from);
        assert_int_equal(count_defects(device, defects), 0);
    }
    device->release(device, from);
    device->release(device, defects);
    backend_close(device);
}

int main()
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(instructions_do_what_the_ptx_isa_says)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
