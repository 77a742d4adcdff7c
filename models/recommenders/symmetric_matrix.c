#include "models/recommenders/symmetric_matrix.h"

#include <stdlib.h>

#include "core/backend.h"
#include "core/interrupt.h"
#include "core/ops.h"
#include "models/recommenders/model.h"

enum { PANEL = SYMMETRIC_PANEL };

size_t symmetric_matrix_bytes(int64_t size)
{
    return (size_t)(size * size + 2 * size * PANEL + 2 * PANEL * PANEL) * sizeof(real);
}

static void lay_out(struct symmetric_matrix *matrix)
{
    const int64_t size = matrix->size;
    matrix->values = arena_tensor_1d(&matrix->memory, DTYPE_REAL, size * size);
    matrix->column = arena_tensor_1d(&matrix->scratch, DTYPE_REAL, size * PANEL);
    matrix->product = arena_tensor_1d(&matrix->scratch, DTYPE_REAL, size * PANEL);
    matrix->inverse = arena_tensor_1d(&matrix->scratch, DTYPE_REAL, PANEL * PANEL);
    matrix->identity = arena_tensor_2d(&matrix->scratch, DTYPE_REAL, PANEL, PANEL);
}

static bool upload_identity(struct symmetric_matrix *matrix, struct error *error)
{
    real *identity = calloc(PANEL * PANEL, sizeof *identity);
    if (!identity)
        return error_memory(error, "a block of a matrix", PANEL * PANEL * sizeof *identity, NULL);
    for (int64_t i = 0; i < PANEL; i++)
        identity[i * (PANEL + 1)] = 1;
    tensor_upload(matrix->backend, &matrix->identity, identity);
    const bool done = backend_synchronize(matrix->backend, error);
    free(identity);
    return done;
}

bool symmetric_matrix_create(struct symmetric_matrix *matrix, struct backend *backend, int64_t size,
                             const char *lower, struct error *error)
{
    *matrix = (struct symmetric_matrix){.backend = backend,
                                        .size = size,
                                        .panels = (size + PANEL - 1) / PANEL,
                                        .memory = arena_measure(backend, "items by items"),
                                        .scratch = arena_measure(backend, "scratch")};
    lay_out(matrix);
    if (!arena_reserve_all((struct arena *const[]){&matrix->memory, &matrix->scratch},
                           (const char *const[]){lower, lower}, 2, error)) {
        symmetric_matrix_release(matrix);
        return false;
    }
    lay_out(matrix);
    return upload_identity(matrix, error);
}

void symmetric_matrix_release(struct symmetric_matrix *matrix)
{
    if (!matrix->backend)
        return;
    arena_release(&matrix->memory);
    arena_release(&matrix->scratch);
}

int64_t symmetric_panel_first(const struct symmetric_matrix *matrix, int64_t panel)
{
    return panel * PANEL * matrix->size;
}

int64_t symmetric_panel_columns(const struct symmetric_matrix *matrix, int64_t panel)
{
    return panel + 1 < matrix->panels ? PANEL : matrix->size - panel * PANEL;
}

/* The first rows * columns values of a tensor from element `first` on. */
static struct tensor view(const struct tensor *tensor, int64_t first, int64_t rows, int64_t columns)
{
    return tensor_2d((real *)tensor->data + first, DTYPE_REAL, tensor->device, rows, columns);
}

static struct tensor panel_of(const struct symmetric_matrix *matrix, int64_t panel)
{
    return view(&matrix->values, symmetric_panel_first(matrix, panel), matrix->size,
                symmetric_panel_columns(matrix, panel));
}

struct tensor symmetric_block(const struct symmetric_matrix *matrix, int64_t row, int64_t column)
{
    const struct tensor panel = panel_of(matrix, column);
    return tensor_rows(&panel, row * PANEL, symmetric_panel_columns(matrix, row));
}

/* The rows of a [size, columns] tensor that belong to a panel. */
static struct tensor rows_of(const struct symmetric_matrix *matrix, const struct tensor *tensor,
                             int64_t panel)
{
    return tensor_rows(tensor, panel * PANEL, symmetric_panel_columns(matrix, panel));
}

/* Those from a panel on. */
static struct tensor rows_from(const struct symmetric_matrix *matrix, const struct tensor *tensor,
                               int64_t panel)
{
    return tensor_rows(tensor, panel * PANEL, matrix->size - panel * PANEL);
}

static void copy(struct backend *backend, struct tensor *to, const struct tensor *from)
{
    backend->copy(backend, to->data, from->data, tensor_bytes(to));
}

/* In place, by Gauss and Jordan; false when a pivot is not positive. By one thread: a barrier for every pivot would cost
 * more than it saves. */
static bool invert_on_host(double *matrix, int64_t size)
{
    for (int64_t k = 0; k < size; k++) {
        double *pivot_row = matrix + k * size;
        if (!(pivot_row[k] > 0.0))
            return false;
        const double inverse = 1.0 / pivot_row[k];
        pivot_row[k] = 1.0;
        for (int64_t j = 0; j < size; j++)
            pivot_row[j] *= inverse;
        for (int64_t i = 0; i < size; i++) {
            double *row = matrix + i * size;
            const double factor = row[k];
            if (i == k)
                continue;
            row[k] = 0.0;
            for (int64_t j = 0; j < size; j++)
                row[j] -= factor * pivot_row[j];
        }
    }
    return true;
}

/* inverse = the inverse of a block on the diagonal. */
static bool invert_diagonal(struct symmetric_matrix *matrix, const struct tensor *block,
                            struct tensor *inverse, const char *advice, struct error *error)
{
    struct backend *backend = matrix->backend;
    const int64_t size = block->shape[0], count = size * size;
    real *rounded = malloc((size_t)count * sizeof *rounded);
    double *exact = malloc((size_t)count * sizeof *exact);
    bool done = (rounded && exact) ||
                error_memory(error, "a block of a matrix", (size_t)count * sizeof(double), NULL);
    if (done) {
        tensor_download(backend, rounded, block);
        done = backend_synchronize(backend, error);
        for (int64_t i = 0; i < count; i++)
            exact[i] = (double)rounded[i];
        done = done &&
               (invert_on_host(exact, size) ||
                error_set(error, ERROR_DIVERGED, "a matrix of items is not positive definite; %s", advice));
        for (int64_t i = 0; i < count; i++)
            rounded[i] = (real)exact[i];
        tensor_upload(backend, inverse, rounded);
        done = backend_synchronize(backend, error) && done;
    }
    free(rounded);
    free(exact);
    return done;
}

/* column [size, columns] = block column `pivot` of the whole matrix. */
static void gather_column(const struct symmetric_matrix *matrix, int64_t pivot, struct tensor *column)
{
    for (int64_t above = 0; above < pivot; above++) {
        struct tensor rows = rows_of(matrix, column, above);
        const struct tensor block = symmetric_block(matrix, pivot, above);
        op_gemm(matrix->backend, &rows, &matrix->identity, PLAIN, &block, TRANSPOSED, 1.0f, 0.0f);
    }
    struct tensor rows = rows_from(matrix, column, pivot);
    const struct tensor panel = panel_of(matrix, pivot), below = rows_from(matrix, &panel, pivot);
    copy(matrix->backend, &rows, &below);
}

/* Block column `pivot` = column, but for the block on the diagonal, which becomes -inverse. */
static void scatter_column(const struct symmetric_matrix *matrix, int64_t pivot, const struct tensor *column,
                           const struct tensor *inverse)
{
    for (int64_t above = 0; above < pivot; above++) {
        struct tensor block = symmetric_block(matrix, pivot, above);
        const struct tensor rows = rows_of(matrix, column, above);
        op_gemm(matrix->backend, &block, &rows, TRANSPOSED, &matrix->identity, PLAIN, 1.0f, 0.0f);
    }
    const struct tensor panel = panel_of(matrix, pivot), rows = rows_from(matrix, column, pivot);
    struct tensor below = rows_from(matrix, &panel, pivot), diagonal = symmetric_block(matrix, pivot, pivot);
    copy(matrix->backend, &below, &rows);
    op_axpby(matrix->backend, &diagonal, -1.0f, inverse, 0.0f);
}

/* With D the inverse of block (p, p) and C block column p: A_ij -= C_i D C_j^T outside of row and column p,
 * A_ip = C_i D, A_pp = -D. */
static bool sweep(struct symmetric_matrix *matrix, int64_t pivot, const char *advice, struct error *error)
{
    struct backend *backend = matrix->backend;
    const int64_t columns = symmetric_panel_columns(matrix, pivot);
    struct tensor column = view(&matrix->column, 0, matrix->size, columns);
    struct tensor product = view(&matrix->product, 0, matrix->size, columns);
    struct tensor inverse = view(&matrix->inverse, 0, columns, columns);
    const struct tensor diagonal = symmetric_block(matrix, pivot, pivot);
    if (!interrupt_check(error) || !invert_diagonal(matrix, &diagonal, &inverse, advice, error))
        return false;
    gather_column(matrix, pivot, &column);
    op_gemm(backend, &product, &column, PLAIN, &inverse, PLAIN, 1.0f, 0.0f);
    for (int64_t j = 0; j < matrix->panels; j++) {
        if (j == pivot)
            continue;
        const struct tensor panel = panel_of(matrix, j), right = rows_of(matrix, &column, j);
        const struct tensor left = rows_from(matrix, &product, j);
        struct tensor lower = rows_from(matrix, &panel, j);
        op_gemm(backend, &lower, &left, PLAIN, &right, TRANSPOSED, -1.0f, 1.0f);
    }
    scatter_column(matrix, pivot, &product, &inverse);
    return true;
}

bool symmetric_matrix_negative_inverse(struct symmetric_matrix *matrix, const char *advice,
                                       struct error *error)
{
    struct backend *backend = matrix->backend;
    const bool fast = backend->fast;
    backend->fast = false; /* products that round their operands would not even transpose exactly */
    bool done = true;
    for (int64_t pivot = 0; pivot < matrix->panels && done; pivot++)
        done = sweep(matrix, pivot, advice, error);
    backend->fast = fast;
    return backend_synchronize(backend, error) && done;
}
