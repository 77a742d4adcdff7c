#include "experiments/plan_memo.h"

#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "core/file.h"
#include "core/hash.h"

/* Of a study: so many things may take all of the time that one thing may. */
#define FULL_MEASUREMENTS 20.0
#define LEAST_SECONDS 0.3

struct plan_memo {
    json_t *places; /* of each key, in `values` */
    size_t count;
    void **values;
    size_t data_count;
    struct plan_data_set **data;
    bool limited;
    double spent; /* seconds */
};

bool plan_memo_open(struct plan_memo **memo, bool limited, struct error *error)
{
    *memo = calloc(1, sizeof **memo);
    if (*memo)
        **memo = (struct plan_memo){.places = json_object(), .limited = limited};
    return (*memo && (*memo)->places) || error_memory(error, "the plan of a study", sizeof **memo, NULL);
}

void plan_memo_close(struct plan_memo *memo)
{
    if (!memo)
        return;
    for (size_t i = 0; i < memo->data_count; i++) {
        dataset_free(&memo->data[i]->dataset);
        csr_free(&memo->data[i]->train);
        csr_free(&memo->data[i]->validation);
    }
    for (size_t i = 0; i < memo->count; i++)
        free(memo->values[i]);
    free(memo->data);
    free(memo->values);
    json_decref(memo->places);
    free(memo);
}

void *plan_memo_find(const struct plan_memo *memo, const char *key)
{
    const json_t *place = json_object_get(memo->places, key);
    return place ? memo->values[json_integer_value(place)] : NULL;
}

void *plan_memo_keep(struct plan_memo *memo, const char *key, const void *value, size_t size)
{
    void **const values = realloc(memo->values, (memo->count + 1) * sizeof *values);
    if (!values)
        return NULL;
    memo->values = values;
    void *const kept = calloc(1, size);
    if (!kept || json_object_set_new(memo->places, key, json_integer((json_int_t)memo->count)) != 0) {
        free(kept);
        return NULL;
    }
    if (value)
        memcpy(kept, value, size);
    values[memo->count++] = kept;
    return kept;
}

struct plan_data_set *plan_memo_keep_data(struct plan_memo *memo, const char *key)
{
    struct plan_data_set **const data = realloc(memo->data, (memo->data_count + 1) * sizeof(void *));
    if (!data)
        return NULL;
    memo->data = data;
    struct plan_data_set *const kept = plan_memo_keep(memo, key, NULL, sizeof *kept);
    if (kept)
        data[memo->data_count++] = kept;
    return kept;
}

double plan_memo_seconds(const struct plan_memo *memo, double most)
{
    const double left = fmax(FULL_MEASUREMENTS * most - memo->spent, 0);
    return memo->limited ? fmin(most, fmax(left / (FULL_MEASUREMENTS / 2), LEAST_SECONDS)) : most;
}

void plan_memo_spend(struct plan_memo *memo, double seconds)
{
    memo->spent += seconds;
}

void plan_key_of_text(char key[PLAN_KEY_SIZE], const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *text = path_format_list(format, arguments);
    va_end(arguments);
    hash_digits(key, XXH3_128bits(text, strlen(text)));
    free(text);
}
