/* safetensors_values.h: numbers from the types of a safetensors file, and into them. */
#ifndef IDREC_MODELS_LANGUAGE_SAFETENSORS_VALUES_H
#define IDREC_MODELS_LANGUAGE_SAFETENSORS_VALUES_H

#include "models/language/safetensors.h"

/* Bytes of an element, 0 for an unknown type. */
size_t safetensors_type_bytes(const char *type);
/* Whether it is F64, F32, F16 or BF16. */
bool safetensors_type_is_float(const char *type);

/* values [count] = the elements from `first` on of an entry of float type. */
void safetensors_values(real *values, const struct safetensors_entry *entry, int64_t first, int64_t count);

/* bytes [count elements of the float type] = values, each rounded to nearest, ties to even. Returns how many finite values
 * are too large for the type and became infinite. */
int64_t safetensors_store(void *bytes, const char *type, const real *values, int64_t count);

#endif
