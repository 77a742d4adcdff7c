#include "models/language/tokenizer_text.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

bool text_append(struct text *text, const char *bytes, size_t length, struct error *error)
{
    if (length > text->capacity - text->length) {
        const size_t capacity = 2 * text->capacity + length + 64;
        char *grown = realloc(text->bytes, capacity);
        if (!grown)
            return error_memory(error, "text on its way to tokens", capacity, NULL);
        text->bytes = grown;
        text->capacity = capacity;
    }
    if (length > 0)
        memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
    return true;
}

void text_free(struct text *text)
{
    free(text->bytes);
    *text = (struct text){0};
}

/* ---- UTF-8 -------------------------------------------------------------------------------------------- */

/* The bounds of the second byte depend on the first, and all others are 80..BF: Unicode 15, table 3-7. */
size_t utf8_step(const char *bytes, size_t length, bool *valid)
{
    const uint8_t first = (uint8_t)bytes[0];
    uint8_t low = 0x80, high = 0xBF;
    size_t width = 1;
    *valid = first < 0x80;
    if (first < 0xC2 || first > 0xF4)
        return 1;
    if (first < 0xE0) {
        width = 2;
    } else if (first < 0xF0) {
        width = 3;
        low = first == 0xE0 ? 0xA0 : low;
        high = first == 0xED ? 0x9F : high;
    } else {
        width = 4;
        low = first == 0xF0 ? 0x90 : low;
        high = first == 0xF4 ? 0x8F : high;
    }
    for (size_t place = 1; place < width; place++) {
        if (place == length || (uint8_t)bytes[place] < low || (uint8_t)bytes[place] > high)
            return place;
        low = 0x80;
        high = 0xBF;
    }
    *valid = true;
    return width;
}

size_t utf8_valid_prefix(const char *bytes, size_t length)
{
    size_t place = 0;
    while (place < length) {
        uint64_t eight;
        if (length - place >= sizeof eight) {
            memcpy(&eight, bytes + place, sizeof eight);
            if ((eight & 0x8080808080808080u) == 0) {
                place += sizeof eight;
                continue;
            }
        }
        bool valid;
        const size_t step = utf8_step(bytes + place, length - place, &valid);
        if (!valid)
            return place;
        place += step;
    }
    return length;
}

size_t utf8_width(char first)
{
    const uint8_t byte = (uint8_t)first;
    return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

int32_t utf8_character(const char *bytes)
{
    utf8proc_int32_t character;
    utf8proc_iterate((const utf8proc_uint8_t *)bytes, (utf8proc_ssize_t)utf8_width(bytes[0]), &character);
    return character;
}

/* ---- classes of characters ---------------------------------------------------------------------------- */

bool character_is_space(int32_t character)
{
    if (character < 0x80)
        return character == ' ' || (character >= '\t' && character <= '\r');
    const utf8proc_category_t category = utf8proc_category(character);
    return character == 0x85 || category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL ||
           category == UTF8PROC_CATEGORY_ZP;
}

/* Symbols (So) that are letters in circles and squares have the property Other_Alphabetic. */
static bool is_enclosed_letter(int32_t character)
{
    return (character >= 0x24B6 && character <= 0x24E9) || (character >= 0x1F130 && character <= 0x1F149) ||
           (character >= 0x1F150 && character <= 0x1F169) || (character >= 0x1F170 && character <= 0x1F189);
}

bool character_is_word(int32_t character)
{
    switch (utf8proc_category(character)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default:
        return character == 0x200C || character == 0x200D || is_enclosed_letter(character);
    }
}

bool character_is_numeric(int32_t character)
{
    if (character < 0x80)
        return character >= '0' && character <= '9';
    const utf8proc_category_t category = utf8proc_category(character);
    return category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL ||
           category == UTF8PROC_CATEGORY_NO;
}

/* ---- bytes as characters ------------------------------------------------------------------------------ */

/* Latin-1's printable bytes stand for themselves: 21..7E, A1..AC, AE..FF. The other 68 are 100.. in order. */
int32_t byte_character(uint8_t byte)
{
    if (byte <= 0x20)
        return 0x100 + byte;
    if (byte >= 0x7F && byte <= 0xA0)
        return 0x121 + (byte - 0x7F);
    return byte == 0xAD ? 0x143 : byte;
}

int character_byte(int32_t character)
{
    if (character >= 0x100 && character <= 0x120)
        return character - 0x100;
    if (character >= 0x121 && character <= 0x142)
        return character - 0x121 + 0x7F;
    if (character == 0x143)
        return 0xAD;
    const bool itself =
        character > 0x20 && character <= 0xFF && byte_character((uint8_t)character) == character;
    return itself ? character : -1;
}

bool append_character_bytes(struct text *text, const char *characters, size_t length, bool *mapped,
                            struct error *error)
{
    const size_t before = text->length;
    *mapped = true;
    for (size_t place = 0; place < length; place += utf8_width(characters[place])) {
        const int byte = character_byte(utf8_character(characters + place));
        if (byte < 0) {
            text->length = before;
            *mapped = false;
            return true;
        }
        const char one = (char)byte;
        if (!text_append(text, &one, 1, error))
            return false;
    }
    return true;
}
