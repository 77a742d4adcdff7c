/*
 * item_writer.h: lists of items that are written token by token: which tokens may follow so that the list holds nothing but
 * items that the user does not have, each once, and which items a token completes.
 *
 * An item is complete when no other item that may be written goes on from its tokens. Otherwise (in text "i12" before "i123")
 * the next token tells: one that goes on with a longer item, or one that begins a further item or ends the list. That the
 * two can be told apart is checked when the writer is made.
 */
#ifndef IDREC_MODELS_LANGUAGE_ITEM_WRITER_H
#define IDREC_MODELS_LANGUAGE_ITEM_WRITER_H

#include "models/language/item_trie.h"

struct item_writer {
    struct item_trie first, next; /* of the item that begins a list, and of a further one */
    int32_t end;                  /* the token that ends a list; -1: it goes on until it is cut off */
    int64_t allowed_maximum;      /* tokens that can be allowed at a time */
    int64_t length_maximum;       /* tokens of an item */
};

/* Refuses, with the two items' indices, an item that goes on from another by the token that begins a further item, and an
 * item with the token that ends a list. */
bool item_writer_create(struct item_writer *writer, const struct item_tokens *tokens, int32_t end,
                        struct error *error);
void item_writer_free(struct item_writer *writer);

/* A list being written; {0} holds nothing. */
struct written_list {
    bool further;  /* the item being written is in writer->next, not in writer->first */
    int32_t node;  /* of that trie, where the item has come to; 0: nothing of it is written */
    int64_t items; /* that are complete */
    struct item_exclusions first, next; /* what must not be written, by the numbers of either trie */
};

/* Begins a list that holds none of `items`; joined: its first item is written as a further one. */
bool written_list_begin(struct written_list *list, const struct item_writer *writer, bool joined,
                        const int32_t *items, int64_t item_count, struct error *error);
bool written_list_copy(struct written_list *to, const struct written_list *from, struct error *error);
void written_list_free(struct written_list *list);

/* The item whose tokens are written while a longer one may still follow, or -1. */
int32_t written_list_pending(const struct item_writer *writer, const struct written_list *list);

/* Writes the tokens that may follow into token [writer->allowed_maximum], returns how many they are. The first *continuing
 * of them go on with the item being written, or begin it where nothing of it is written; the others, ascending too, come
 * behind a pending item: they begin a further one. The token that ends the list is the last where it is allowed. */
int64_t item_writer_allowed(const struct item_writer *writer, const struct written_list *list, int32_t *token,
                            int64_t *continuing);

/* Only those that go on with the item, or begin it. */
int64_t item_writer_continuing(const struct item_writer *writer, const struct written_list *list,
                               int32_t *token);
/* The tokens by which an item is complete, whoever has which items: those that begin a further one, and the one that ends a
 * list. */
int64_t item_writer_stops(const struct item_writer *writer, int32_t *token);

/* What a token has done: a pending item was complete before it, an item is complete with it (each an item or -1), the list
 * has ended. */
struct written_step {
    int32_t before, with;
    bool ends;
};
/* Goes on with an allowed token. */
bool item_writer_take(struct written_step *step, const struct item_writer *writer, struct written_list *list,
                      int32_t token, struct error *error);

#endif
