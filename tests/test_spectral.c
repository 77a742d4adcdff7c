/* The spectral start of the embeddings: orthonormal, an invariant subspace, and the leading one. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/random.h"
#include "models/language/spectral.h"
#include "tests/support.h"

enum { USERS = 40, ITEMS = 24, BLOCKS = 3, WIDTH = 3 };

/* Users and items fall into three blocks; a user has most items of its block and few others. */
static void make_train(struct csr *train, int64_t *starts, int32_t *indices, double inside, double outside)
{
    struct random_stream stream = random_stream_open(9, RANDOM_TEST, 0, 0);
    int64_t count = 0;
    for (int user = 0; user < USERS; user++) {
        starts[user] = count;
        for (int item = 0; item < ITEMS; item++)
            if (random_double(&stream) < (item % BLOCKS == user % BLOCKS ? inside : outside))
                indices[count++] = item;
    }
    starts[USERS] = count;
    *train = (struct csr){USERS, ITEMS, starts, indices};
}

/* The normalised item-item matrix N^T N, N = Du^-1/2 X Di^-1/2. */
static void item_matrix(double *matrix, const struct csr *train)
{
    double degree[ITEMS] = {0};
    memset(matrix, 0, ITEMS * ITEMS * sizeof *matrix);
    for (int64_t i = 0; i < train->starts[USERS]; i++)
        degree[train->indices[i]]++;
    for (int user = 0; user < USERS; user++)
        for (int64_t a = train->starts[user]; a < train->starts[user + 1]; a++)
            for (int64_t b = train->starts[user]; b < train->starts[user + 1]; b++)
                matrix[train->indices[a] * ITEMS + train->indices[b]] +=
                    1 / (double)(train->starts[user + 1] - train->starts[user]) /
                    sqrt(degree[train->indices[a]] * degree[train->indices[b]]);
}

static double dot(const float *embedding, int64_t i, int64_t j)
{
    double sum = 0;
    for (int64_t item = 0; item < ITEMS; item++)
        sum += (double)embedding[item * WIDTH + i] * (double)embedding[item * WIDTH + j];
    return sum;
}

static void columns_span_the_leading_subspace(void **state)
{
    (void)state;
    int64_t starts[USERS + 1];
    int32_t indices[USERS * ITEMS];
    float embedding[ITEMS * WIDTH];
    double matrix[ITEMS * ITEMS], norm[WIDTH], value[WIDTH] = {0}, trace = 0;
    struct csr train;
    struct error error = ERROR_INITIALIZER;
    make_train(&train, starts, indices, 0.9, 0.1);
    item_matrix(matrix, &train);
    assert_true(spectral_embedding(embedding, &train, WIDTH, 0.5, 1, 2, &error));
    for (int64_t j = 0; j < WIDTH; j++)
        norm[j] = dot(embedding, j, j);
    assert_true(fabs(norm[0] + norm[1] + norm[2] - 0.25 * ITEMS * WIDTH) < 1e-4);
    for (int64_t i = 0; i < ITEMS * WIDTH; i++)
        embedding[i] = (float)((double)embedding[i] / sqrt(norm[i % WIDTH]));
    for (int64_t i = 0; i < WIDTH; i++)
        for (int64_t j = 0; j < WIDTH; j++)
            assert_true(fabs(dot(embedding, i, j) - (i == j)) < 1e-5);
    /* The residual of M Q - Q (Q^T M Q) vanishes, and the values are those of the three blocks. */
    for (int64_t j = 0; j < WIDTH; j++) {
        float image[ITEMS * WIDTH] = {0};
        double left = 0;
        for (int64_t item = 0; item < ITEMS; item++)
            for (int64_t other = 0; other < ITEMS; other++)
                image[item * WIDTH + j] +=
                    (float)(matrix[item * ITEMS + other] * (double)embedding[other * WIDTH + j]);
        for (int64_t item = 0; item < ITEMS; item++) {
            double residual = (double)image[item * WIDTH + j];
            for (int64_t k = 0; k < WIDTH; k++) {
                double part = 0;
                for (int64_t other = 0; other < ITEMS; other++)
                    part += (double)embedding[other * WIDTH + k] * (double)image[other * WIDTH + j];
                residual -= part * (double)embedding[item * WIDTH + k];
            }
            left += residual * residual;
        }
        for (int64_t item = 0; item < ITEMS; item++)
            value[j] += (double)embedding[item * WIDTH + j] * (double)image[item * WIDTH + j];
        assert_true(sqrt(left) < 1e-4);
        assert_true(fabs(value[j] / value[0] - norm[j] / norm[0]) < 1e-3); /* scaled by the singular values */
        trace += value[j];
    }
    assert_true(trace > 1.9); /* 1 + 2 x about 0.5; any other direction has less than 0.2 */
}

static void columns_beyond_the_rank_are_zero(void **state)
{
    (void)state;
    int64_t starts[USERS + 1];
    int32_t indices[USERS * ITEMS];
    float embedding[ITEMS * 8];
    struct csr train;
    struct error error = ERROR_INITIALIZER;
    make_train(&train, starts, indices, 1, 0); /* rank 3 */
    assert_true(spectral_embedding(embedding, &train, 8, 0.1, 1, 1, &error));
    for (int64_t i = 0; i < ITEMS * 8; i++)
        assert_true(isfinite(embedding[i]));
    for (int64_t item = 0; item < ITEMS; item++)
        for (int64_t j = 3; j < 8; j++)
            assert_true(fabsf(embedding[item * 8 + j]) < 1e-3F);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_span_the_leading_subspace),
        cmocka_unit_test(columns_beyond_the_rank_are_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
