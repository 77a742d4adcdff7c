#include "core/random.h"

#include <math.h>

double random_double(struct random_stream *stream)
{
    const uint64_t high = random_word(stream) >> 5, low = random_word(stream) >> 6;
    return (double)(high << 26 | low) * 0x1.0p-53;
}

double random_normal(struct random_stream *stream)
{
    const double radius = sqrt(-2.0 * log(1.0 - random_double(stream)));
    return radius * cos(2.0 * 3.14159265358979323846 * random_double(stream));
}

void random_shuffle(struct random_stream *stream, int32_t *values, int64_t count)
{
    for (int64_t last = count - 1; last > 0; last--) {
        const int64_t chosen = (int64_t)random_below(stream, (uint32_t)(last + 1));
        const int32_t value = values[last];
        values[last] = values[chosen];
        values[chosen] = value;
    }
}
