/* hash.h: 128-bit XXH3 hashes as text. */
#ifndef IDREC_CORE_HASH_H
#define IDREC_CORE_HASH_H

#include <stdio.h>
#include <xxhash.h>

/* As 32 hexadecimal digits. */
static inline void hash_digits(char digits[33], XXH128_hash_t hash)
{
    snprintf(digits, 33, "%016llx%016llx", (unsigned long long)hash.high64, (unsigned long long)hash.low64);
}

#endif
