#include <omp.h>
#include <string.h>

#include "core/cpu/cpu.h"
#include "core/negatives.h"

enum { ROWS_TOGETHER = 64 };

/* What a thread draws with: a bit an item that is excluded for `owner`, so that a draw is looked up at once. */
struct negative_draw {
    uint64_t *marked; /* [items / 64 + 1] */
    int32_t owner;    /* -1: nothing is marked */
    struct excluded_items excluded;
    int64_t items;
};

static void flip_marks(const struct negative_draw *draw)
{
    for (int64_t i = 0; i < draw->excluded.count; i++)
        draw->marked[draw->excluded.items[i] / 64] ^= UINT64_C(1) << draw->excluded.items[i] % 64;
}

static void choose_owner(struct negative_draw *draw, int32_t owner, const struct negative_source *source)
{
    const int64_t *starts = source->starts->data;
    if (owner == draw->owner)
        return;
    flip_marks(draw);
    draw->owner = owner;
    draw->excluded = (struct excluded_items){(const int32_t *)source->excluded->data + starts[owner],
                                             starts[owner + 1] - starts[owner]};
    flip_marks(draw);
}

/* draw_negative() with the marks. */
static int32_t draw_unmarked(const struct negative_draw *draw, struct random_stream *stream)
{
    for (int attempt = 0; attempt < REJECTIONS_MAXIMUM; attempt++) {
        const uint32_t item = random_below(stream, (uint32_t)draw->items);
        if (!(draw->marked[item / 64] >> item % 64 & 1))
            return (int32_t)item;
    }
    return draw_allowed_item(stream, &draw->excluded, draw->items);
}

void cpu_sample_negatives(struct backend *backend, struct tensor *candidates, struct negative_source source,
                          uint64_t seed, uint64_t step)
{
    const int64_t rows = candidates->shape[0], count = candidates->shape[1] - 1;
    const int64_t groups = (count + NEGATIVES_TOGETHER - 1) / NEGATIVES_TOGETHER;
    const int64_t words = source.items / 64 + 1;
    const int32_t *owners = source.owners->data, *positives = source.positives->data;
    uint64_t *memory = cpu_workspace(backend, (size_t)(backend->threads * words) * sizeof *memory);
    if (!memory)
        return;
#pragma omp parallel num_threads(backend->threads) if (rows * count >= PARALLEL_MINIMUM)
    {
        struct negative_draw draw = {
            .marked = memory + omp_get_thread_num() * words, .owner = -1, .items = source.items};
        memset(draw.marked, 0, (size_t)words * sizeof *draw.marked);
#pragma omp for schedule(static, ROWS_TOGETHER)
        for (int64_t row = 0; row < rows; row++) {
            int32_t *chosen = (int32_t *)candidates->data + row * (count + 1);
            *chosen++ = positives[row];
            choose_owner(&draw, owners[row], &source);
            for (int64_t group = 0; group < groups; group++) {
                struct random_stream stream = random_stream_open(
                    seed, RANDOM_NEGATIVE, step, (uint64_t)((source.first_row + row) * groups + group));
                const int64_t first = group * NEGATIVES_TOGETHER;
                for (int64_t j = first; j < minimum_of(count, first + NEGATIVES_TOGETHER); j++)
                    chosen[j] = draw_unmarked(&draw, &stream);
            }
        }
    }
}
