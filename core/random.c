#include "core/random.h"

#include <math.h>

void philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t output[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < PHILOX_ROUNDS; round++) {
        const uint64_t product0 = PHILOX_MULTIPLIER_0 * c0, product1 = PHILOX_MULTIPLIER_1 * c2;
        const uint32_t next0 = (uint32_t)(product1 >> 32) ^ c1 ^ k0;
        const uint32_t next2 = (uint32_t)(product0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)product1;
        c3 = (uint32_t)product0;
        c0 = next0;
        c2 = next2;
        k0 += PHILOX_WEYL_0;
        k1 += PHILOX_WEYL_1;
    }
    output[0] = c0;
    output[1] = c1;
    output[2] = c2;
    output[3] = c3;
}

struct random_stream random_stream_open(uint64_t seed, enum random_purpose purpose, uint64_t step,
                                        uint64_t index)
{
    struct random_stream stream = {
        .key = {(uint32_t)seed, (uint32_t)(seed >> 32)},
        .counter = {0, (uint32_t)index, (uint32_t)step, (uint32_t)purpose | (uint32_t)(index >> 32) << 8},
        .words_left = 0,
    };
    return stream;
}

uint32_t random_word(struct random_stream *stream)
{
    if (stream->words_left == 0) {
        philox4x32(stream->counter, stream->key, stream->words);
        stream->counter[0]++;
        stream->words_left = 4;
    }
    return stream->words[--stream->words_left];
}

uint32_t random_below(struct random_stream *stream, uint32_t bound)
{
    uint64_t product = (uint64_t)random_word(stream) * bound;
    uint32_t low = (uint32_t)product;
    if (low < bound) {
        const uint32_t threshold = -bound % bound;
        while (low < threshold) {
            product = (uint64_t)random_word(stream) * bound;
            low = (uint32_t)product;
        }
    }
    return (uint32_t)(product >> 32);
}

float random_float(struct random_stream *stream)
{
    return (float)(random_word(stream) >> 8) * 0x1.0p-24f;
}

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
