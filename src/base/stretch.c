/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The treap of stretches. A node's rank is made of its address, so the tree has the shape of a random one
 * whatever order the stretches come in, and recursion stays shallow.
 */
#include "base/stretch.h"

static int is_before(kvfi_point_t a, kvfi_point_t b)
{
    return a.owner < b.owner || (a.owner == b.owner && a.at < b.at);
}

static uint64_t rank_of(const kvfi_stretch_t *stretch)
{
    uint64_t rank = (uintptr_t)stretch;

    rank ^= rank >> 32;
    rank *= UINT64_C(0x9E3779B97F4A7C15);
    rank ^= rank >> 29;
    return rank * UINT64_C(0xBF58476D1CE4E5B9);
}

/* Equal ones are told apart by where they lie here. */
static int comes_before(const kvfi_stretch_t *a, const kvfi_stretch_t *b)
{
    return is_before(a->from, b->from) || (!is_before(b->from, a->from) && (uintptr_t)a < (uintptr_t)b);
}

static void sum_up(kvfi_stretch_t *stretch)
{
    stretch->most = stretch->to;
    if (stretch->left && is_before(stretch->most, stretch->left->most))
        stretch->most = stretch->left->most;
    if (stretch->right && is_before(stretch->most, stretch->right->most))
        stretch->most = stretch->right->most;
}

/* Cut a tree in what comes before stretch and what comes after it. */
static void split(kvfi_stretch_t *tree, const kvfi_stretch_t *stretch, kvfi_stretch_t **before,
                  kvfi_stretch_t **after)
{
    if (!tree) {
        *before = *after = tree;
    } else if (comes_before(tree, stretch)) {
        split(tree->right, stretch, &tree->right, after);
        *before = tree;
        sum_up(tree);
    } else {
        split(tree->left, stretch, before, &tree->left);
        *after = tree;
        sum_up(tree);
    }
}

/* All of before comes before all of after. */
static kvfi_stretch_t *join(kvfi_stretch_t *before, kvfi_stretch_t *after)
{
    if (!before || !after)
        return before ? before : after;
    if (rank_of(before) > rank_of(after)) {
        before->right = join(before->right, after);
        sum_up(before);
        return before;
    }
    after->left = join(before, after->left);
    sum_up(after);
    return after;
}

void kvfi_stretch_add(kvfi_stretch_t **root, kvfi_stretch_t *stretch)
{
    kvfi_stretch_t *tree = *root;

    if (tree && rank_of(tree) > rank_of(stretch)) {
        kvfi_stretch_add(comes_before(stretch, tree) ? &tree->left : &tree->right, stretch);
        sum_up(tree);
        return;
    }
    split(tree, stretch, &stretch->left, &stretch->right);
    sum_up(stretch);
    *root = stretch;
}

void kvfi_stretch_remove(kvfi_stretch_t **root, kvfi_stretch_t *stretch)
{
    kvfi_stretch_t *tree = *root;

    if (tree == stretch) {
        *root = join(stretch->left, stretch->right);
        return;
    }
    kvfi_stretch_remove(comes_before(stretch, tree) ? &tree->left : &tree->right, stretch);
    sum_up(tree);
}

/* Where one on the left ends after `from` and yet none there overlaps, that one starts at `to` or later, and
 * so does all that is further right. */
int kvfi_stretch_meet(const kvfi_stretch_t *root, kvfi_point_t from, kvfi_point_t to)
{
    const kvfi_stretch_t *tree = root;

    while (tree && is_before(from, tree->most)) {
        if (is_before(tree->from, to) && is_before(from, tree->to))
            return 1;
        tree = tree->left && is_before(from, tree->left->most) ? tree->left : tree->right;
    }
    return 0;
}
