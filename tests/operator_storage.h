/*
 * operator_storage.h: which operands of operator_cases.h may be bf16, and what it takes to store them so.
 */
#ifndef IDREC_TESTS_OPERATOR_STORAGE_H
#define IDREC_TESTS_OPERATOR_STORAGE_H

#include <stdio.h>

#include "core/bf16.h"
#include "tests/operator_cases.h"

/* The operands that may be bf16; gradients of parameters stay f32. Families that are not listed are f32 only. */
static const struct stored_operands {
    const char *family, *operands, *parameters;
} stored_operands[] = {
    {"gemm", " a b c ", ""},
    {"add", " a b out ", ""},
    {"axpby", " x y ", ""},
    {"dequantize", " out ", ""},
    {"bias", " x out bias ", " bias "},
    {"linear", " x weight bias y a b hidden dropped d_hidden ", " weight bias a b "},
    {"gather", " table out ", " table "},
    {"columns", " x out ", ""},
    {"rmsnorm", " x weight out ", " weight "},
    {"rope", " x out ", ""},
    {"attention", " q k v out ", ""},
    {"attention_decode", " q k_cache v_cache out ", ""},
    {"cache_store", " rows cache ", ""},
    {"cache_share", " cache ", ""},
    {"swiglu", " gate up out ", ""},
    {"dropout", " x out ", ""},
    {"cross_entropy", " logits scratch ", ""},
    {"cross_entropy_set", " logits scratch ", ""},
    {"exclude", " logits out ", ""},
};
enum { STORED_COUNT = (int)(sizeof stored_operands / sizeof stored_operands[0]) };

static const struct stored_operands *stored_of(const struct operator_family *family)
{
    for (int i = 0; i < STORED_COUNT; i++)
        if (strcmp(stored_operands[i].family, family->name) == 0)
            return &stored_operands[i];
    return NULL;
}

static bool among(const char *names, const char *name)
{
    char padded[64];
    snprintf(padded, sizeof padded, " %s ", name);
    return strstr(names, padded) != NULL;
}

/* Uploads f32 values of the host into a tensor of the same or of half the width. */
static void upload_values(struct backend *backend, struct tensor *tensor, const struct tensor *host)
{
    if (tensor->dtype == host->dtype) {
        tensor_upload(backend, tensor, host->data);
        return;
    }
    uint16_t *stored = malloc(tensor_bytes(tensor) + 1);
    for (int64_t i = 0; i < tensor_count(tensor); i++)
        stored[i] = bf16_nearest(((const float *)host->data)[i]);
    tensor_upload(backend, tensor, stored);
    backend->wait(backend);
    free(stored);
}

/* A case on a device whose operands will be stored in bf16 where they may be; upload_values() then brings them there. */
static void store_in_bf16(struct operator_case *c)
{
    const struct stored_operands *stored = stored_of(c->family);
    for (int i = 0; stored && i < c->count; i++) {
        if (!among(stored->operands, c->operands[i].name))
            continue;
        c->tensors[i].dtype = DTYPE_BF16;
        if (!among(stored->parameters, c->operands[i].name))
            c->gradients[i].dtype = DTYPE_BF16;
    }
}

#endif
