/*
 * What kernels are built of (warp.cuh, scan.cuh, sort.cuh) against plain loops, on the host under every schedule. The
 * functions of a block are called again and again, as loops in kernels do.
 */
#include <algorithm>
#include <vector>

#include "cuda/scan.cuh"
#include "cuda/sort.cuh"
#include "cuda/warp.cuh"

extern "C" {
#include "cuda/backend.h"
#include "tests/host_schedule.h"
#include "tests/support.h"
}

static struct backend *open_device()
{
    struct error error = ERROR_INITIALIZER;
    struct backend *device = cuda_backend_open(0, &error);
    require(device != NULL, &error);
    return device;
}

template <typename T> static T *allocate(struct backend *device, size_t count)
{
    return static_cast<T *>(device->allocate(device, count * sizeof(T)));
}

template <typename T> static T *upload(struct backend *device, const std::vector<T> &values)
{
    T *memory = allocate<T>(device, values.size());
    device->upload(device, memory, values.data(), values.size() * sizeof(T));
    return memory;
}

template <typename T> static std::vector<T> download(struct backend *device, const T *memory, size_t count)
{
    std::vector<T> values(count);
    device->download(device, values.data(), memory, count * sizeof(T));
    return values;
}

/* ---- warps and blocks ---- */

enum { ROUNDS = 3, SUM = 0, MAXIMUM, BEFORE, FOURTH, RESULTS };

static __device__ int number_of(int thread, int round)
{
    return (thread * 7919 + round * 104729) % 1000 - 500;
}

/* out [ROUNDS, RESULTS, threads]; the prefix sum less the own value; the votes for odd numbers. */
static __global__ void warp_kernel(int *out)
{
    const int threads = (int)blockDim.x;
    for (int round = 0; round < ROUNDS; round++) {
        const int value = number_of((int)threadIdx.x, round);
        int *result = out + round * RESULTS * threads + threadIdx.x;
        result[SUM * threads] = warp_sum(value);
        result[MAXIMUM * threads] = warp_maximum(value);
        result[BEFORE * threads] = warp_prefix_sum(value) - value;
        result[FOURTH * threads] = (int)warp_ballot(value % 2 != 0);
    }
}

enum { BELOW = 1 << 20 }; /* numbers less this are below what unwritten shared memory holds, -1 */

/* The same of a block, with the total of the exclusive sum at last; each function again and again without a barrier of
 * another one between. */
static __global__ void block_kernel(int *out)
{
    const int threads = (int)blockDim.x, thread = (int)threadIdx.x, stride = RESULTS * threads;
    int *result = out + thread;
    for (int round = 0; round < ROUNDS; round++)
        result[round * stride + SUM * threads] = block_sum(number_of(thread, round));
    for (int round = 0; round < ROUNDS; round++)
        result[round * stride + MAXIMUM * threads] = block_maximum(number_of(thread, round) - BELOW) + BELOW;
    for (int round = 0; round < ROUNDS; round++)
        result[round * stride + BEFORE * threads] =
            block_exclusive_sum(number_of(thread, round), &result[round * stride + FOURTH * threads]);
}

/* The results of `thread` among the threads first .. first + size - 1. */
static void expect_group(int expected[RESULTS], int thread, int first, int size, int round, bool votes)
{
    unsigned odd = 0;
    expected[SUM] = expected[BEFORE] = 0;
    expected[MAXIMUM] = number_of(first, round);
    for (int other = first; other < first + size; other++) {
        const int value = number_of(other, round);
        expected[SUM] += value;
        expected[BEFORE] += other < thread ? value : 0;
        expected[MAXIMUM] = std::max(expected[MAXIMUM], value);
        odd |= value % 2 != 0 ? 1u << (other - first) % 32 : 0u;
    }
    expected[FOURTH] = votes ? (int)odd : expected[SUM];
}

static void check_groups(const std::vector<int> &found, int threads, int size, const char *schedule)
{
    for (int round = 0; round < ROUNDS; round++)
        for (int thread = 0; thread < threads; thread++) {
            int expected[RESULTS];
            expect_group(expected, thread, thread / size * size, size, round, size == warp_width);
            for (int result = 0; result < RESULTS; result++)
                if (found[(size_t)((round * RESULTS + result) * threads + thread)] != expected[result])
                    fail_msg("groups of %d among %d threads: result %d of thread %d in round %d, schedule %s",
                             size, threads, result, thread, round, schedule);
        }
}

static void groups_of_threads_sum(void **)
{
    struct backend *device = open_device();
    for (int schedule = 0; schedule < host_schedule_count(); schedule++)
        for (int threads : {32, 96, 256, 1024}) {
            const size_t count = (size_t)(ROUNDS * RESULTS * threads);
            int *out = allocate<int>(device, count);
            host_schedule_choose(schedule);
            LAUNCH(device, warp_kernel, dim3(1), dim3((unsigned)threads), 0, out);
            check_groups(download(device, out, count), threads, warp_width, host_schedule_label(schedule));
            if (threads > warp_width) {
                LAUNCH(device, block_kernel, dim3(1), dim3((unsigned)threads), 0, out);
                check_groups(download(device, out, count), threads, threads, host_schedule_label(schedule));
            }
            device->release(device, out);
        }
    backend_close(device);
}

/* ---- arrays ---- */

static std::vector<uint32_t> words(int64_t count, uint32_t bound)
{
    std::vector<uint32_t> drawn((size_t)count);
    struct random_stream random = random_stream_open(3, RANDOM_TEST, 0, (uint64_t)count);
    for (uint32_t &word : drawn)
        word = bound ? random_below(&random, bound) : random_word(&random);
    return drawn;
}

static void exclusive_scans_equal_loops(void **)
{
    struct backend *device = open_device();
    for (int schedule = 0; schedule < host_schedule_count(); schedule++)
        for (int64_t count : {0, 1, 31, 2047, 2049, 4096, 4097, 9000}) {
            const std::vector<uint32_t> counts = words(count, 1000);
            uint32_t *values = upload(device, counts);
            void *memory = device->allocate(device, exclusive_scan_bytes(count));
            host_schedule_choose(schedule);
            exclusive_scan(device, values, count, memory);
            const std::vector<uint32_t> found = download(device, values, (size_t)count);
            uint32_t sum = 0;
            for (size_t i = 0; i < found.size(); sum += counts[i++])
                if (found[i] != sum)
                    fail_msg("scan of %lld: %u at %zu instead of %u, schedule %s", (long long)count, found[i],
                             i, sum, host_schedule_label(schedule));
            device->release(device, values);
            device->release(device, memory);
        }
    backend_close(device);
}

/* Values are the places from which the pairs came, so that stability shows. */
static void check_sort(struct backend *device, int64_t count, uint32_t bound, const char *schedule)
{
    const std::vector<uint32_t> keys = words(count, bound);
    std::vector<uint32_t> places((size_t)count);
    for (size_t i = 0; i < places.size(); i++)
        places[i] = (uint32_t)i;
    uint32_t *device_keys = upload(device, keys), *device_places = upload(device, places);
    void *memory = device->allocate(device, radix_sort_bytes(count));
    const struct sorted_pairs sorted = radix_sort(device, device_keys, device_places, count,
                                                  bits_of(bound ? bound - 1 : UINT32_MAX), memory);
    std::stable_sort(places.begin(), places.end(), [&](uint32_t a, uint32_t b) { return keys[a] < keys[b]; });
    const std::vector<uint32_t> found_keys = download(device, sorted.keys, (size_t)count);
    const std::vector<uint32_t> found_places = download(device, sorted.values, (size_t)count);
    for (size_t i = 0; i < places.size(); i++)
        if (found_places[i] != places[i] || found_keys[i] != keys[places[i]])
            fail_msg("sort of %lld keys below %u: place %zu differs, schedule %s", (long long)count, bound, i,
                     schedule);
    device->release(device, device_keys);
    device->release(device, device_places);
    device->release(device, memory);
}

static void sorts_are_stable(void **)
{
    struct backend *device = open_device();
    for (int schedule = 0; schedule < host_schedule_count(); schedule++) {
        host_schedule_choose(schedule);
        for (int64_t count : {0, 1, 31, 33, 1024, 1025, 3000})
            for (uint32_t bound : {1u, 2u, 257u, 70000u, 0u})
                check_sort(device, count, bound, host_schedule_label(schedule));
        check_sort(device, 17000, 256, host_schedule_label(schedule));
    }
    backend_close(device);
}

int main()
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups_of_threads_sum),
        cmocka_unit_test(exclusive_scans_equal_loops),
        cmocka_unit_test(sorts_are_stable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
