/* Any bytes: refused, or every tensor can be read to its last byte. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "models/language/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct error error = ERROR_INITIALIZER;
    struct safetensors *file;
    if (!safetensors_parse(&file, "fuzzed", bytes, length, &error)) {
        if (error.kind == ERROR_NONE || error.message[0] == '\0')
            abort();
        return 0;
    }
    volatile uint8_t sum = 0;
    for (int64_t index = 0; index < safetensors_count(file); index++) {
        const struct safetensors_entry *const entry = safetensors_at(file, index);
        const uint8_t *const data = entry->data;
        if (safetensors_find(file, entry->name) != entry)
            abort();
        for (size_t byte = 0; byte < entry->bytes; byte++)
            sum = (uint8_t)(sum + data[byte]);
    }
    safetensors_close(file);
    return 0;
}
