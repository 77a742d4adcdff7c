/* bf16.h: the upper half of a float, in which a GPU may store what flows through a transformer (ops.h, "Storage"). */
#ifndef IDREC_CORE_BF16_H
#define IDREC_CORE_BF16_H

#include <stdint.h>
#include <string.h>

static inline float bf16_value(uint16_t stored)
{
    const uint32_t bits = (uint32_t)stored << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* To nearest, ties to even; not-a-number stays so. */
static inline uint16_t bf16_nearest(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (value != value)
        return 0x7FFF;
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

#endif
