/*
 * answer_parser.h: reads the items from what a model has written freely. Text is decoded and cut at the separator; a piece
 * must have the format of an item (the format filter) and name one that there is (the catalogue filter). Where items are
 * not text, their tokens are followed through the trie. An item that a limit on tokens has
 * cut off is marked: "i12" may have been going to be "i123".
 */
#ifndef IDREC_MODELS_LANGUAGE_ANSWER_PARSER_H
#define IDREC_MODELS_LANGUAGE_ANSWER_PARSER_H

#include "core/interactions.h"
#include "models/language/item_writer.h"
#include "models/language/proposal.h"

/* Tokens to text, malloc'ed and NUL-ended, without special tokens. */
typedef bool answer_decode(const void *decoder, const int32_t *tokens, int64_t count, char **text,
                           struct error *error);

/* How text writes a list: opening before NAME after separator before NAME after ... closing. Blanks around a piece do not
 * count, and opening and closing may be missing. */
struct answer_format {
    const char *opening, *closing; /* NULL: none */
    const char *before, *after,
        *separator;             /* "i", "", ","; an empty separator: `before` begins a new piece */
    const struct id_map *names; /* of the items */
    answer_decode *decode;
    const void *decoder;
};

struct answer_parser;

/* Text by `format`, or, where format is NULL, tokens by `writer`. What is given must outlive the parser. */
bool answer_parser_create(struct answer_parser **parser, const struct item_writer *writer,
                          const struct answer_format *format, struct error *error);
void answer_parser_free(struct answer_parser *parser);

/* An item that was read, with the sum of the log-probabilities of its tokens; what separates it from the item before is its
 * own. */
struct answer_item {
    int32_t item;
    double log_probability;
    bool cut; /* the limit on tokens ended the answer here */
};

struct answer {
    int64_t count, capacity;
    struct answer_item *item;
    int64_t malformed; /* pieces that are no item by their format */
    int64_t unknown;   /* that name none of the catalogue */
    int64_t
        incomplete; /* 0 or 1: what the limit on tokens cut off, an item that is marked or a piece that is none */
};
void answer_free(struct answer *answer);

/* Appends what was read as proposals of a user's sample and counts it; `had` are the items of his train part. */
bool answer_propose(const struct answer *answer, struct proposal_list *list, int32_t user, int32_t sample,
                    const int32_t *had, int64_t had_count, struct error *error);

/* Reads the tokens of an answer without the one that ended it; cut: the limit ended it. log_probability [count]. At most
 * items_maximum pieces are read. `answer` is overwritten. */
bool answer_parse(struct answer *answer, const struct answer_parser *parser, const int32_t *token,
                  const float *log_probability, int64_t count, bool joined, bool cut, int64_t items_maximum,
                  struct error *error);

#endif
