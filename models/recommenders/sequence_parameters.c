#include <stdio.h>
#include <string.h>

#include "core/random.h"
#include "models/recommenders/sequence_encoder.h"

/* Walks the table from parameter to parameter. */
struct walk {
    const struct tensor *table; /* data NULL: only counts rows */
    int64_t width, row;
    const char *block; /* before the names of what follows: "/block-0" */
    visit_parameter *visit;
    void *context;
    bool done;
};

static struct tensor take(struct walk *walk, const char *part, const char *name, int64_t rows,
                          int64_t columns, enum parameter_start start)
{
    real *data = walk->table->data;
    if (data)
        data += walk->row * walk->width;
    struct named_parameter parameter = {.start = start};
    parameter.tensor = columns > 0 ? tensor_2d(data, DTYPE_REAL, walk->table->device, rows, columns)
                                   : tensor_1d(data, DTYPE_REAL, walk->table->device, rows);
    snprintf(parameter.name, sizeof parameter.name, "%s/%s/%s", walk->block, part, name);
    if (walk->visit && walk->done)
        walk->done = walk->visit(walk->context, &parameter);
    walk->row += (tensor_count(&parameter.tensor) + walk->width - 1) / walk->width;
    return parameter.tensor;
}

static struct linear_parameters take_linear(struct walk *walk, const char *part, int64_t out, int64_t in)
{
    struct linear_parameters linear;
    linear.weight = take(walk, part, "weight", out, in, START_NORMAL);
    linear.bias = take(walk, part, "bias", out, 0, START_ZERO);
    return linear;
}

static struct norm_parameters take_norm(struct walk *walk, const char *part)
{
    struct norm_parameters norm;
    norm.weight = take(walk, part, "weight", walk->width, 0, START_ONE);
    norm.bias = take(walk, part, "bias", walk->width, 0, START_ZERO);
    return norm;
}

static void take_block(struct walk *walk, struct encoder_block *block, const struct encoder_shape *shape)
{
    const int64_t width = shape->width;
    block->attention_norm = take_norm(walk, "attention_norm");
    block->query = take_linear(walk, "query", width, width);
    block->key = take_linear(walk, "key", width, width);
    block->value = take_linear(walk, "value", width, width);
    block->attended = take_linear(walk, "attended", width, width);
    block->feed_norm = take_norm(walk, "feed_norm");
    block->up = take_linear(walk, "up", shape->hidden, width);
    block->down = take_linear(walk, "down", width, shape->hidden);
}

static void take_all(struct walk *walk, struct encoder_parameters *parameters,
                     const struct encoder_shape *shape)
{
    char name[32];
    memset(parameters, 0, sizeof *parameters);
    walk->block = "";
    walk->done = true;
    parameters->items = take(walk, "items", "embedding", shape->items, shape->width, START_NORMAL);
    parameters->entries = parameters->items;
    if (shape->mask) {
        take(walk, "mask", "embedding", 1, shape->width, START_NORMAL);
        parameters->entries.shape[0]++;
    }
    parameters->positions = take(walk, "positions", "embedding", shape->length, shape->width, START_NORMAL);
    walk->block = name;
    for (int64_t layer = 0; layer < shape->layers; layer++) {
        snprintf(name, sizeof name, "/block-%lld", (long long)layer);
        take_block(walk, &parameters->block[layer], shape);
    }
    walk->block = "";
    parameters->norm = take_norm(walk, shape->kind == ENCODER_CAUSAL ? "norm" : "embedding_norm");
    if (shape->head) {
        parameters->project = take_linear(walk, "project", shape->width, shape->width);
        parameters->project_norm = take_norm(walk, "project_norm");
        parameters->item_bias = take(walk, "items", "bias", shape->items, 0, START_ZERO);
    }
}

int64_t encoder_rows(const struct encoder_shape *shape)
{
    struct encoder_parameters parameters;
    struct tensor none = {.data = NULL};
    struct walk walk = {.table = &none, .width = shape->width};
    take_all(&walk, &parameters, shape);
    return walk.row;
}

void encoder_parameters_lay_out(struct encoder_parameters *parameters, const struct encoder_shape *shape,
                                const struct tensor *table)
{
    struct walk walk = {.table = table, .width = shape->width};
    take_all(&walk, parameters, shape);
}

bool encoder_parameters_visit(const struct encoder_shape *shape, const struct tensor *table,
                              visit_parameter *visit, void *context)
{
    struct encoder_parameters parameters;
    struct walk walk = {.table = table, .width = shape->width, .visit = visit, .context = context};
    take_all(&walk, &parameters, shape);
    return walk.done;
}

struct initial_values {
    const real *table;
    int64_t width;
    double deviation;
    uint64_t seed;
    int threads;
};

static bool initialize(void *context, const struct named_parameter *parameter)
{
    const struct initial_values *initial = context;
    real *values = parameter->tensor.data;
    const int64_t count = tensor_count(&parameter->tensor), width = initial->width;
    const int64_t first = (values - initial->table) / width;
    if (parameter->start != START_NORMAL) {
        for (int64_t place = 0; place < count; place++)
            values[place] = parameter->start == START_ONE;
        return true;
    }
#pragma omp parallel for schedule(static) num_threads(initial->threads)
    for (int64_t row = 0; row < count / width; row++) {
        struct random_stream stream =
            random_stream_open(initial->seed, RANDOM_INITIALIZE, 0, (uint64_t)(first + row));
        for (int64_t column = 0; column < width; column++)
            values[row * width + column] = (real)(initial->deviation * random_normal(&stream));
    }
    return true;
}

void encoder_initialize(const struct encoder_shape *shape, real *table, double deviation, uint64_t seed,
                        int threads)
{
    struct initial_values initial = {table, shape->width, deviation, seed, threads};
    const int64_t rows = encoder_rows(shape);
    const struct tensor host = tensor_2d(table, DTYPE_REAL, DEVICE_CPU, rows, shape->width);
    memset(table, 0, (size_t)(rows * shape->width) * sizeof *table);
    encoder_parameters_visit(shape, &host, initialize, &initial);
}
