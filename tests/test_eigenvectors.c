/* Leading eigenvectors of matrices whose spectrum is known by construction: small and large, with multiplicities,
 * with eigenvalues close to each other; bits at any number of threads. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/eigenvectors.h"
#include "core/random.h"
#include "tests/support.h"

enum { REFLECTIONS = 3, COUNT = 6 };

/* H diag(values) H, H a product of reflections I - 2 u u^T. */
struct known {
    int64_t size;
    double *values;
    double *reflection[REFLECTIONS];
};

static struct known make_known(int64_t size)
{
    struct known known = {size, malloc((size_t)size * sizeof(double)), {NULL}};
    struct random_stream stream = random_stream_open(1, RANDOM_TEST, 0, (uint64_t)size);
    for (int r = 0; r < REFLECTIONS; r++) {
        double *u = known.reflection[r] = malloc((size_t)size * sizeof *u), square = 0;
        for (int64_t i = 0; i < size; i++) {
            u[i] = random_normal(&stream);
            square += u[i] * u[i];
        }
        for (int64_t i = 0; i < size; i++)
            u[i] /= sqrt(square);
    }
    return known;
}

static void free_known(struct known *known)
{
    for (int r = 0; r < REFLECTIONS; r++)
        free(known->reflection[r]);
    free(known->values);
}

static void reflect(double *x, const double *u, int64_t size, int64_t width)
{
    for (int64_t j = 0; j < width; j++) {
        double product = 0;
        for (int64_t i = 0; i < size; i++)
            product += u[i] * x[i * width + j];
        for (int64_t i = 0; i < size; i++)
            x[i * width + j] -= 2 * product * u[i];
    }
}

static void apply(void *context, double *out, const double *x, int64_t width)
{
    const struct known *known = context;
    memcpy(out, x, (size_t)(known->size * width) * sizeof *out);
    for (int r = 0; r < REFLECTIONS; r++)
        reflect(out, known->reflection[r], known->size, width);
    for (int64_t at = 0; at < known->size * width; at++)
        out[at] *= known->values[at / width];
    for (int r = REFLECTIONS - 1; r >= 0; r--)
        reflect(out, known->reflection[r], known->size, width);
}

static struct eigenvectors find(struct known *known, double least, int threads)
{
    struct error error = ERROR_INITIALIZER;
    struct eigenvectors found;
    const struct symmetric_operator matrix = {known->size, least, 1, known, apply};
    require(eigenvectors_find(&found, &matrix, COUNT, 1e-9, 200, 1, threads, NULL, &error), &error);
    return found;
}

static void check(struct known *known, const struct eigenvectors *found, const double *expected)
{
    double image[700 * COUNT];
    assert_in_range(known->size, 1, 700);
    apply(known, image, found->vectors, COUNT);
    assert_true(found->residual < 1e-8);
    for (int64_t a = 0; a < COUNT; a++) {
        assert_true(fabs(found->values[a] - expected[a]) < 1e-8);
        for (int64_t b = 0; b < COUNT; b++) {
            double product = 0, mapped = 0;
            for (int64_t i = 0; i < known->size; i++) {
                product += found->vectors[i * COUNT + a] * found->vectors[i * COUNT + b];
                mapped += found->vectors[i * COUNT + a] * image[i * COUNT + b];
            }
            assert_true(fabs(product - (a == b)) < 1e-9);
            assert_true(fabs(mapped - (a == b) * expected[a]) < 1e-7);
        }
    }
}

/* 1 three times, two close ones, and a tail down to -0.3: sizes that are decomposed as a whole, and iterated. */
static void spectra_are_found(void **state)
{
    (void)state;
    const int64_t sizes[] = {6, 40, 256, 257, 700};
    const double expected[COUNT] = {1, 1, 1, 0.52, 0.519, 0.45};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        struct known known = make_known(sizes[s]);
        for (int64_t i = 0; i < known.size; i++)
            known.values[(i * 5) % known.size] =
                i < COUNT ? expected[i] : 0.4 - 0.7 * (double)i / (double)known.size;
        if (known.size % 5 == 0) /* i * 5 does not reach all places */
            for (int64_t i = 0; i < known.size; i++)
                known.values[i] = i < COUNT ? expected[i] : 0.4 - 0.7 * (double)i / (double)known.size;
        struct eigenvectors found = find(&known, -0.3, 1);
        check(&known, &found, expected);
        eigenvectors_free(&found);
        free_known(&known);
    }
}

static void threads_do_not_change_the_bits(void **state)
{
    (void)state;
    struct known known = make_known(500);
    for (int64_t i = 0; i < known.size; i++)
        known.values[i] = 1 - 1.2 * sqrt((double)i / (double)known.size);
    struct eigenvectors one = find(&known, -0.2, 1), three = find(&known, -0.2, 3);
    assert_memory_equal(one.vectors, three.vectors, sizeof(double) * 500 * COUNT);
    assert_memory_equal(one.values, three.values, sizeof(double) * COUNT);
    eigenvectors_free(&one);
    eigenvectors_free(&three);
    free_known(&known);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spectra_are_found),
        cmocka_unit_test(threads_do_not_change_the_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
