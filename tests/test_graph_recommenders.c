/*
 * The contrastive models on the graph: goldens against PyTorch (goldens/make_graph_recommenders.py), the normalised graph
 * and k-means by brute force, views that drop nothing, InfoNCE in blocks, the nodes of a batch and their loss. What they
 * share with other models is in test_recommenders.c.
 */
#include "models/recommenders/k_means.h"
#include "models/recommenders/user_item_graph.h"
#include "tests/graph_recommender_cases.h"

static void test_goldens(void **state)
{
    (void)state;
    struct backend *backend = open_backend(1);
    for (int golden = 0; golden < GRAPH_GOLDENS; golden++)
        check_graph_golden(backend, &graph_goldens[golden], GRAPH_GOLDEN_STEPS);
    backend_close(backend);
}

/* ---- the graph ---------------------------------------------------------------------------------------- */

/* The graph of what is kept against the formula on a dense matrix. */
static void check_graph(const struct fixture *fixture, const bool *kept)
{
    enum { NODES_MAXIMUM = 256 };
    static double dense[NODES_MAXIMUM][NODES_MAXIMUM];
    struct error error = ERROR_INITIALIZER;
    struct user_item_graph graph;
    const struct training_set data = training_set_of(fixture);
    const struct csr *positives = &fixture->positives;
    double degree[NODES_MAXIMUM] = {0};
    memset(dense, 0, sizeof dense);
    for (int64_t user = 0; user < positives->rows; user++)
        for (int64_t index = positives->starts[user]; index < positives->starts[user + 1]; index++) {
            const int64_t item = positives->rows + positives->indices[index];
            const double weight = !kept || kept[index] ? (double)fixture->weights[index] : 0.0;
            dense[user][item] = dense[item][user] = weight;
            degree[user] += weight;
            degree[item] += weight;
        }
    require(user_item_graph_open(&graph, &data, &error), &error);
    user_item_graph_fill(&graph, &data, kept);
    for (int64_t node = 0; node < graph.nodes; node++) {
        for (int64_t edge = graph.starts[node]; edge < graph.starts[node + 1]; edge++) {
            const int32_t other = graph.indices[edge];
            const double expected = dense[node][other] / sqrt(degree[node] * degree[other]);
            assert_true(edge == graph.starts[node] || graph.indices[edge - 1] < other);
            assert_true(expected > 0.0 && fabs((double)graph.values[edge] - expected) < 1e-6);
            dense[node][other] = 0.0;
        }
        for (int64_t other = 0; other < graph.nodes; other++)
            assert_true(dense[node][other] == 0.0);
    }
    user_item_graph_close(&graph);
}

static void test_graph(void **state)
{
    (void)state;
    struct fixture fixture;
    make_fixture(&fixture);
    const int64_t rows = csr_count(&fixture.positives);
    bool *kept = malloc((size_t)rows);
    for (int64_t index = 0; index < rows; index++)
        kept[index] = index % 3 != 0;
    check_graph(&fixture, NULL);
    check_graph(&fixture, kept);
    free(kept);
    free_fixture(&fixture);
}

/* Views that drop nothing are the graph, whatever would have been dropped; those that do differ from it. */
static void test_views(void **state)
{
    (void)state;
    const char *const views[] = {"edge_drop", "node_drop", "random_walk"};
    struct fixture fixture;
    make_fixture(&fixture);
    struct backend *backend = open_backend(1);
    const struct training_set data = training_set_of(&fixture);
    for (int view = 0; view < 3; view++)
        for (int dropping = 0; dropping < 2; dropping++) {
            struct error error = ERROR_INITIALIZER;
            struct recommender_settings settings = settings_of("sgl", "adam");
            settings.view_share = dropping ? 0.3 : 0.0;
            snprintf(settings.view, sizeof settings.view, "%s", views[view]);
            const struct open_training opened = start_training(backend, &settings, &data, 1);
            struct embedding_training *training = opened.training;
            const struct node_contrast *contrast = training->contrast;
            require(embedding_training_begin_epoch(training, 1, &error), &error);
            training->take_step(training, 0, settings.batch);
            const struct batch_nodes nodes = node_contrast_batch(contrast, 0);
            const size_t bytes = (size_t)((nodes.users + nodes.items) * settings.width) * sizeof(real);
            assert_int_equal(memcmp(contrast->views[0].rows.data, contrast->views[1].rows.data, bytes) != 0,
                             dropping);
            end_training(opened);
        }
    backend_close(backend);
    free_fixture(&fixture);
}

/* ---- contrast ----------------------------------------------------------------------------------------- */

/* Every user and positive of a batch is among its nodes, once. */
static void test_nodes_of_batches(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct fixture fixture;
    make_fixture(&fixture);
    struct backend *backend = open_backend(1);
    const struct training_set data = training_set_of(&fixture);
    const struct recommender_settings settings = settings_of("simgcl", "adam");
    const struct open_training opened = start_training(backend, &settings, &data, 1);
    const struct embedding_training *training = opened.training;
    const struct node_contrast *contrast = training->contrast;
    const int64_t triples = training->sampler.count, table = training->users + training->items;
    int *seen = malloc((size_t)table * sizeof *seen);
    require(embedding_training_begin_epoch(opened.training, 2, &error), &error);
    for (int64_t first = 0; first < triples; first += settings.batch) {
        const int64_t count = triples - first < settings.batch ? triples - first : settings.batch;
        const int32_t *rows = (const int32_t *)training->rows.data + 3 * first;
        const struct batch_nodes nodes = node_contrast_batch(contrast, first);
        const int32_t *places = (const int32_t *)contrast->nodes.data + nodes.first;
        memset(seen, 0, (size_t)table * sizeof *seen);
        for (int64_t place = 0; place < 2 * count; place++)
            seen[rows[place]] = 1;
        for (int64_t place = 0; place < nodes.users + nodes.items; place++) {
            assert_int_equal(places[place] < training->users, place < nodes.users);
            assert_int_equal(seen[places[place]]--, 1);
        }
        for (int64_t row = 0; row < table; row++)
            assert_int_equal(seen[row], 0);
    }
    free(seen);
    end_training(opened);
    backend_close(backend);
    free_fixture(&fixture);
}

/* The table after two steps with all logits of a batch in one block, or in blocks of 64 rows. */
static real *table_after_steps(struct backend *backend, const struct recommender_settings *settings,
                               const struct training_set *data, int64_t columns)
{
    struct error error = ERROR_INITIALIZER;
    const struct open_training opened = start_training(backend, settings, data, 1);
    struct embedding_training *training = opened.training;
    struct node_contrast *contrast = training->contrast;
    if (columns > 0)
        contrast->logits = tensor_rows(&contrast->logits, 0, GEMM_ROW_BLOCK * columns);
    require(embedding_training_begin_epoch(training, 3, &error), &error);
    training->take_step(training, 0, settings->batch);
    training->take_step(training, settings->batch, settings->batch);
    real *table = malloc(tensor_bytes(&training->parameters));
    tensor_download(backend, table, &training->parameters);
    require(backend_synchronize(backend, &error), &error);
    end_training(opened);
    return table;
}

static void test_blocks_of_logits(void **state)
{
    (void)state;
    const char *const models[] = {"sgl", "simgcl", "ncl"};
    struct fixture fixture;
    make_fixture(&fixture);
    struct backend *backend = open_backend(1);
    const struct training_set data = training_set_of(&fixture);
    const int64_t users = fixture.positives.rows, items = fixture.positives.columns;
    for (int model = 0; model < 3; model++) {
        struct recommender_settings settings = settings_of(models[model], "adam");
        settings.batch = 200;
        real *whole = table_after_steps(backend, &settings, &data, 0);
        real *parts = table_after_steps(backend, &settings, &data, model == 0 ? users + items : items);
        double difference = 0.0;
        for (int64_t place = 0; place < (users + items) * settings.width; place++)
            difference = fmax(difference, fabs((double)whole[place] - (double)parts[place]));
        assert_true(difference < 1e-5);
        free(whole);
        free(parts);
    }
    backend_close(backend);
    free_fixture(&fixture);
}

/* What an epoch reports: the mean ranking loss and the mean over batches of the weighted contrasts. */
static void test_loss_of_an_epoch(void **state)
{
    (void)state;
    struct fixture fixture;
    make_fixture(&fixture);
    struct backend *backend = open_backend(1);
    const struct training_set data = training_set_of(&fixture);
    struct recommender_settings settings = settings_of("ncl", "adam");
    settings.batch = GRAPH_GOLDEN_BATCH;
    const struct open_training opened = start_training(backend, &settings, &data, 1);
    struct embedding_training *training = opened.training;
    for (int64_t epoch = 1; epoch <= settings.warm_up + 1; epoch++) {
        struct error error = ERROR_INITIALIZER;
        double loss, ranking = 0.0, contrast = 0.0;
        int64_t batches = 0;
        require(opened.recommender->model->train_epoch(training, epoch, &loss, &error), &error);
        for (int64_t place = 0; place < training->sampler.count; place++)
            ranking += (double)((const real *)training->losses.data)[place];
        for (int64_t first = 0; first < training->sampler.count; first += settings.batch, batches++)
            contrast += step_contrast(training, first);
        const double expected = ranking / (double)training->sampler.count + contrast / (double)batches;
        assert_true(fabs(loss - expected) < 1e-9 * expected);
        assert_true(contrast > 0.0);
    }
    end_training(opened);
    backend_close(backend);
    free_fixture(&fixture);
}

/* ---- k-means ------------------------------------------------------------------------------------------ */

enum { POINTS = 700, POINT_WIDTH = 5 };

static double squared_distance(const real *a, const real *b)
{
    double sum = 0.0;
    for (int i = 0; i < POINT_WIDTH; i++)
        sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    return sum;
}

/* `blobs` dense groups of points; 0: no groups. */
static void make_points(real *points, int blobs)
{
    for (int64_t point = 0; point < POINTS; point++) {
        struct random_stream stream = random_stream_open(3, RANDOM_TEST, 9, (uint64_t)point);
        for (int i = 0; i < POINT_WIDTH; i++) {
            const double center = blobs ? (double)((point % blobs * (i + 3)) % 11) : 0.0;
            points[point * POINT_WIDTH + i] = (real)(center + (blobs ? 0.01 : 1.0) * random_normal(&stream));
        }
    }
}

static void cluster(struct k_means *k_means, real *points, int64_t clusters, int threads, uint64_t seed)
{
    struct error error = ERROR_INITIALIZER;
    struct backend *backend = open_backend(threads);
    const struct tensor table = tensor_2d(points, DTYPE_REAL, DEVICE_CPU, POINTS, POINT_WIDTH);
    require(k_means_open(k_means, backend, POINTS, clusters, POINT_WIDTH, &error), &error);
    require(k_means_run(k_means, &table, seed, 2, 1, &error), &error);
}

static void close_clusters(struct k_means *k_means)
{
    struct backend *backend = k_means->backend;
    k_means_close(k_means);
    backend_close(backend);
}

/* Nobody is nearer to another centroid than to his own. */
static void check_nearest(const struct k_means *k_means, const real *points)
{
    const real *centroids = k_means->centroids.data;
    for (int64_t point = 0; point < POINTS; point++) {
        const real *own = points + point * POINT_WIDTH;
        const double distance = squared_distance(own, centroids + k_means->assignment[point] * POINT_WIDTH);
        for (int64_t other = 0; other < k_means->clusters; other++)
            assert_true(squared_distance(own, centroids + other * POINT_WIDTH) > distance - 1e-4);
    }
}

static void test_k_means(void **state)
{
    (void)state;
    static real points[POINTS * POINT_WIDTH];
    const int64_t sizes[] = {1, 2, 40, POINTS};
    make_points(points, 0);
    for (int size = 0; size < 4; size++) {
        struct k_means one, two;
        cluster(&one, points, sizes[size], 1, 5);
        cluster(&two, points, sizes[size], 2, 5);
        check_nearest(&one, points);
        assert_memory_equal(one.centroids.data, two.centroids.data, tensor_bytes(&one.centroids));
        assert_memory_equal(one.assignment, two.assignment, POINTS * sizeof *one.assignment);
        close_clusters(&one);
        close_clusters(&two);
    }
}

/* From a seed in each of three groups Lloyd's rounds come to rest: centroids are the means of the groups. */
static void test_k_means_finds_groups(void **state)
{
    (void)state;
    enum { CLUSTERS = 3 };
    static real points[POINTS * POINT_WIDTH];
    double means[CLUSTERS][POINT_WIDTH] = {{0}};
    int64_t counts[CLUSTERS] = {0};
    struct k_means k_means;
    make_points(points, CLUSTERS);
    cluster(&k_means, points, CLUSTERS, 1, 9);
    for (int64_t point = 0; point < POINTS; point++) {
        counts[k_means.assignment[point]]++;
        for (int i = 0; i < POINT_WIDTH; i++)
            means[k_means.assignment[point]][i] += (double)points[point * POINT_WIDTH + i];
    }
    for (int center = 0; center < CLUSTERS; center++) {
        assert_true(counts[center] == POINTS / CLUSTERS || counts[center] == POINTS / CLUSTERS + 1);
        for (int i = 0; i < POINT_WIDTH; i++)
            assert_true(fabs(means[center][i] / (double)counts[center] -
                             (double)((const real *)k_means.centroids.data)[center * POINT_WIDTH + i]) <
                        1e-4);
    }
    close_clusters(&k_means);
}

/* More clusters than distinct points: the surplus centroids take points and stay numbers. */
static void test_k_means_with_equal_points(void **state)
{
    (void)state;
    static real points[POINTS * POINT_WIDTH];
    struct k_means k_means;
    for (int64_t place = 0; place < POINTS * POINT_WIDTH; place++)
        points[place] = (real)(place / POINT_WIDTH % 4);
    cluster(&k_means, points, 50, 1, 5);
    for (int64_t point = 0; point < POINTS; point++)
        assert_true(squared_distance(points + point * POINT_WIDTH,
                                     (const real *)k_means.centroids.data +
                                         k_means.assignment[point] * POINT_WIDTH) < 1e-6);
    close_clusters(&k_means);
}

/* ---- failures ----------------------------------------------------------------------------------------- */

static void fails_with(const struct recommender_settings *settings, const char *expected)
{
    struct fixture fixture;
    make_fixture(&fixture);
    const struct training_set data = training_set_of(&fixture);
    expect_failure(settings, &data, expected);
    free_fixture(&fixture);
}

static void test_failures_say_what_to_do(void **state)
{
    (void)state;
    const char *const models[] = {"sgl", "simgcl", "xsimgcl", "ncl"};
    struct recommender_settings settings;
    for (int model = 0; model < 4; model++) {
        settings = settings_of(models[model], "adam");
        settings.learning_rate = 1e30;
        fails_with(&settings, "optimizer step");
        settings = settings_of(models[model], "adam");
        settings.layers = 9;
        fails_with(&settings, "recommenders.layers");
    }
    settings = settings_of("sgl", "adam");
    snprintf(settings.view, sizeof settings.view, "crop");
    fails_with(&settings, "edge_drop, node_drop or random_walk");
    settings = settings_of("xsimgcl", "adam");
    settings.contrast_layer = 3;
    fails_with(&settings, "recommenders.contrast_layer");
    settings = settings_of("ncl", "adam");
    settings.contrast_layer = 2;
    fails_with(&settings, "recommenders.contrast_layer");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_goldens),
        cmocka_unit_test(test_graph),
        cmocka_unit_test(test_views),
        cmocka_unit_test(test_nodes_of_batches),
        cmocka_unit_test(test_blocks_of_logits),
        cmocka_unit_test(test_loss_of_an_epoch),
        cmocka_unit_test(test_k_means),
        cmocka_unit_test(test_k_means_finds_groups),
        cmocka_unit_test(test_k_means_with_equal_points),
        cmocka_unit_test(test_failures_say_what_to_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
