/*
 * vector_math.h: elementary functions that the compiler can vectorise, and fixed-width vectors of `real`.
 */
#ifndef IDREC_CORE_CPU_VECTOR_MATH_H
#define IDREC_CORE_CPU_VECTOR_MATH_H

#include <math.h>
#include <string.h>
#ifdef __AVX2__
#include <immintrin.h>
#endif

#include "core/tensor.h"

/* 64 bytes: one AVX-512 register, two of AVX2. Loads and stores need no alignment. */
typedef real vector __attribute__((vector_size(64)));
#define VECTOR_LANES ((int64_t)(sizeof(vector) / sizeof(real)))

static inline vector vector_load(const real *address)
{
    vector value;
    memcpy(&value, address, sizeof value);
    return value;
}

static inline void vector_store(real *address, vector value)
{
    memcpy(address, &value, sizeof value);
}

static inline vector vector_of(real value)
{
    return value - (vector){0};
}

/* a * b + c, rounded once where the processor can. */
static inline vector vector_fma(vector a, vector b, vector c)
{
#if defined(__AVX512F__) && defined(IDREC_REAL_DOUBLE)
    return (vector)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
#elif defined(__AVX512F__)
    return (vector)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__) && !defined(IDREC_REAL_DOUBLE)
    union {
        vector whole;
        __m256 half[2];
    } x = {a}, y = {b}, z = {c};
    z.half[0] = _mm256_fmadd_ps(x.half[0], y.half[0], z.half[0]);
    z.half[1] = _mm256_fmadd_ps(x.half[1], y.half[1], z.half[1]);
    return z.whole;
#else
    return a * b + c;
#endif
}

/* The sum over the lanes, in a fixed order. */
static inline real vector_sum(vector a)
{
#if defined(__AVX512F__) && !defined(IDREC_REAL_DOUBLE)
    return _mm512_reduce_add_ps((__m512)a);
#else
    real sum = 0;
    for (int64_t lane = 0; lane < VECTOR_LANES; lane++)
        sum += a[lane];
    return sum;
#endif
}

#ifdef IDREC_REAL_DOUBLE

static inline real real_fma(real a, real b, real c)
{
    return __builtin_fma(a, b, c);
}
static inline real real_sqrt(real x)
{
    return sqrt(x);
}
static inline real real_exp(real x)
{
    return exp(x);
}
static inline real real_log(real x)
{
    return log(x);
}
static inline real real_normal_tail(real x)
{
    return x > 37 ? 0 : erfc(x * 0.70710678118654752440) / 2 * exp(x * x / 2);
}

#else

static inline real real_fma(real a, real b, real c)
{
    return __builtin_fmaf(a, b, c);
}
static inline real real_sqrt(real x)
{
    return sqrtf(x);
}
static inline real real_log(real x)
{
    return logf(x);
}

static inline int32_t bits_of(float x)
{
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float float_of(int32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* e^x within 2 units in the last place: x = n ln 2 + r, |r| <= ln 2 / 2, e^r by its Taylor polynomial, 2^n by
 * adding n to the exponent. Below -87.3 the result is 0; above 88.3 it stays at e^88.3. NaN gives NaN. */
static inline real real_exp(real x)
{
    const float low = -87.3f, high = 88.3f,
                shifter = 12582912.0f; /* 1.5 * 2^23: adding it rounds to integer */
    float clamped = x < low ? low : x;
    clamped = clamped > high ? high : clamped;
    const float shifted = real_fma(clamped, 1.44269504f, shifter);
    const float n = shifted - shifter;
    const float r = real_fma(n, -1.42860677e-6f, real_fma(n, -0.693145752f, clamped));
    float p = 1.0f / 720.0f;
    p = real_fma(p, r, 1.0f / 120.0f);
    p = real_fma(p, r, 1.0f / 24.0f);
    p = real_fma(p, r, 1.0f / 6.0f);
    p = real_fma(p, r, 0.5f);
    p = real_fma(p, r, 1.0f);
    p = real_fma(p, r, 1.0f);
    const float power = float_of((int32_t)((uint32_t)bits_of(p) + ((uint32_t)bits_of(shifted) << 23)));
    return x < low ? 0.0f : power;
}

/* What the normal distribution leaves above x >= 0, times e^(x^2 / 2), within 6 units in the last place as far as
 * e^(-x^2 / 2) is above 0: t P(t) with t = 1 / (1 + 0.34 x) and P fitted for the least relative error. */
static inline real real_normal_tail(real x)
{
    const float t = 1.0f / real_fma(0.34f, x, 1.0f);
    float p = -0.02637026f;
    p = real_fma(p, t, 0.14067212f);
    p = real_fma(p, t, -0.27546233f);
    p = real_fma(p, t, 0.20473269f);
    p = real_fma(p, t, -0.046395086f);
    p = real_fma(p, t, 0.11603497f);
    p = real_fma(p, t, 0.115035094f);
    p = real_fma(p, t, 0.13613348f);
    p = real_fma(p, t, 0.13561934f);
    return p * t;
}

#endif

/* 1 / (1 + e^-x). */
static inline real real_sigmoid(real x)
{
    return 1 / (1 + real_exp(-x));
}

#endif
