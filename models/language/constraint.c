#include "models/language/constraint.h"

#include <string.h>

void constraint_begin(uint32_t *bits, const struct vocabulary *vocabulary, bool end_forbidden,
                      const int32_t *items, int64_t item_count)
{
    memset(bits, 0, (size_t)constraint_words(vocabulary) * sizeof *bits);
    for (int32_t token = 0; token < CONTROL_TOKEN_COUNT; token++)
        if (token != TOKEN_END || end_forbidden)
            constraint_add(bits, token);
    for (int64_t i = 0; i < item_count; i++)
        if (items[i] < vocabulary->items)
            constraint_add(bits, vocabulary_item_token(items[i]));
}
