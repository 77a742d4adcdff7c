/* The joules of the rows of a run, by counters below a made-up powercap folder; what is left of a process; and how far a search
 * had come within a time. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "experiments/cost.h"
#include "experiments/efficiency.h"
#include "experiments/manifest.h"
#include "tests/support.h"

struct fixture {
    char *folder;
    struct run run;
    json_t *costs; /* of the run, once they are taken */
};

static char *below(const struct fixture *fixture, const char *name)
{
    return path_format("%s/%s", fixture->folder, name);
}

static void put(const struct fixture *fixture, const char *name, const char *text)
{
    struct error error = ERROR_INITIALIZER;
    char *path = below(fixture, name);
    require(file_write(path, text, strlen(text), &error), &error);
    free(path);
}

/* In place of the machine's own. */
static void use_counters(struct fixture *fixture, const char *powercap)
{
    struct error error = ERROR_INITIALIZER;
    char *folder = below(fixture, powercap);
    const struct energy_places places = {.powercap = folder, .nvml = "libidrec-absent.so", .pci_bus = ""};
    meter_close(fixture->run.meter);
    require(meter_open(&fixture->run.meter, fixture->run.folder, clock_seconds(), &places, &error), &error);
    free(folder);
}

static void open_run(struct fixture *fixture)
{
    struct error error = ERROR_INITIALIZER;
    char *config = below(fixture, "c.yaml");
    require(run_open(&fixture->run, NULL, config, 0, NULL, &error), &error);
    free(config);
}

static int make_run(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    struct error error = ERROR_INITIALIZER;
    void *folder;
    if (temporary_folder_make(&folder) != 0)
        return -1;
    fixture->folder = folder;
    char *package = below(fixture, "rapl/intel-rapl:0");
    require(folder_create(package, &error), &error);
    free(package);
    put(fixture, "rapl/intel-rapl:0/name", "package-0\n");
    put(fixture, "rapl/intel-rapl:0/max_energy_range_uj", "60000000\n");
    put(fixture, "rapl/intel-rapl:0/energy_uj", "0\n");
    put(fixture, "data.inter", "user_id:token\titem_id:token\n1\t1\n");
    put(fixture, "c.yaml",
        "name: c\noutput: run\ndevice: cpu\ndata: {path: data.inter}\nrecommenders: [{model: bpr_mf}]\n");
    open_run(fixture);
    use_counters(fixture, "rapl");
    *state = fixture;
    return 0;
}

static int remove_run(void **state)
{
    struct fixture *fixture = *state;
    void *folder = fixture->folder;
    json_decref(fixture->costs);
    run_close(&fixture->run);
    free(fixture);
    return temporary_folder_remove(&folder);
}

static void work_on(struct fixture *fixture, json_t *record, const char *stage, const char *energy_then)
{
    cost_begin(&fixture->run, stage);
    put(fixture, "rapl/intel-rapl:0/energy_uj", energy_then);
    cost_end(&fixture->run, record, stage, (struct stage_cost){.tokens = 6, .floating_point_operations = 10});
}

static const json_t *row_of(const json_t *costs, const char *stage)
{
    size_t index;
    json_t *row;
    json_array_foreach(json_object_get(costs, "rows"), index, row)
    {
        if (strcmp(json_string_value(json_object_get(row, "stage")), stage) == 0)
            return row;
    }
    fail_msg("no row of %s", stage);
    return NULL;
}

static void require_number(const json_t *object, const char *name, double expected)
{
    const json_t *value = json_object_get(object, name);
    if (!json_is_number(value) || !(fabs(json_number_value(value) - expected) < 1e-9))
        fail_msg("%s is %f, not %f", name, json_number_value(value), expected);
}

static void require_text(const json_t *object, const char *name, const char *expected)
{
    const json_t *value = json_object_get(object, name);
    if (expected)
        assert_string_equal(json_string_value(value), expected);
    else
        assert_true(json_is_null(value));
}

static const json_t *take_costs(struct fixture *fixture, const char *stage)
{
    fixture->costs = cost_json(&fixture->run);
    return row_of(fixture->costs, stage);
}

/* Five joules in a stage, in two attempts, and two outside of it. */
static void test_joules(void **state)
{
    struct fixture *fixture = *state;
    json_t *record = manifest_begin(fixture->run.manifest, "prepare", "1");
    work_on(fixture, record, "prepare", "3000000\n");
    put(fixture, "rapl/intel-rapl:0/energy_uj", "5000000\n");
    meter_read(fixture->run.meter);
    work_on(fixture, record, "prepare", "7000000\n");
    const json_t *row = take_costs(fixture, "prepare");
    require_number(row, "energy_joules", 5);
    require_number(row, "attempts", 2);
    require_number(row, "tokens", 12);
    require_number(row, "flops", 20);
    require_text(row, "energy_source", "rapl");
    require_number(row_of(fixture->costs, "other"), "energy_joules", 2);
    require_number(fixture->costs, "energy_joules", 7);
    require_text(fixture->costs, "energy_source", "rapl");
}

/* One attempt that was measured and one that was not. */
static void test_half_measured(void **state)
{
    struct fixture *fixture = *state;
    json_t *record = manifest_begin(fixture->run.manifest, "prepare", "1");
    work_on(fixture, record, "prepare", "3000000\n");
    use_counters(fixture, "absent");
    work_on(fixture, record, "prepare", "4000000\n");
    const json_t *row = take_costs(fixture, "prepare");
    require_text(row, "energy_joules", NULL);
    require_text(row, "energy_source", NULL);
    require_text(fixture->costs, "energy_joules", NULL);
    require_number(fixture->costs, "processes", 2);
}

/* A killed process had begun a stage of which the manifest knows nothing but that. */
static void test_killed(void **state)
{
    struct fixture *fixture = *state;
    struct error error = ERROR_INITIALIZER;
    manifest_begin(fixture->run.manifest, "prepare", "1");
    require(manifest_save(fixture->run.manifest, &error), &error);
    run_close(&fixture->run);
    put(fixture, "run/attempt.json",
        "{\"session\": \"x\", \"spent\": {\"seconds\": 100, \"energy_joules\": 50}, \"stage\": \"prepare\", "
        "\"began\": "
        "{\"seconds\": 10, \"energy_joules\": 5}, \"peak_memory_bytes\": 7, \"energy_source\": \"rapl\"}");
    open_run(fixture);
    const json_t *row = take_costs(fixture, "prepare");
    require_number(row, "seconds", 90);
    require_number(row, "energy_joules", 45);
    require_number(row, "peak_memory_bytes", 7);
    require_number(fixture->costs, "killed", 1);
    assert_true(json_number_value(json_object_get(row_of(fixture->costs, "other"), "seconds")) >= 10);
}

/* Another trial had spent 40 s on the stage before this one took it over. */
static void test_taken_over(void **state)
{
    struct fixture *fixture = *state;
    json_t *record = manifest_begin(fixture->run.manifest, "prepare", "1");
    json_object_set_new(record, "cost",
                        json_pack("{s:s, s:f, s:f, s:s, s:i}", "stage", "prepare", "seconds", 40.0,
                                  "energy_joules", 9.0, "energy_source", "rapl", "attempts", 1));
    cost_take_over(record);
    work_on(fixture, record, "prepare", "3000000\n");
    cost_replace(&fixture->run, "prepare");
    const json_t *row = take_costs(fixture, "prepare");
    assert_true(json_number_value(json_object_get(row, "seconds")) > 40);
    require_number(row, "energy_joules", 12);
    require_number(json_object_get(row, "elsewhere"), "seconds", 40);
    require_number(row_of(fixture->costs, "replaced"), "energy_joules", 3);
    assert_true(json_number_value(json_object_get(fixture->costs, "wall_seconds")) < 10);
}

static void test_reached(void **state)
{
    (void)state;
    json_t *curve = json_pack("[{s:f, s:f}, {s:f, s:f}, {s:f, s:f}]", "seconds", 10.0, "score", 0.1,
                              "seconds", 30.0, "score", 0.2, "seconds", 60.0, "score", 0.3);
    assert_null(efficiency_reached(curve, 1, 9.9));
    require_number(efficiency_reached(curve, 1, 10), "score", 0.1);
    require_number(efficiency_reached(curve, 1, 59), "score", 0.2);
    require_number(efficiency_reached(curve, 2, 31), "score", 0.3);
    assert_null(efficiency_reached(NULL, 1, 5));
    json_decref(curve);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_joules, make_run, remove_run),
        cmocka_unit_test_setup_teardown(test_half_measured, make_run, remove_run),
        cmocka_unit_test_setup_teardown(test_killed, make_run, remove_run),
        cmocka_unit_test_setup_teardown(test_taken_over, make_run, remove_run),
        cmocka_unit_test(test_reached),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
