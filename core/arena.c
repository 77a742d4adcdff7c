#include "core/arena.h"

#include <stdlib.h>

#include "core/backend.h"

#define ARENA_ALIGNMENT ((size_t)256)

struct arena arena_measure(struct backend *backend, const char *name)
{
    return (struct arena){.name = name, .backend = backend};
}

static double mebibytes(size_t bytes)
{
    return (double)bytes / (1024.0 * 1024.0);
}

static bool take_memory(struct arena *arena)
{
    const size_t bytes = arena->used > 0 ? arena->used : ARENA_ALIGNMENT;
    arena->base = backend_allocate(arena->backend, bytes);
    if (!arena->base)
        return false;
    arena->backend->fill_zero(arena->backend, arena->base, bytes);
    arena->capacity = bytes;
    arena->used = arena->peak = 0;
    return true;
}

/* What memory there is, before any of a plan is taken. */
struct supply {
    size_t planned_before, free; /* by this backend; 0: not known */
};

/* "weights 12.0, gradients 12.0, ... MiB": reserved ones by their capacity, the others by what they measured. */
static bool refuse_plan(struct arena *const *arenas, const char *const *lower, int count,
                        const struct supply *supply, struct error *error)
{
    const struct backend *backend = arenas[0]->backend;
    char plan[1024] = "", supplied[160] = "";
    size_t total = 0, most = 0;
    int largest = 0;
    for (int i = 0, length = 0; i < count && length < (int)sizeof plan; i++) {
        const size_t bytes = arenas[i]->base ? arenas[i]->capacity : arenas[i]->used;
        length += snprintf(plan + length, sizeof plan - (size_t)length, "%s%s %.1f", i > 0 ? ", " : "",
                           arenas[i]->name, mebibytes(bytes));
        total += bytes;
        if (bytes > most) {
            most = bytes;
            largest = i;
        }
    }
    if (supply->free > 0)
        snprintf(supplied, sizeof supplied, ", and %.1f MiB are free besides %.1f MiB that the run holds",
                 mebibytes(supply->free), mebibytes(supply->planned_before));
    return error_set(error, ERROR_RUN, "out of memory on %s: the plan of %s MiB needs %.1f MiB%s; %s",
                     backend->description, plan, mebibytes(total), supplied, lower[largest]);
}

bool arena_reserve_all(struct arena *const *arenas, const char *const *lower, int count, struct error *error)
{
    struct backend *backend = arenas[0]->backend;
    const struct supply supply = {backend->memory.bytes, backend->free_memory(backend)};
    for (int i = 0; i < count; i++)
        if (!take_memory(arenas[i]))
            return refuse_plan(arenas, lower, count, &supply, error);
    return true;
}

bool arena_reserve(struct arena *arena, size_t minimum, const char *lower, struct error *error)
{
    if (arena->used < minimum)
        arena->used = minimum;
    return arena_reserve_all(&arena, &lower, 1, error);
}

void arena_release(struct arena *arena)
{
    if (arena->base)
        backend_release(arena->backend, arena->base, arena->capacity);
    arena->base = NULL;
    arena->capacity = arena->used = 0;
}

static void *take(struct arena *arena, size_t bytes)
{
    const size_t start = arena->used;
    arena->used = start + (bytes + ARENA_ALIGNMENT - 1) / ARENA_ALIGNMENT * ARENA_ALIGNMENT;
    if (arena->used > arena->peak)
        arena->peak = arena->used;
    if (!arena->base)
        return NULL;
    if (arena->used > arena->capacity) {
        fprintf(stderr, "idrec: internal error: arena %s holds %zu bytes, %zu asked for\n", arena->name,
                arena->capacity, arena->used);
        abort();
    }
    return arena->base + start;
}

struct tensor arena_tensor_1d(struct arena *arena, enum dtype dtype, int64_t length)
{
    struct tensor tensor = tensor_1d(NULL, dtype, arena->backend->device, length);
    tensor.data = take(arena, tensor_bytes(&tensor));
    return tensor;
}

struct tensor arena_tensor_2d(struct arena *arena, enum dtype dtype, int64_t rows, int64_t columns)
{
    struct tensor tensor = tensor_2d(NULL, dtype, arena->backend->device, rows, columns);
    tensor.data = take(arena, tensor_bytes(&tensor));
    return tensor;
}

size_t arena_mark(const struct arena *arena)
{
    return arena->used;
}

void arena_return(struct arena *arena, size_t mark)
{
    arena->used = mark;
}

void arena_print_table(FILE *stream, const char *title, const struct arena *const *arenas, int count)
{
    double total = 0.0;
    fprintf(stream, "%s\n", title);
    for (int index = 0; index < count; index++) {
        const double reserved = mebibytes(arenas[index]->capacity);
        fprintf(stream, "  %-14s %10.1f MiB reserved %10.1f MiB used at most\n", arenas[index]->name,
                reserved, mebibytes(arenas[index]->peak));
        total += reserved;
    }
    fprintf(stream, "  %-14s %10.1f MiB\n", "total", total);
}
