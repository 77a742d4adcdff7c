/*
 * yaml_tree.h: a YAML document as a tree in which every node knows its file and line. One document, unique
 * keys, bounded depth and size (aliases are copied, and copies count), so that no input can take memory
 * without end.
 */
#ifndef IDREC_CORE_YAML_TREE_H
#define IDREC_CORE_YAML_TREE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"

enum yaml_kind { YAML_SCALAR, YAML_LIST, YAML_MAPPING };

struct yaml_node {
    enum yaml_kind kind;
    bool quoted;                 /* a scalar in quotes: a string, whatever it looks like */
    char *text;                  /* scalar */
    const char *file;            /* belongs to the caller of yaml_tree_read() */
    long line;                   /* 0: on the command line */
    size_t count;                /* children of a list or mapping */
    char **keys;                 /* [count], of a mapping */
    struct yaml_node **children; /* [count] */
};

/* Reads text. numbered: lines are counted (false: the text has none of its own). An empty document is an
 * empty mapping. `file` must outlive the tree. */
bool yaml_tree_read(struct yaml_node **root, const char *file, bool numbered, const char *text, size_t length,
                    struct error *error);
void yaml_tree_free(struct yaml_node *node);

/* The tree as YAML in one line (flow style), which yaml_tree_read() reads as the same tree; malloc'ed. NULL: out of memory. */
char *yaml_tree_text(const struct yaml_node *node);

/* null, ~ or nothing, without quotes. */
bool yaml_node_is_null(const struct yaml_node *node);
/* The child of a mapping, or NULL. */
struct yaml_node *yaml_node_child(const struct yaml_node *mapping, const char *key);
/* Puts a child into a mapping; frees the one it replaces. The mapping owns it. False: out of memory. */
bool yaml_node_put(struct yaml_node *mapping, const char *key, struct yaml_node *child);
/* An empty mapping. NULL: out of memory. */
struct yaml_node *yaml_tree_mapping(const char *file, long line);
/* Moves everything in `over` into `base`: mappings are merged key by key, all else is replaced. Frees
 * `over`. */
bool yaml_tree_merge(struct yaml_node *base, struct yaml_node *over);

#endif
