/* tokenizer_text.h: growable text, UTF-8, and the classes of characters that tokenizers ask for. */
#ifndef IDREC_MODELS_LANGUAGE_TOKENIZER_TEXT_H
#define IDREC_MODELS_LANGUAGE_TOKENIZER_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

/* {0} is empty. */
struct text {
    char *bytes;
    size_t length, capacity;
};
bool text_append(struct text *text, const char *bytes, size_t length, struct error *error);
void text_free(struct text *text);

/* Bytes that the first character takes (length > 0). When they are no UTF-8, *valid is false and the result is the length
 * of what one U+FFFD stands for (Unicode 15, table 3-7 and "maximal subparts"). */
size_t utf8_step(const char *bytes, size_t length, bool *valid);
/* The place of the first byte that is not UTF-8; `length` when there is none. */
size_t utf8_valid_prefix(const char *bytes, size_t length);
/* Bytes of a character in valid UTF-8, by its first byte. */
size_t utf8_width(char first);
/* The character that begins at `bytes` in valid UTF-8. */
int32_t utf8_character(const char *bytes);

/* Unicode's White_Space, what \s is to a pattern. */
bool character_is_space(int32_t character);
/* \w: Alphabetic, marks, decimal digits, connectors and joiners. */
bool character_is_word(int32_t character);
/* The categories Nd, Nl and No. */
bool character_is_numeric(int32_t character);

/* The printable character that stands for a byte in byte-level vocabularies (Radford et al. 2019, `bytes_to_unicode`), and
 * the byte of a character, or -1. */
int32_t byte_character(uint8_t byte);
int character_byte(int32_t character);
/* Appends the bytes of a text of such characters. When another one is among them, *mapped is false and nothing is appended. */
bool append_character_bytes(struct text *text, const char *characters, size_t length, bool *mapped,
                            struct error *error);

#endif
