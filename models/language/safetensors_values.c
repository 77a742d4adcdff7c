#include "models/language/safetensors_values.h"

#include <math.h>
#include <string.h>

#include "core/bf16.h"

size_t safetensors_type_bytes(const char *type)
{
    static const struct {
        const char *name;
        size_t bytes;
    } types[] = {{"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"I64", 8}, {"I32", 4}, {"I16", 2},
                 {"I8", 1},  {"U64", 8}, {"U32", 4}, {"U16", 2},  {"U8", 1},  {"BOOL", 1}};
    for (size_t index = 0; index < sizeof types / sizeof *types; index++)
        if (strcmp(types[index].name, type) == 0)
            return types[index].bytes;
    return 0;
}

bool safetensors_type_is_float(const char *type)
{
    return type[0] == 'F' || strcmp(type, "BF16") == 0;
}

static float float_from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t bits_from_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* ---- halves ------------------------------------------------------------------------------------------- */

static float float_from_half(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16, mantissa = half & 0x3ffu;
    const uint32_t exponent = (uint32_t)(half >> 10) & 0x1fu;
    if (exponent == 0) /* zero and subnormal: mantissa * 2^-24 */
        return (sign ? -1.0f : 1.0f) * ldexpf((float)mantissa, -24);
    if (exponent == 31)
        return float_from_bits(sign | 0x7f800000u | mantissa << 13);
    return float_from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
}

static uint16_t half_nearest(float value)
{
    const uint32_t bits = bits_from_float(value), magnitude = bits & 0x7fffffffu;
    const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    if (magnitude > 0x7f800000u) /* not a number */
        return (uint16_t)(sign | 0x7e00u);
    if (magnitude >= bits_from_float(65520.0f))
        return (uint16_t)(sign | 0x7c00u);
    if (magnitude <
        bits_from_float(0x1p-14f)) /* subnormal: 2^-24 is the unit, and rintf() rounds ties to even */
        return (uint16_t)(sign | (uint16_t)rintf(ldexpf(fabsf(value), 24)));
    const uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
    return (uint16_t)(sign | (uint16_t)((rounded - (112u << 23)) >> 13));
}

/* ---- reading and storing ------------------------------------------------------------------------------ */

void safetensors_values(real *values, const struct safetensors_entry *entry, int64_t first, int64_t count)
{
    const unsigned char *bytes =
        (const unsigned char *)entry->data + first * (int64_t)safetensors_type_bytes(entry->type);
    if (strcmp(entry->type, "F32") == 0) {
        for (int64_t index = 0; index < count; index++) {
            float value;
            memcpy(&value, bytes + index * 4, sizeof value);
            values[index] = (real)value;
        }
    } else if (strcmp(entry->type, "F64") == 0) {
        for (int64_t index = 0; index < count; index++) {
            double value;
            memcpy(&value, bytes + index * 8, sizeof value);
            values[index] = (real)value;
        }
    } else {
        const bool half = strcmp(entry->type, "F16") == 0;
        for (int64_t index = 0; index < count; index++) {
            uint16_t bits;
            memcpy(&bits, bytes + index * 2, sizeof bits);
            values[index] = (real)(half ? float_from_half(bits) : bf16_value(bits));
        }
    }
}

static int64_t store_sixteen_bits(unsigned char *bytes, bool half, const real *values, int64_t count)
{
    int64_t too_large = 0;
    for (int64_t index = 0; index < count; index++) {
        const float value = (float)values[index];
        const uint16_t bits = half ? half_nearest(value) : bf16_nearest(value);
        const uint16_t infinity = half ? 0x7c00u : 0x7f80u;
        too_large += (bits & 0x7fffu) == infinity && isfinite(value);
        memcpy(bytes + index * 2, &bits, sizeof bits);
    }
    return too_large;
}

int64_t safetensors_store(void *bytes, const char *type, const real *values, int64_t count)
{
    unsigned char *place = bytes;
    const size_t size = safetensors_type_bytes(type);
    if (size == 2)
        return store_sixteen_bits(place, strcmp(type, "F16") == 0, values, count);
    for (int64_t index = 0; index < count; index++) {
        const float single = (float)values[index];
        const double wide = (double)values[index];
        memcpy(place + index * (int64_t)size, size == 4 ? (const void *)&single : (const void *)&wide, size);
    }
    return 0;
}
