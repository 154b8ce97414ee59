/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The models that are known by name: how many layers keep KV, how many heads, how many bytes a
 * token leaves in each. Facts from the models' own published configurations. How such a cache
 * lies in memory is name.c's matter.
 */
#include <stdio.h>
#include <string.h>

#include "kv/layout.h"

#define MODEL(id, n_layers, n_heads, kv_bytes)                                                               \
    {                                                                                                        \
        .struct_size = sizeof(kvf_kv_model_t), .name = id, .layers = n_layers, .heads = n_heads,             \
        .k_bytes = kv_bytes, .v_bytes = kv_bytes, .element = "bf16"                                          \
    }

/* bf16 is 2 bytes: a head of 128 is 256 bytes of K, as many of V; MLA keeps 512 + 64 elements. */
static const kvf_kv_model_t models[] = {
    MODEL("llama-3.1-8b", 32, 8, 256),
    MODEL("llama-3.1-70b", 80, 8, 256),
    MODEL("qwen3-8b", 36, 8, 256),
    MODEL("qwen3-235b", 94, 4, 256),
    {.struct_size = sizeof(kvf_kv_model_t),
     .name = "gpt-oss-120b",
     .layers = 36,
     .heads = 8,
     .k_bytes = 128,
     .v_bytes = 128,
     .element = "bf16",
     .window = 128,
     .window_every = 2},
    {.struct_size = sizeof(kvf_kv_model_t),
     .name = "deepseek-v3",
     .layers = 61,
     .heads = 1,
     .mla = 1,
     .k_bytes = 1152,
     .element = "bf16"},
    {.struct_size = sizeof(kvf_kv_model_t),
     .name = "kimi-k2",
     .layers = 61,
     .heads = 1,
     .mla = 1,
     .k_bytes = 1152,
     .element = "bf16"},
    {.struct_size = sizeof(kvf_kv_model_t),
     .name = "deepseek-v3.2",
     .layers = 61,
     .heads = 1,
     .mla = 1,
     .k_bytes = 656,
     .element = "fp8_ds_mla",
     .indexer_bytes = 132,
     .indexer_element = "fp8_indexer"},
};

#define MODEL_COUNT (sizeof(models) / sizeof(models[0]))

const kvf_kv_model_t *kvf_kv_model_at(uint32_t index)
{
    return index < MODEL_COUNT ? &models[index] : NULL;
}

kvf_status_t kvf_kv_model_find(const char *name, const kvf_kv_model_t **model_p)
{
    char known[256];
    size_t len = 0;

    if (name == NULL || model_p == NULL)
        return kvfi_fail(KVF_ERR_INVALID, "model: %s is NULL", name == NULL ? "name" : "model_p");
    for (size_t i = 0; i < MODEL_COUNT; i++) {
        if (strcmp(models[i].name, name) == 0) {
            *model_p = &models[i];
            return KVF_OK;
        }
    }
    for (size_t i = 0; i < MODEL_COUNT && len < sizeof(known); i++)
        len += (size_t)snprintf(known + len, sizeof(known) - len, "%s%s", i > 0 ? ", " : "", models[i].name);
    return kvfi_fail(KVF_ERR_INVALID, "model \"%.64s\" is unknown; known are %s", name, known);
}

/* How many layers keep K and V, and in *windowed_p how many of these have a window: the ids first,
 * first + step, ..., of which one in `period` is a multiple of window_every, if any is. */
static uint64_t layers_with_kv(const kvf_kv_model_t *model, uint64_t *windowed_p)
{
    uint64_t step = model->state_every != 0 ? model->state_every : 1, first = step - 1;
    uint64_t count = model->layers / step, period = model->window_every, rest = step, at = 0;

    *windowed_p = 0;
    if (period == 0)
        return count;
    for (uint64_t divisor = period; divisor != 0;) { /* rest becomes the greatest common one */
        uint64_t next = rest % divisor;

        rest = divisor;
        divisor = next;
    }
    period /= rest;
    while (at < period && at < count && (first + at * step) % model->window_every != 0)
        at++;
    if (at < period && at < count)
        *windowed_p = (count - at + period - 1) / period;
    return count;
}

kvf_status_t kvf_kv_model_bytes(const kvf_kv_model_t *model, uint64_t tokens, uint64_t *bytes_p)
{
    kvf_kv_model_t own;
    uint64_t layers, windowed, near, cells, more, cell;
    kvf_status_t status = kvf_struct_read("model bytes: model", model, sizeof(own), &own);

    if (status != KVF_OK)
        return status;
    if (bytes_p == NULL)
        return kvfi_fail(KVF_ERR_INVALID, "model bytes: bytes_p is NULL");
    layers = layers_with_kv(&own, &windowed);
    near = tokens < own.window ? tokens : own.window;
    if (__builtin_mul_overflow(layers - windowed, tokens, &cells) ||
        __builtin_mul_overflow(windowed, near, &more) || __builtin_add_overflow(cells, more, &cells) ||
        __builtin_add_overflow(own.k_bytes, own.v_bytes, &cell) ||
        __builtin_mul_overflow(cell, (uint64_t)own.heads, &cell) ||
        __builtin_mul_overflow(cells, cell, bytes_p))
        return kvfi_fail(KVF_ERR_INVALID, "model bytes: tokens %llu overflows 64 bits",
                         (unsigned long long)tokens);
    return KVF_OK;
}
