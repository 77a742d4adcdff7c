/* The memory of a GPU, emulated with 64 MiB: what is counted, what an arena says that does not fit, and uploads. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/arena.h"
#include "tests/support.h"

enum { MEBIBYTE = 1 << 20 };

static struct backend *open_gpu(void)
{
    struct error error = ERROR_INITIALIZER;
    struct backend *backend = backend_open("cuda", 2, &error);
    require(backend != NULL, &error);
    return backend;
}

static void allocations_are_counted(void **state)
{
    (void)state;
    struct backend *backend = open_gpu();
    const size_t before = backend->free_memory(backend);
    void *a = backend_allocate(backend, 4 * MEBIBYTE), *b = backend_allocate(backend, 8 * MEBIBYTE);
    assert_non_null(a);
    assert_non_null(b);
    assert_int_equal(before - backend->free_memory(backend), 12 * MEBIBYTE);
    backend_release(backend, a, 4 * MEBIBYTE);
    assert_int_equal(backend->memory.bytes, 8 * MEBIBYTE);
    assert_int_equal(backend->memory.peak, 12 * MEBIBYTE);
    assert_null(backend_allocate(backend, 60 * MEBIBYTE));
    assert_int_equal(backend->memory.bytes, 8 * MEBIBYTE);
    backend_release(backend, b, 8 * MEBIBYTE);
    assert_int_equal(backend->free_memory(backend), before);
    backend_close(backend);
}

static void a_plan_that_does_not_fit_is_shown_whole(void **state)
{
    (void)state;
    struct backend *backend = open_gpu();
    void *held = backend_allocate(backend, 4 * MEBIBYTE);
    struct arena weights = arena_measure(backend, "weights"),
                 activations = arena_measure(backend, "activations"),
                 scratch = arena_measure(backend, "scratch");
    arena_tensor_1d(&weights, DTYPE_F32, 2 * MEBIBYTE);
    arena_tensor_2d(&activations, DTYPE_F32, 12, MEBIBYTE);
    arena_tensor_1d(&scratch, DTYPE_F32, 3 * MEBIBYTE);
    struct arena *const arenas[] = {&weights, &activations, &scratch};
    static const char *const lower[] = {"lower the width", "lower the tokens of a batch", "lower k"};
    struct error error = ERROR_INITIALIZER;
    assert_false(arena_reserve_all(arenas, lower, 3, &error));
    assert_string_equal(
        error.message,
        "out of memory on cuda:0 (emulated on the host): the plan of weights 8.0, activations "
        "48.0, scratch 12.0 MiB needs 68.0 MiB, and 60.0 MiB are free besides 4.0 MiB that the "
        "run holds; lower the tokens of a batch");
    for (int i = 0; i < 3; i++)
        arena_release(arenas[i]);
    assert_int_equal(backend->memory.bytes, 4 * MEBIBYTE);
    backend_release(backend, held, 4 * MEBIBYTE);
    backend_close(backend);
}

static void backends_of_one_gpu_share_its_memory(void **state)
{
    (void)state;
    struct backend *first = open_gpu(), *second = open_gpu();
    void *most = backend_allocate(first, 40 * MEBIBYTE);
    assert_null(backend_allocate(second, 40 * MEBIBYTE));
    backend_release(first, most, 40 * MEBIBYTE);
    void *now = backend_allocate(second, 40 * MEBIBYTE);
    assert_non_null(now);
    backend_release(second, now, 40 * MEBIBYTE);
    assert_int_equal(first->memory.peak, 40 * MEBIBYTE);
    backend_close(second);
    backend_close(first);
}

static unsigned char pattern(int64_t upload, size_t place)
{
    return (unsigned char)(upload * 31 + (int64_t)place * 7 + (int64_t)(place >> 12));
}

/* More than passes through the backend's own memory at a time, in pieces of odd sizes. The emulated GPU reports memory of
 * the host that changes before it is read. */
static void host_memory_may_change_after_an_upload(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 1000, 65537, 0, 5 * MEBIBYTE + 3, 17};
    enum { KINDS = sizeof sizes / sizeof *sizes, UPLOADS = 4 * KINDS };
    struct error error = ERROR_INITIALIZER;
    struct backend *backend = open_gpu();
    char *device = backend->allocate(backend, 24 * MEBIBYTE), *place = device;
    unsigned char *host = malloc(6 * MEBIBYTE);
    for (int64_t upload = 0; upload < UPLOADS; upload++) {
        const size_t bytes = sizes[upload % KINDS];
        for (size_t i = 0; i < bytes; i++)
            host[i] = pattern(upload, i);
        backend->upload(backend, place, host, bytes);
        memset(host, 0xA5, bytes);
        place += bytes;
    }
    place = device;
    for (int64_t upload = 0; upload < UPLOADS; upload++) {
        const size_t bytes = sizes[upload % KINDS];
        size_t same = 0;
        backend->download(backend, host, place, bytes);
        while (same < bytes && host[same] == pattern(upload, same))
            same++;
        assert_int_equal(same, bytes);
        place += bytes;
    }
    require(backend_synchronize(backend, &error), &error);
    free(host);
    backend->release(backend, device);
    backend_close(backend);
}

int main(void)
{
    setenv("HOST_CUDA_MEMORY_MIB", "64", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allocations_are_counted),
        cmocka_unit_test(a_plan_that_does_not_fit_is_shown_whole),
        cmocka_unit_test(backends_of_one_gpu_share_its_memory),
        cmocka_unit_test(host_memory_may_change_after_an_upload),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
