/* Any text is refused with one line that names the file, or gives settings whose sizes are in bounds. */
#include <stdlib.h>
#include <string.h>

#include "models/language/checkpoint_config.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static bool in_bounds(int64_t value, int64_t most)
{
    return value >= 1 && value <= most;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct error error = ERROR_INITIALIZER;
    struct transformer_settings settings;
    if (!checkpoint_config_parse(&settings, "config.json", (const char *)bytes, length, &error)) {
        if (error.kind != ERROR_RUN || strncmp(error.message, "config.json:", 12) != 0 ||
            strchr(error.message, '\n'))
            abort();
        return 0;
    }
    if (!in_bounds(settings.vocabulary, INT32_MAX) || !in_bounds(settings.width, 1 << 20) ||
        !in_bounds(settings.layers, 4096) || !in_bounds(settings.query_heads, 4096) ||
        !in_bounds(settings.key_heads, settings.query_heads) || !in_bounds(settings.head_width, 4096) ||
        !in_bounds(settings.hidden, 1 << 20) || settings.query_heads % settings.key_heads != 0 ||
        settings.sequence_maximum < 0 || !(settings.norm_epsilon > 0.0f) || !(settings.rope_theta > 0.0f) ||
        !transformer_family(&settings))
        abort();
    return 0;
}
