#include "models/language/item_tokens.h"

#include <stdlib.h>

void token_rows_free(struct token_rows *rows)
{
    free(rows->starts);
    free(rows->token);
    *rows = (struct token_rows){0};
}

void item_tokens_free(struct item_tokens *tokens)
{
    token_rows_free(&tokens->first);
    token_rows_free(&tokens->next);
}
