#include "experiments/top_k_file.h"

#include <stdlib.h>
#include <string.h>

#include "core/file.h"

void top_k_print(const struct top_k *top, const struct dataset *dataset, FILE *stream)
{
    for (int64_t u = 0; u < top->users; u++)
        for (int64_t rank = 0; rank < top->k && top->items[u * top->k + rank] >= 0; rank++)
            fprintf(stream, "%s\t%s\t%lld\t%.9g\n", id_map_name(&dataset->user_ids, top->user[u]),
                    id_map_name(&dataset->item_ids, top->items[u * top->k + rank]), (long long)rank + 1,
                    (double)top->scores[u * top->k + rank]);
}

bool top_k_write(const struct top_k *top, const struct dataset *dataset, const char *path,
                 struct error *error)
{
    char *text = NULL;
    size_t length = 0;
    FILE *stream = open_memstream(&text, &length);
    if (stream == NULL)
        return error_memory(error, "top_k.tsv", 0, NULL);
    top_k_print(top, dataset, stream);
    bool written = fclose(stream) == 0 ? file_write(path, text, length, error)
                                       : error_memory(error, "top_k.tsv", length, NULL);
    free(text);
    return written;
}

/* The list that is being read. */
struct position {
    int64_t user, rank; /* index of top->user; items taken so far */
};

/* Adds one line, whose user is the current one or a later one. */
static bool take_line(struct top_k *top, struct position *position, const struct dataset *dataset,
                      const struct name_index *items, const char *text)
{
    const struct id_map *users = &dataset->user_ids;
    size_t user_length = strcspn(text, "\t\n");
    if (text[user_length] != '\t')
        return false;
    const char *item_text = text + user_length + 1;
    while (position->user < top->users &&
           name_compare(id_map_name(users, top->user[position->user]), text, user_length) != 0)
        *position = (struct position){.user = position->user + 1};
    int32_t item = name_index_find(items, item_text, strcspn(item_text, "\t\n"));
    if (position->user == top->users || position->rank == top->k || item < 0)
        return false;
    top->items[position->user * top->k + position->rank++] = item;
    return true;
}

static bool parse(struct top_k *top, const struct dataset *dataset, const struct name_index *items,
                  const char *path, const char *text, struct error *error)
{
    struct position position = {0};
    for (long line = 1; *text != '\0'; line++) {
        if (!take_line(top, &position, dataset, items, text))
            return error_at(error, ERROR_RUN, path, line,
                            "an unknown id, a user who is not tested or a list that is too long; delete it "
                            "and run again");
        text += strcspn(text, "\n");
        text += *text == '\n';
    }
    return true;
}

bool top_k_read(struct top_k *top, const struct dataset *dataset, const struct name_index *items,
                const char *path, const int32_t *users, int64_t user_count, int64_t k, struct error *error)
{
    char *text = NULL;
    size_t length;
    *top = (struct top_k){.users = user_count, .k = k};
    if (!file_read(path, &text, &length, error))
        return false;
    size_t places = (size_t)(user_count * k);
    top->user = malloc((size_t)user_count * sizeof *top->user);
    top->items = malloc(places * sizeof *top->items);
    bool done = top->user && top->items;
    if (!done)
        error_memory(error, "lists of recommendations", places * sizeof *top->items, NULL);
    for (size_t i = 0; done && i < places; i++)
        top->items[i] = -1;
    if (done)
        memcpy(top->user, users, (size_t)user_count * sizeof *users);
    done = done && parse(top, dataset, items, path, text, error);
    free(text);
    return done;
}
