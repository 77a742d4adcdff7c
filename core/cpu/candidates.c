#include "core/cpu/candidates.h"

#include "core/cpu/cpu.h"

static void swap(candidate *a, candidate *b)
{
    const candidate value = *a;
    *a = *b;
    *b = value;
}

/* Hoare's partition by the median of three: afterwards [0, result) >= pivot >= [result, count), both sides
 * not empty. count >= 3. */
static int64_t partition(candidate *c, int64_t count)
{
    const int64_t middle = count / 2;
    if (c[middle] > c[0])
        swap(c + middle, c);
    if (c[count - 1] > c[0])
        swap(c + count - 1, c);
    if (c[count - 1] > c[middle])
        swap(c + count - 1, c + middle);
    const candidate pivot = c[middle];
    int64_t low = 0, high = count - 1;
    for (;;) {
        do
            low++;
        while (c[low] > pivot);
        do
            high--;
        while (c[high] < pivot);
        if (low >= high)
            return low;
        swap(c + low, c + high);
    }
}

static void insertion_sort(candidate *c, int64_t count)
{
    for (int64_t i = 1; i < count; i++) {
        const candidate value = c[i];
        int64_t place = i;
        for (; place > 0 && c[place - 1] < value; place--)
            c[place] = c[place - 1];
        c[place] = value;
    }
}

void candidates_sort(candidate *candidates, int64_t count, int64_t keep)
{
    while (count > 16 && keep > 0) {
        const int64_t split = partition(candidates, count);
        if (keep <= split) {
            count = split;
            continue;
        }
        candidates_sort(candidates, split, split);
        candidates += split;
        count -= split;
        keep -= split;
    }
    if (keep > 0)
        insertion_sort(candidates, count);
}

void candidates_select(candidate *candidates, int64_t count, int64_t keep)
{
    while (count > 16 && keep > 0 && keep < count) {
        const int64_t split = partition(candidates, count);
        if (keep <= split) {
            count = split;
        } else {
            candidates += split;
            count -= split;
            keep -= split;
        }
    }
    if (keep > 0 && keep < count)
        insertion_sort(candidates, count);
}

static void cut_back(struct selection *selection)
{
    candidates_select(selection->buffer, selection->count, selection->wanted);
    selection->count = selection->wanted;
    candidate worst = selection->buffer[0];
    for (int64_t i = 1; i < selection->count; i++)
        worst = selection->buffer[i] < worst ? selection->buffer[i] : worst;
    selection->threshold = candidate_key(worst);
    selection->full = true;
}

static void consider(struct selection *selection, const score_key *keys, int64_t first, int64_t count)
{
    for (int64_t c = 0; c < count; c++) {
        const int64_t column = first + c;
        if (selection->full && keys[c] <= selection->threshold)
            continue;
        if (selection->hidden && selection->hidden[column / 64] >> (column % 64) & 1)
            continue;
        selection->buffer[selection->count++] = candidate_of(keys[c], column);
        if (selection->count == selection->capacity)
            cut_back(selection);
    }
}

void selection_scan(struct selection *selection, const real *scores, int64_t columns)
{
    enum { BLOCK = 64 };
    score_key keys[BLOCK];
    selection->count = 0;
    selection->full = false;
    for (int64_t first = 0; first < columns; first += BLOCK) {
        const int64_t count = minimum_of(BLOCK, columns - first);
        score_key largest = 0;
#pragma omp simd reduction(max : largest)
        for (int64_t c = 0; c < count; c++) {
            keys[c] = key_of_score(scores[first + c]);
            largest = keys[c] > largest ? keys[c] : largest;
        }
        if (!selection->full || largest > selection->threshold)
            consider(selection, keys, first, count);
    }
}
