#include "core/cpu/cpu.h"

static void end_row(const struct decode_rows *rows, int64_t row)
{
    ((int32_t *)rows->slot->data)[row] = -1;
    ((int64_t *)rows->stream->data)[row] = -1;
}

static void append_token(const struct decode_rows *rows, int64_t row, int32_t token, real log_probability)
{
    const int64_t columns = rows->log->shape[1], words = rows->forbidden ? rows->forbidden->shape[1] : 0;
    int32_t *drawn = (int32_t *)rows->drawn->data + row;
    const int64_t place = row * columns + *drawn % columns;
    ((int32_t *)rows->log->data)[place] = token;
    ((real *)rows->log_probability->data)[place] = log_probability;
    if (rows->forbidden)
        ((uint32_t *)rows->forbidden->data)[row * words + token / 32] |= 1u << (token % 32);
    ((int32_t *)rows->token->data)[row] = token;
    ((int32_t *)rows->position->data)[row]++;
    ((int32_t *)rows->length->data)[row]++;
    (*drawn)++;
}

void cpu_advance(struct backend *backend, struct decode_rows rows, const struct tensor *tokens,
                 const struct tensor *log_probability, int32_t end, int64_t drawn_maximum)
{
    (void)backend;
    const int32_t *token = tokens->data;
    for (int64_t row = 0; row < tokens->shape[0]; row++) {
        if (((const int64_t *)rows.stream->data)[row] < 0)
            continue;
        if (token[row] < 0 || token[row] == end) {
            end_row(&rows, row);
            continue;
        }
        append_token(&rows, row, token[row], ((const real *)log_probability->data)[row]);
        if (((const int32_t *)rows.drawn->data)[row] >= drawn_maximum)
            end_row(&rows, row);
    }
}
