/* Work that is recorded and run again does what calling it does, on the CPU and on the emulated GPU. */
#include <string.h>

#include "core/ops.h"
#include "tests/host_device.h"
#include "tests/support.h"

enum { COUNT = 300, LOOK_UPS = 500, RUNS = 5 };

struct look_ups {
    struct backend *backend;
    struct tensor table, rows; /* [COUNT, 1], [LOOK_UPS, 1] */
    struct tensor indices;     /* i32 [LOOK_UPS] */
    bool uploads;
    int calls;
};

/* rows = 2 rows; table[indices] += rows. */
static void add_rows(void *context)
{
    struct look_ups *work = context;
    const float one = 1.0f;
    work->calls++;
    op_axpby(work->backend, &work->rows, 1.0f, &work->rows, 1.0f);
    op_scatter_add(work->backend, &work->table, &work->rows, &work->indices);
    if (work->uploads)
        work->backend->upload(work->backend, work->rows.data, &one, sizeof one);
}

static struct tensor open_tensor(struct backend *backend, enum dtype dtype, int64_t count)
{
    void *memory = backend_allocate(backend, (size_t)count * 4);
    assert_non_null(memory);
    return dtype == DTYPE_I32 ? tensor_1d(memory, dtype, backend->device, count)
                              : tensor_2d(memory, dtype, backend->device, count, 1);
}

static void close_tensor(struct backend *backend, const struct tensor *tensor)
{
    backend_release(backend, tensor->data, tensor_bytes(tensor));
}

static struct look_ups open_work(struct backend *backend)
{
    float rows[LOOK_UPS];
    int32_t indices[LOOK_UPS];
    for (int i = 0; i < LOOK_UPS; i++) {
        rows[i] = (float)(i % 7);
        indices[i] = i * 31 % COUNT;
    }
    struct look_ups work = {.backend = backend,
                            .table = open_tensor(backend, DTYPE_F32, COUNT),
                            .rows = open_tensor(backend, DTYPE_F32, LOOK_UPS),
                            .indices = open_tensor(backend, DTYPE_I32, LOOK_UPS)};
    tensor_zero(backend, &work.table);
    tensor_upload(backend, &work.rows, rows);
    tensor_upload(backend, &work.indices, indices);
    return work;
}

static void close_work(struct look_ups *work)
{
    close_tensor(work->backend, &work->table);
    close_tensor(work->backend, &work->rows);
    close_tensor(work->backend, &work->indices);
}

/* Makes the scratch memory of operators grow, and move. */
static void use_more_scratch(struct backend *backend)
{
    enum { MANY = 20000 };
    struct tensor table = open_tensor(backend, DTYPE_F32, MANY), rows = open_tensor(backend, DTYPE_F32, MANY);
    struct tensor indices = open_tensor(backend, DTYPE_I32, MANY);
    tensor_zero(backend, &table);
    tensor_zero(backend, &rows);
    tensor_zero(backend, &indices);
    op_scatter_add(backend, &table, &rows, &indices);
    close_tensor(backend, &table);
    close_tensor(backend, &rows);
    close_tensor(backend, &indices);
}

enum way { CALLED, RECORDED, DISTURBED };

/* Returns how often the work was called. */
static int run_work(struct backend *backend, enum way way, float *result)
{
    struct error error = ERROR_INITIALIZER;
    struct look_ups work = open_work(backend);
    struct backend_graph graph = {.warm = false};
    backend_reset_counters(backend);
    for (int run = 0; run < RUNS; run++) {
        if (way == CALLED)
            add_rows(&work);
        else
            backend_graph_run(backend, &graph, add_rows, &work);
        if (way == DISTURBED && run == RUNS / 2)
            use_more_scratch(backend);
    }
    tensor_download(backend, result, &work.table);
    require(backend_synchronize(backend, &error), &error);
    backend_graph_release(backend, &graph);
    close_work(&work);
    return work.calls;
}

static void check_runs(struct backend *backend, int calls_expected)
{
    float called[COUNT], recorded[COUNT];
    assert_int_equal(run_work(backend, CALLED, called), RUNS);
    const struct operation_counters counters = backend->counters;
    assert_int_equal(run_work(backend, RECORDED, recorded), calls_expected);
    assert_memory_equal(called, recorded, sizeof called);
    assert_memory_equal(&counters, &backend->counters, sizeof counters);
    run_work(backend, DISTURBED, recorded);
    assert_memory_equal(called, recorded, sizeof called);
}

static void a_graph_does_what_its_work_does(void **state)
{
    (void)state;
    struct backend *cpu = open_backend(1), *device = open_device();
    assert_false(backend_graph_supported(cpu));
    assert_true(backend_graph_supported(device));
    check_runs(cpu, RUNS);
    check_runs(device, 2);
    backend_close(device);
    backend_close(cpu);
}

static void host_memory_cannot_be_recorded(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct backend *device = open_device();
    struct look_ups work = open_work(device);
    struct backend_graph graph = {.warm = false};
    work.uploads = true;
    backend_graph_run(device, &graph, add_rows, &work);
    require(backend_synchronize(device, &error), &error);
    backend_graph_run(device, &graph, add_rows, &work);
    assert_false(backend_synchronize(device, &error));
    assert_non_null(strstr(error.message, "while a graph is recorded"));
    assert_null(graph.recorded);
    backend_graph_release(device, &graph);
    close_work(&work);
    backend_close(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_graph_does_what_its_work_does),
        cmocka_unit_test(host_memory_cannot_be_recorded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
