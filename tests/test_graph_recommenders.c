/*
 * The contrastive models on the graph: goldens against PyTorch (goldens/make_graph_recommenders.py), the views, k-means by
 * brute force, InfoNCE in blocks, the same bits at any number of threads and after a resume, early stopping, failures.
 */
#include <unistd.h>

#include "models/recommenders/k_means.h"
#include "tests/graph_recommender_cases.h"

static void test_goldens(void **state)
{
    (void)state;
    struct backend *backend = open_backend(2);
    for (int golden = 0; golden < GRAPH_GOLDENS; golden++)
        check_graph_golden(backend, &graph_goldens[golden]);
    backend_close(backend);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_goldens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
