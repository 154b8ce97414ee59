/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The explanation, as text for people and as one JSON object. Pairs that look the same are told
 * once in the text, each in the JSON. Writes to files that are open already.
 */
#include "config.h"

#include "explain.h"

#include <inttypes.h>
#include <string.h>

#include "../cli.h"

static const char *const stop_names[] = {"whole", "next", "block", "cut", "apart", "gap"};

static const char *axis_name(char letter)
{
    switch (letter) {
    case 'L':
        return "layers";
    case 'B':
        return "blocks";
    case 'H':
        return "heads";
    case 'N':
        return "tokens";
    case '2':
        return "K and V";
    default:
        return NULL;
    }
}

/* "L, N" */
static const char *list_axes(const char *axes, char *buf, size_t len)
{
    size_t at = 0;

    buf[0] = '\0';
    for (size_t i = 0; axes[i] != '\0' && at + 3 < len; i++) {
        at += (size_t)snprintf(buf + at, len - at, "%s%c", i > 0 ? ", " : "", axes[i]);
    }
    return buf;
}

/* ---------------------------------------------------------------- text */

/* "27.3 ms" */
static const char *time_text(double ns, char *buf, size_t len)
{
    static const char *const units[] = {"us", "ms", "s"};
    double value = ns / 1e3;
    unsigned unit = 0;

    while (value >= 1000 && unit < 2) {
        value /= 1000;
        unit++;
    }
    snprintf(buf, len, "%.*f %s", value < 10 ? 2 : value < 100 ? 1 : 0, value, units[unit]);
    return buf;
}

/* Bytes of a block on the rank with least and on the one with most: layers may not go round. */
static void block_range(const struct explain_side *side, uint64_t *least_p, uint64_t *most_p)
{
    *least_p = UINT64_MAX;
    *most_p = 0;
    for (uint32_t r = 0; r < side->rank_count; r++) {
        uint64_t bytes = kvf_layout_block_bytes(side->layouts[r]);
        *least_p = bytes < *least_p ? bytes : *least_p;
        *most_p = bytes > *most_p ? bytes : *most_p;
    }
}

static const char *block_size(const struct explain_side *side, char *buf, size_t len)
{
    uint64_t least, most;
    char low[32], high[32];

    block_range(side, &least, &most);
    if (least == most) {
        snprintf(buf, len, "%s each", kvfi_cli_bytes(most, high, sizeof(high)));
    } else {
        snprintf(buf, len, "%s to %s, by rank", kvfi_cli_bytes(least, low, sizeof(low)),
                 kvfi_cli_bytes(most, high, sizeof(high)));
    }
    return buf;
}

static void print_side(const struct explain_side *side, FILE *file)
{
    char bytes[80], dealt[32] = "";

    if (side->cp > 1) {
        snprintf(dealt, sizeof(dealt), ", CP %u", side->cp);
    }
    fprintf(file, "  %-12s %u rank%s (TP %u, PP %u%s), %s%s%s%s, blocks of %u tokens, %s\n", side->name,
            side->rank_count, side->rank_count == 1 ? "" : "s", side->tp, side->pp, dealt, side->layout,
            strcmp(side->layout, side->spelling) == 0 ? "" : " (",
            strcmp(side->layout, side->spelling) == 0 ? "" : side->spelling,
            strcmp(side->layout, side->spelling) == 0 ? "" : ")", side->block_tokens,
            block_size(side, bytes, sizeof(bytes)));
}

static void print_sizes(const struct explain_figures *f, FILE *file)
{
    char bytes[32];
    uint32_t shown = f->size_count > 6 ? 5 : f->size_count;
    uint64_t rest = 0;

    for (uint32_t i = 0; i < f->size_count; i++) {
        if (i < shown) {
            fprintf(file, "%s%" PRIu64 " x %s", i > 0 ? ", " : "", f->sizes[i].pieces,
                    kvfi_cli_bytes(f->sizes[i].bytes, bytes, sizeof(bytes)));
        } else {
            rest += f->sizes[i].pieces;
        }
    }
    if (rest > 0) {
        fprintf(file, ", and %" PRIu64 " of up to %s", rest,
                kvfi_cli_bytes(f->sizes[f->size_count - 1].bytes, bytes, sizeof(bytes)));
    }
}

static void print_share(const struct explain_world *world, const struct explain_share *share, FILE *file)
{
    const struct explain_group *group = &world->groups[share->group];
    char bytes[32], layers[32];

    snprintf(layers, sizeof(layers), "%u of %u", share->layers, group->layer_count);
    fprintf(file, "    %-17s %9s %5u-%-3u %8" PRIu64 " %6" PRIu64 " %5" PRIu64 "  %-9s  ", group->name,
            layers, share->first_head, share->first_head + share->heads - 1, share->figures.pairs,
            share->figures.ids, share->figures.ops,
            kvfi_cli_bytes(share->figures.bytes, bytes, sizeof(bytes)));
    print_sizes(&share->figures, file);
    fputc('\n', file);
}

static void print_stop(const struct explain_side *side, const struct explain_why_side *why, FILE *file)
{
    char list[32];

    fprintf(file, "      %-12s ", side->name);
    list_axes(why->inside, list, sizeof(list));
    switch (why->stop) {
    case EXPLAIN_WHOLE:
        fprintf(file, "has all that is wanted of a block in one place\n");
        break;
    case EXPLAIN_NEXT:
        fprintf(file, "goes on with %c (%s)\n", why->axis, axis_name(why->axis));
        break;
    case EXPLAIN_BLOCK:
        fprintf(file, "ends: the next block lies there, for B is inside of %s\n", list);
        break;
    case EXPLAIN_CUT:
        fprintf(file, "ends: %" PRIu64 " of its %" PRIu64 " %s %s wanted, and %c is inside of %s\n",
                why->wanted, why->held, axis_name(why->axis), why->wanted == 1 ? "is" : "are", why->axis,
                list);
        break;
    case EXPLAIN_APART:
        fprintf(file, "ends: %c (%s) are allocations of their own\n", why->axis, axis_name(why->axis));
        break;
    default:
        fprintf(file, "ends: bytes of nobody lie before the next of %c (%s)\n", why->axis,
                axis_name(why->axis));
    }
}

static void print_hint(const struct explain_world *world, const struct explain_share *share,
                       const struct explain_hint *hint, FILE *file)
{
    char bytes[32], am[32];

    if (hint->both) {
        fprintf(file, "      %s", hint->layout);
        if (hint->block_tokens > 0) {
            fprintf(file, "%sblocks of %u tokens", hint->layout[0] != '\0' ? " and " : "",
                    hint->block_tokens);
        }
        fprintf(file, " on both sides");
    } else if (hint->axis == 0) {
        fprintf(file, "      %s at the %s too", hint->layout, world->side[hint->side].name);
    } else {
        fprintf(file, "      %c further out at the %s, %s", hint->axis, world->side[hint->side].name,
                hint->layout);
    }
    fprintf(file, ": pieces of %s%s, %" PRIu64 " of them", hint->mixed ? "about " : "",
            kvfi_cli_bytes(hint->piece, bytes, sizeof(bytes)), share->figures.bytes / hint->piece);
    if (hint->path_ns[KVF_PATH_SHM] > 0 && hint->path_ns[KVF_PATH_AM] > 0) {
        fprintf(file, "; shm %s, am %s", time_text((double)hint->path_ns[KVF_PATH_SHM], bytes, sizeof(bytes)),
                time_text((double)hint->path_ns[KVF_PATH_AM], am, sizeof(am)));
    }
    fputc('\n', file);
}

static void print_why(const struct explain_world *world, const struct explain_share *share, FILE *file)
{
    char bytes[32], cell[32];

    for (uint32_t i = 0; i < share->why_count; i++) {
        const struct explain_why *why = &share->why[i];
        const struct explain_why_side *s = &why->side[EXPLAIN_SOURCE];
        const struct explain_why_side *d = &why->side[EXPLAIN_DEST];
        if (why->piece == 0) {
            fprintf(file, "    The pieces of %s are too irregular for a reason\n",
                    kvf_plane_name(why->plane));
            continue;
        }
        fprintf(file, "    Why %s (%s, %s: a cell of %s%s%s)\n",
                kvfi_cli_bytes(why->piece, bytes, sizeof(bytes)), world->groups[share->group].name,
                kvf_plane_name(why->plane), kvfi_cli_bytes(why->cell, cell, sizeof(cell)),
                why->axes[0] != '\0' ? " times " : "", why->axes);
        if (s->stop == EXPLAIN_WHOLE && d->stop == EXPLAIN_WHOLE) {
            fprintf(file, "      all that the two share of a block is one piece\n");
            continue;
        }
        print_stop(&world->side[EXPLAIN_SOURCE], s, file);
        print_stop(&world->side[EXPLAIN_DEST], d, file);
    }
    if (share->hint_count > 0) {
        fprintf(file, "    What would make them longer\n");
    }
    for (uint32_t i = 0; i < share->hint_count; i++) {
        print_hint(world, share, &share->hints[i], file);
    }
}

static void print_predictions(const struct explain_pair *pair, FILE *file)
{
    char time[32];
    bool any = false;

    for (int path = 0; path < KVF_PATH_COUNT; path++) {
        if (pair->path_ns[path] == 0) {
            continue;
        }
        if (!any) {
            fprintf(file, "    Predicted, by path, one thread on each side, memory outside of the "
                          "caches\n");
            any = true;
        }
        fprintf(file, "      %-6s %9s  %6.2f GB/s\n", kvf_path_name((kvf_path_t)path),
                time_text((double)pair->path_ns[path], time, sizeof(time)),
                (double)pair->figures.bytes / (double)pair->path_ns[path]);
    }
}

#define ALIKE_MOST 12

static void print_pair(const struct explain_world *world, const struct explain_pairs *pairs, uint32_t index,
                       FILE *file)
{
    const struct explain_pair *pair = &pairs->pairs[index];
    uint32_t alike = 0;

    fprintf(file, "\nDestination rank %u from source rank %u", pair->dst, pair->src);
    for (uint32_t i = index + 1; i < pairs->count; i++) {
        if (pairs->pairs[i].like == index && ++alike <= ALIKE_MOST) {
            fprintf(file, "%s%u from %u", alike == 1 ? "; alike: " : ", ", pairs->pairs[i].dst,
                    pairs->pairs[i].src);
        }
    }
    if (alike > ALIKE_MOST) {
        fprintf(file, ", and %u more", alike - ALIKE_MOST);
    }
    if (pair->figures.bytes == 0) {
        fprintf(file, "\n    nothing: others that hold the same have their turn with this request\n");
        return;
    }
    fprintf(file, "\n    %-17s %9s %9s %8s %6s %5s  %-9s  %s\n", "group", "layers", "heads", "pairs", "ids",
            "ops", "bytes", "pieces");
    for (uint32_t i = 0; i < pair->share_count; i++) {
        print_share(world, &pair->shares[i], file);
    }
    for (uint32_t i = 0; i < pair->share_count; i++) {
        print_why(world, &pair->shares[i], file);
    }
    fprintf(file, "    Binding the plan to the request takes %.2f us here\n",
            (double)pair->figures.bind_ns / 1e3);
    print_predictions(pair, file);
}

static void print_run(const struct explain_pair *pair, FILE *file)
{
    const struct explain_run *run = &pair->run;
    uint64_t predicted = pair->path_ns[run->path];
    char text[5][32], both[24], range[72];

    snprintf(both, sizeof(both), "%u from %u", pair->dst, pair->src);
    snprintf(range, sizeof(range), "%s to %s", time_text((double)run->least_ns, text[0], sizeof(text[0])),
             time_text((double)run->most_ns, text[1], sizeof(text[1])));
    fprintf(file, "  %-12s %-6s %9s %9s %9s %9s  %6.2f GB/s  %s\n", both, kvf_path_name(run->path),
            time_text((double)run->bind_ns, text[2], sizeof(text[2])),
            time_text((double)run->post_ns, text[3], sizeof(text[3])),
            predicted > 0 ? time_text((double)predicted, text[4], sizeof(text[4])) : "unknown",
            time_text((double)run->all_ns, text[0], sizeof(text[0])),
            (double)pair->figures.bytes / (double)run->all_ns, range);
}

static void print_runs(const struct explain_world *world, const struct explain_pairs *pairs, FILE *file)
{
    char right[32], wrong[32];

    fprintf(file, "\nMeasured, the median of %" PRIu64 " run%s after a first one; %s right, %s wrong\n",
            world->opts->reps, world->opts->reps == 1 ? "" : "s",
            kvfi_cli_bytes(pairs->right, right, sizeof(right)),
            kvfi_cli_bytes(pairs->wrong, wrong, sizeof(wrong)));
    fprintf(file, "  %-12s %-6s %9s %9s %9s %9s  %11s  %s\n", "pair", "path", "bind", "post", "predicted",
            "measured", "rate", "measured, all runs");
    for (uint32_t i = 0; i < pairs->count; i++) {
        if (pairs->pairs[i].run.all_ns > 0 && pairs->pairs[i].figures.bytes > 0) {
            print_run(&pairs->pairs[i], file);
        }
    }
}

void kvfi_explain_text(const struct explain_world *world, const struct explain_pairs *pairs, FILE *file)
{
    const struct explain_opts *opts = world->opts;
    uint64_t bytes = 0, pieces = 0, ops = 0;
    char text[32], all[32];

    kvf_kv_model_bytes(world->model, opts->tokens, &bytes);
    fprintf(file, "%s, %" PRIu64 " tokens, %s; %s\n", world->model->name, opts->tokens,
            kvfi_cli_bytes(bytes, text, sizeof(text)),
            opts->dir == KVF_READ ? "the destination reads" : "the source writes");
    print_side(&world->side[EXPLAIN_SOURCE], file);
    print_side(&world->side[EXPLAIN_DEST], file);
    bytes = 0;
    for (uint32_t i = 0; i < pairs->count; i++) {
        bytes += pairs->pairs[i].figures.bytes;
        pieces += pairs->pairs[i].figures.pieces;
        ops += pairs->pairs[i].figures.ops;
    }
    fprintf(file, "  %-12s %u pair%s of ranks, %" PRIu64 " op%s, %" PRIu64 " piece%s, %s\n", "together",
            pairs->count, pairs->count == 1 ? "" : "s", ops, ops == 1 ? "" : "s", pieces,
            pieces == 1 ? "" : "s", kvfi_cli_bytes(bytes, all, sizeof(all)));
    for (uint32_t i = 0; i < pairs->count; i++) {
        if (pairs->pairs[i].like == i) {
            print_pair(world, pairs, i, file);
        }
    }
    if (opts->analyze) {
        print_runs(world, pairs, file);
    }
}

/* ---------------------------------------------------------------- JSON */

static void json_side(struct kvfi_json *json, const struct explain_side *side)
{
    uint64_t least, most;

    block_range(side, &least, &most);
    kvfi_json_open(json, side->name, '{');
    kvfi_json_text(json, "layout", side->layout);
    kvfi_json_text(json, "spelling", side->spelling);
    kvfi_json_u64(json, "ranks", side->rank_count);
    kvfi_json_u64(json, "tp", side->tp);
    kvfi_json_u64(json, "pp", side->pp);
    kvfi_json_u64(json, "cp", side->cp);
    kvfi_json_u64(json, "block_tokens", side->block_tokens);
    kvfi_json_u64(json, "block_bytes", most);
    kvfi_json_u64(json, "block_bytes_least", least);
    kvfi_json_close(json, '}');
}

static void json_figures(struct kvfi_json *json, const struct explain_figures *f)
{
    kvfi_json_u64(json, "ops", f->ops);
    kvfi_json_u64(json, "pairs", f->pairs);
    kvfi_json_u64(json, "ids", f->ids);
    kvfi_json_u64(json, "pieces", f->pieces);
    kvfi_json_u64(json, "bytes", f->bytes);
    kvfi_json_u64(json, "piece_min", f->size_count > 0 ? f->sizes[0].bytes : 0);
    kvfi_json_u64(json, "piece_max", f->size_count > 0 ? f->sizes[f->size_count - 1].bytes : 0);
    kvfi_json_open(json, "sizes", '[');
    for (uint32_t i = 0; i < f->size_count; i++) {
        kvfi_json_open(json, NULL, '{');
        kvfi_json_u64(json, "bytes", f->sizes[i].bytes);
        kvfi_json_u64(json, "pieces", f->sizes[i].pieces);
        kvfi_json_close(json, '}');
    }
    kvfi_json_close(json, ']');
    kvfi_json_real(json, "bind_us", (double)f->bind_ns / 1e3);
}

static void json_predictions(struct kvfi_json *json, const uint64_t *path_ns, uint64_t bytes)
{
    kvfi_json_open(json, "predicted", '[');
    for (int path = 0; path < KVF_PATH_COUNT; path++) {
        if (path_ns[path] != 0) {
            kvfi_json_open(json, NULL, '{');
            kvfi_json_text(json, "path", kvf_path_name((kvf_path_t)path));
            kvfi_json_real(json, "us", (double)path_ns[path] / 1e3);
            kvfi_json_real(json, "gbps", (double)bytes / (double)path_ns[path]);
            kvfi_json_close(json, '}');
        }
    }
    kvfi_json_close(json, ']');
}

static void json_stop(struct kvfi_json *json, const char *key, const struct explain_why_side *why)
{
    char axis[2] = {why->axis, '\0'};

    kvfi_json_open(json, key, '{');
    kvfi_json_text(json, "stop", stop_names[why->stop]);
    kvfi_json_text(json, "axis", why->axis != 0 ? axis : NULL);
    if (why->stop == EXPLAIN_CUT) {
        kvfi_json_u64(json, "wanted", why->wanted);
        kvfi_json_u64(json, "held", why->held);
    }
    kvfi_json_text(json, "inside", why->inside);
    kvfi_json_close(json, '}');
}

static void json_hint(struct kvfi_json *json, const struct explain_world *world,
                      const struct explain_share *share, const struct explain_hint *hint)
{
    char axis[2] = {hint->axis, '\0'};

    kvfi_json_open(json, NULL, '{');
    kvfi_json_text(json, "side", hint->both ? "both" : world->side[hint->side].name);
    kvfi_json_text(json, "axis", hint->axis != 0 ? axis : NULL);
    kvfi_json_text(json, "layout", hint->layout[0] != '\0' ? hint->layout : NULL);
    if (hint->block_tokens > 0) {
        kvfi_json_u64(json, "block_tokens", hint->block_tokens);
    }
    kvfi_json_u64(json, "piece", hint->piece);
    kvfi_json_bool(json, "mixed", hint->mixed);
    json_predictions(json, hint->path_ns, share->figures.bytes);
    kvfi_json_close(json, '}');
}

static void json_share(struct kvfi_json *json, const struct explain_world *world,
                       const struct explain_share *share, const struct explain_share *like)
{
    kvfi_json_open(json, NULL, '{');
    kvfi_json_text(json, "group", world->groups[share->group].name);
    kvfi_json_u64(json, "layers", share->layers);
    kvfi_json_u64(json, "first_layer", share->first_layer);
    kvfi_json_u64(json, "heads", share->heads);
    kvfi_json_u64(json, "first_head", share->first_head);
    json_figures(json, &share->figures);
    kvfi_json_open(json, "why", '[');
    for (uint32_t i = 0; i < share->why_count; i++) {
        const struct explain_why *why = &share->why[i];
        kvfi_json_open(json, NULL, '{');
        kvfi_json_text(json, "plane", kvf_plane_name(why->plane));
        kvfi_json_u64(json, "cell", why->cell);
        kvfi_json_text(json, "axes", why->axes);
        if (why->piece > 0) {
            kvfi_json_u64(json, "piece", why->piece);
            json_stop(json, "source", &why->side[EXPLAIN_SOURCE]);
            json_stop(json, "destination", &why->side[EXPLAIN_DEST]);
        } else {
            kvfi_json_null(json, "piece");
        }
        kvfi_json_close(json, '}');
    }
    kvfi_json_close(json, ']');
    kvfi_json_open(json, "hints", '[');
    for (uint32_t i = 0; i < like->hint_count; i++) {
        json_hint(json, world, like, &like->hints[i]);
    }
    kvfi_json_close(json, ']');
    kvfi_json_close(json, '}');
}

static void json_run(struct kvfi_json *json, const struct explain_pair *pair)
{
    const struct explain_run *run = &pair->run;

    if (run->all_ns == 0) {
        kvfi_json_null(json, "measured");
        return;
    }
    kvfi_json_open(json, "measured", '{');
    kvfi_json_text(json, "path", kvf_path_name(run->path));
    kvfi_json_real(json, "bind_us", (double)run->bind_ns / 1e3);
    kvfi_json_real(json, "post_us", (double)run->post_ns / 1e3);
    kvfi_json_real(json, "us", (double)run->all_ns / 1e3);
    kvfi_json_real(json, "least_us", (double)run->least_ns / 1e3);
    kvfi_json_real(json, "most_us", (double)run->most_ns / 1e3);
    kvfi_json_real(json, "gbps", (double)pair->figures.bytes / (double)run->all_ns);
    kvfi_json_close(json, '}');
}

void kvfi_explain_json(const struct explain_world *world, const struct explain_pairs *pairs, FILE *file)
{
    const struct explain_opts *opts = world->opts;
    struct kvfi_json json;

    kvfi_json_init(&json, file, 2);
    kvfi_json_open(&json, NULL, '{');
    kvfi_json_text(&json, "kvferry", kvf_version());
    kvfi_json_text(&json, "model", world->model->name);
    kvfi_json_u64(&json, "tokens", opts->tokens);
    kvfi_json_text(&json, "op", opts->dir == KVF_READ ? "read" : "write");
    json_side(&json, &world->side[EXPLAIN_SOURCE]);
    json_side(&json, &world->side[EXPLAIN_DEST]);
    kvfi_json_open(&json, "pairs", '[');
    for (uint32_t i = 0; i < pairs->count; i++) {
        const struct explain_pair *pair = &pairs->pairs[i];
        kvfi_json_open(&json, NULL, '{');
        kvfi_json_u64(&json, "dst", pair->dst);
        kvfi_json_u64(&json, "src", pair->src);
        json_figures(&json, &pair->figures);
        json_predictions(&json, pair->path_ns, pair->figures.bytes);
        json_run(&json, pair);
        kvfi_json_open(&json, "groups", '[');
        for (uint32_t s = 0; s < pair->share_count; s++) {
            json_share(&json, world, &pair->shares[s], &pairs->pairs[pair->like].shares[s]);
        }
        kvfi_json_close(&json, ']');
        kvfi_json_close(&json, '}');
    }
    kvfi_json_close(&json, ']');
    if (opts->analyze) {
        kvfi_json_u64(&json, "runs", opts->reps);
        kvfi_json_u64(&json, "seed", opts->seed);
        kvfi_json_u64(&json, "verified_bytes", pairs->right);
        kvfi_json_u64(&json, "mismatched_bytes", pairs->wrong);
    }
    kvfi_json_close(&json, '}');
    fputc('\n', file);
}
