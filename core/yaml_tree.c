#include "core/yaml_tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { DEPTH_MAXIMUM = 32, NODES_MAXIMUM = 65536, ANCHORS_MAXIMUM = 256 };

struct anchor {
    char *name;
    const struct yaml_node *node;
};

struct reader {
    yaml_parser_t parser;
    const char *file;
    bool numbered;
    int nodes, anchor_count;
    struct anchor anchors[ANCHORS_MAXIMUM];
    struct error *error;
};

static bool complain(struct reader *reader, const yaml_mark_t *mark, const char *what)
{
    return error_at(reader->error, ERROR_USAGE, reader->file, reader->numbered ? (long)mark->line + 1 : 0,
                    "%s", what);
}

static struct yaml_node *make_node(struct reader *reader, enum yaml_kind kind, const yaml_mark_t *mark)
{
    if (++reader->nodes > NODES_MAXIMUM) {
        complain(reader, mark,
                 "this file is too large once its aliases are expanded; write it out more briefly");
        return NULL;
    }
    struct yaml_node *node = calloc(1, sizeof *node);
    if (!node) {
        error_memory(reader->error, "a node of YAML", sizeof *node, NULL);
        return NULL;
    }
    node->kind = kind;
    node->file = reader->file;
    node->line = reader->numbered ? (long)mark->line + 1 : 0;
    return node;
}

void yaml_tree_free(struct yaml_node *node)
{
    if (!node)
        return;
    for (size_t i = 0; i < node->count; i++) {
        if (node->keys)
            free(node->keys[i]);
        yaml_tree_free(node->children[i]);
    }
    free(node->keys);
    free(node->children);
    free(node->text);
    free(node);
}

/* Adds a child, and takes it over whether or not this succeeds. */
static bool append(struct yaml_node *parent, const char *key, struct yaml_node *child)
{
    struct yaml_node **children = realloc(parent->children, (parent->count + 1) * sizeof(struct yaml_node *));
    if (children)
        parent->children = children;
    char **keys = key && children ? realloc(parent->keys, (parent->count + 1) * sizeof(char *)) : NULL;
    if (keys)
        parent->keys = keys;
    char *copy = keys ? strdup(key) : NULL;
    if (!children || (key && !copy)) {
        yaml_tree_free(child);
        return false;
    }
    if (key)
        parent->keys[parent->count] = copy;
    parent->children[parent->count++] = child;
    return true;
}

static struct yaml_node *copy_node(struct reader *reader, const struct yaml_node *original,
                                   const yaml_mark_t *mark)
{
    struct yaml_node *copy = make_node(reader, original->kind, mark);
    if (!copy)
        return NULL;
    copy->line = original->line;
    copy->quoted = original->quoted;
    bool done = !original->text || (copy->text = strdup(original->text));
    for (size_t i = 0; done && i < original->count; i++) {
        struct yaml_node *child = copy_node(reader, original->children[i], mark);
        done = child && append(copy, original->keys ? original->keys[i] : NULL, child);
    }
    if (done)
        return copy;
    yaml_tree_free(copy);
    return NULL;
}

static bool next_event(struct reader *reader, yaml_event_t *event)
{
    if (yaml_parser_parse(&reader->parser, event))
        return true;
    const yaml_parser_t *parser = &reader->parser;
    const long line =
        (long)(parser->problem_mark.line > 0 ? parser->problem_mark.line : parser->context_mark.line) + 1;
    if (parser->error == YAML_MEMORY_ERROR)
        return error_memory(reader->error, "reading YAML", 0, NULL);
    return error_at(reader->error, ERROR_USAGE, reader->file, reader->numbered ? line : 0,
                    "is not valid YAML (%s)", parser->problem ? parser->problem : "unknown reason");
}

static bool remember_anchor(struct reader *reader, const yaml_event_t *event, const char *name,
                            const struct yaml_node *node)
{
    if (!name)
        return true;
    if (reader->anchor_count == ANCHORS_MAXIMUM)
        return complain(reader, &event->start_mark,
                        "this file has too many anchors; write it out more briefly");
    char *copy = strdup(name);
    if (!copy)
        return error_memory(reader->error, "an anchor of YAML", strlen(name), NULL);
    reader->anchors[reader->anchor_count++] = (struct anchor){.name = copy, .node = node};
    return true;
}

static struct yaml_node *read_node(struct reader *reader, const yaml_event_t *event, int depth);

static struct yaml_node *read_alias(struct reader *reader, const yaml_event_t *event)
{
    const char *name = (const char *)event->data.alias.anchor;
    for (int i = reader->anchor_count - 1; i >= 0; i--)
        if (strcmp(reader->anchors[i].name, name) == 0)
            return copy_node(reader, reader->anchors[i].node, &event->start_mark);
    complain(reader, &event->start_mark, "this alias has no finished anchor before it");
    return NULL;
}

static struct yaml_node *read_scalar(struct reader *reader, const yaml_event_t *event)
{
    const char *text = (const char *)event->data.scalar.value;
    if (strlen(text) != event->data.scalar.length) {
        complain(reader, &event->start_mark, "a value holds a NUL character; remove it");
        return NULL;
    }
    struct yaml_node *node = make_node(reader, YAML_SCALAR, &event->start_mark);
    if (!node)
        return NULL;
    node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    node->text = strdup(text);
    if (node->text && remember_anchor(reader, event, (const char *)event->data.scalar.anchor, node))
        return node;
    yaml_tree_free(node);
    return NULL;
}

/* The key of a mapping's next entry; `event` holds it. */
static bool check_key(struct reader *reader, const yaml_event_t *event, const struct yaml_node *mapping)
{
    if (event->type != YAML_SCALAR_EVENT)
        return complain(reader, &event->start_mark, "a key must be a plain word");
    const char *key = (const char *)event->data.scalar.value;
    if (strlen(key) != event->data.scalar.length)
        return complain(reader, &event->start_mark, "a key holds a NUL character; remove it");
    if (yaml_node_child(mapping, key))
        return error_at(reader->error, ERROR_USAGE, reader->file,
                        reader->numbered ? (long)event->start_mark.line + 1 : 0,
                        "%.100s: this key stands here twice; keep one", key);
    return true;
}

/* Reads one child, after its key where the parent is a mapping. *more is false at the parent's end. */
static bool read_child(struct reader *reader, struct yaml_node *parent, int depth, bool *more)
{
    yaml_event_t event, value;
    if (!next_event(reader, &event))
        return false;
    bool done = true;
    *more = event.type != (parent->kind == YAML_LIST ? YAML_SEQUENCE_END_EVENT : YAML_MAPPING_END_EVENT);
    if (*more && parent->kind == YAML_LIST) {
        struct yaml_node *child = read_node(reader, &event, depth);
        done = child && append(parent, NULL, child);
    } else if (*more) {
        done = check_key(reader, &event, parent) && next_event(reader, &value);
        if (done) {
            struct yaml_node *child = read_node(reader, &value, depth);
            done = child && append(parent, (const char *)event.data.scalar.value, child);
            yaml_event_delete(&value);
        }
    }
    yaml_event_delete(&event);
    return done;
}

static struct yaml_node *read_collection(struct reader *reader, const yaml_event_t *event, int depth)
{
    const bool list = event->type == YAML_SEQUENCE_START_EVENT;
    struct yaml_node *node = make_node(reader, list ? YAML_LIST : YAML_MAPPING, &event->start_mark);
    if (!node)
        return NULL;
    bool done = depth < DEPTH_MAXIMUM || complain(reader, &event->start_mark, "this is nested too deeply");
    for (bool more = true; done && more;)
        done = read_child(reader, node, depth + 1, &more);
    const yaml_char_t *anchor = list ? event->data.sequence_start.anchor : event->data.mapping_start.anchor;
    if (done && remember_anchor(reader, event, (const char *)anchor, node))
        return node;
    yaml_tree_free(node);
    return NULL;
}

static struct yaml_node *read_node(struct reader *reader, const yaml_event_t *event, int depth)
{
    switch (event->type) {
    case YAML_ALIAS_EVENT:
        return read_alias(reader, event);
    case YAML_SCALAR_EVENT:
        return read_scalar(reader, event);
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT:
        return read_collection(reader, event, depth);
    default:
        complain(reader, &event->start_mark, "a value is missing here");
        return NULL;
    }
}

/* Everything of the one document; *root stays NULL when there is none. */
static bool read_document(struct reader *reader, struct yaml_node **root)
{
    int documents = 0;
    for (bool more = true; more;) {
        yaml_event_t event;
        if (!next_event(reader, &event))
            return false;
        bool done = true;
        if (event.type == YAML_DOCUMENT_START_EVENT)
            done = ++documents == 1 ||
                   complain(reader, &event.start_mark, "a second document begins here; keep one");
        else if (event.type == YAML_STREAM_END_EVENT)
            more = false;
        else if (event.type != YAML_STREAM_START_EVENT && event.type != YAML_DOCUMENT_END_EVENT)
            done = (*root = read_node(reader, &event, 0)) != NULL;
        yaml_event_delete(&event);
        if (!done)
            return false;
    }
    return true;
}

bool yaml_tree_read(struct yaml_node **root, const char *file, bool numbered, const char *text, size_t length,
                    struct error *error)
{
    *root = NULL;
    struct reader *reader = calloc(1, sizeof *reader);
    if (!reader || !yaml_parser_initialize(&reader->parser)) {
        free(reader);
        return error_memory(error, "reading YAML", sizeof *reader, NULL);
    }
    reader->file = file;
    reader->numbered = numbered;
    reader->error = error;
    yaml_parser_set_input_string(&reader->parser, (const unsigned char *)text, length);
    bool done = read_document(reader, root);
    if (done && !*root)
        done = (*root = yaml_tree_mapping(file, numbered ? 1 : 0)) != NULL;
    if (!done) {
        yaml_tree_free(*root);
        *root = NULL;
        error_memory(error, "reading YAML", length, NULL);
    }
    for (int i = 0; i < reader->anchor_count; i++)
        free(reader->anchors[i].name);
    yaml_parser_delete(&reader->parser);
    free(reader);
    return done;
}

bool yaml_node_is_null(const struct yaml_node *node)
{
    return node->kind == YAML_SCALAR && !node->quoted &&
           (node->text[0] == '\0' || strcmp(node->text, "~") == 0 || strcmp(node->text, "null") == 0);
}

struct yaml_node *yaml_node_child(const struct yaml_node *mapping, const char *key)
{
    for (size_t i = 0; i < mapping->count; i++)
        if (mapping->keys && strcmp(mapping->keys[i], key) == 0)
            return mapping->children[i];
    return NULL;
}

bool yaml_node_put(struct yaml_node *mapping, const char *key, struct yaml_node *child)
{
    for (size_t i = 0; i < mapping->count; i++)
        if (strcmp(mapping->keys[i], key) == 0) {
            yaml_tree_free(mapping->children[i]);
            mapping->children[i] = child;
            return true;
        }
    return append(mapping, key, child);
}

struct yaml_node *yaml_tree_mapping(const char *file, long line)
{
    struct yaml_node *node = calloc(1, sizeof *node);
    if (node)
        *node = (struct yaml_node){.kind = YAML_MAPPING, .file = file, .line = line};
    return node;
}

bool yaml_tree_merge(struct yaml_node *base, struct yaml_node *over)
{
    bool done = true;
    for (size_t i = 0; i < over->count; i++) {
        struct yaml_node *mine = yaml_node_child(base, over->keys[i]), *theirs = over->children[i];
        over->children[i] = NULL;
        if (mine && mine->kind == YAML_MAPPING && theirs->kind == YAML_MAPPING)
            done = yaml_tree_merge(mine, theirs) && done;
        else
            done = yaml_node_put(base, over->keys[i], theirs) && done;
    }
    yaml_tree_free(over);
    return done;
}

/* ---- as text ------------------------------------------------------------------------------------------- */

/* Plain where that reads back as the same scalar, in quotes elsewhere. */
static void write_scalar(FILE *stream, const char *text, bool quoted)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./+-";
    if (!quoted && *text && text[strspn(text, plain)] == '\0') {
        fputs(text, stream);
        return;
    }
    fputc('"', stream);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\' || *text == '\n' || *text == '\t')
            fputc('\\', stream);
        fputc(*text == '\n' ? 'n' : *text == '\t' ? 't' : *text, stream);
    }
    fputc('"', stream);
}

static void write_node(FILE *stream, const struct yaml_node *node)
{
    if (yaml_node_is_null(node)) {
        fputs("null", stream);
        return;
    }
    if (node->kind == YAML_SCALAR) {
        write_scalar(stream, node->text, node->quoted);
        return;
    }
    fputc(node->kind == YAML_LIST ? '[' : '{', stream);
    for (size_t i = 0; i < node->count; i++) {
        fputs(i > 0 ? ", " : "", stream);
        if (node->kind == YAML_MAPPING) {
            write_scalar(stream, node->keys[i], false);
            fputs(": ", stream);
        }
        write_node(stream, node->children[i]);
    }
    fputc(node->kind == YAML_LIST ? ']' : '}', stream);
}

char *yaml_tree_text(const struct yaml_node *node)
{
    char *text = NULL;
    size_t length = 0;
    FILE *stream = open_memstream(&text, &length);
    if (!stream)
        return NULL;
    write_node(stream, node);
    const bool written = !ferror(stream);
    if (fclose(stream) == 0 && written)
        return text;
    free(text);
    return NULL;
}
