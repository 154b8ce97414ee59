/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The protocol of the control page, both sides. Nothing here waits but for a free busy word, which
 * a thread of this process frees after one slice. tests/model/revoke.pml and pin.pml walk through all orders
 * of these steps.
 */
#define _GNU_SOURCE
#include "path/page.h"

#include <sched.h>
#include <string.h>

#include "base/status.h"

static int holder_lives(const kvfi_seat_t *seat)
{
    return !atomic_load(&seat->ready) || kvfi_proc_lives(seat->proc);
}

/* Is what was found in the seat a living holder's? Words and pins are those of a holder that is ready: who
 * dies while it takes the seat of a dead one leaves the latter's behind. */
static int is_in_use(const kvfi_seat_t *seat)
{
    return atomic_load(&seat->ready) && holder_lives(seat);
}

/* A seat whose holder left or died, and whose notes were all taken, is free again. */
static void free_if_vacant(kvfi_seat_t *seat, uint64_t holder)
{
    if (atomic_load(&seat->head) != atomic_load(&seat->tail))
        return;
    if (!atomic_load(&seat->left) && holder_lives(seat))
        return;
    /* not 0 at once: a newcomer must not be judged by what its forerunner left in proc */
    if (!atomic_compare_exchange_strong(&seat->holder, &holder, KVFI_SEAT_CLEARING))
        return;
    atomic_store(&seat->ready, 0);
    atomic_store(&seat->left, 0);
    atomic_store(&seat->holder, 0);
}

static void raise_high(kvfi_page_t *page, unsigned count)
{
    uint32_t high = atomic_load(&page->high);

    while (high < count && !atomic_compare_exchange_weak(&page->high, &high, count))
        ;
}

static void sit_down(kvfi_hold_t *hold, kvfi_page_t *page, kvfi_seat_t *seat, const kvfi_guest_t *guest)
{
    for (unsigned w = 0; w < KVFI_SEAT_WORDS; w++) {
        /* a holder that died in a slice left its word odd */
        hold->word[w] = (atomic_load(&seat->busy[w].word) + 1) & ~UINT32_C(1);
        atomic_store(&seat->busy[w].word, hold->word[w]);
        atomic_flag_clear(&hold->taken[w]);
    }
    for (unsigned p = 0; p < KVFI_SEAT_PINS; p++)
        atomic_store_explicit(&seat->pins[p], 0, memory_order_relaxed);
    atomic_store(&seat->pinned, 0);
    atomic_store(&hold->pinned, 0);
    if (atomic_load(&seat->hello.seq) & 1) {
        seat->hello.len = 0;
        atomic_fetch_add(&seat->hello.seq, 1);
    }
    seat->rank = guest->rank;
    seat->proc = guest->proc;
    seat->bell = guest->bell;
    atomic_store(&seat->ready, 1);
    hold->page = page;
    hold->seat = seat;
    hold->bell = page->bell;
    pthread_mutex_init(&hold->put_lock, NULL);
}

int kvfi_hold_open(kvfi_hold_t *hold, kvfi_page_t *page, uint32_t depth, const kvfi_owner_t *owner,
                   const kvfi_guest_t *guest)
{
    hold->depth = depth;
    hold->epoch = owner ? owner->epoch : page->epoch;
    for (unsigned pass = 0; pass < 2; pass++) {
        for (unsigned i = 0; i < KVFI_PAGE_SEATS; i++) {
            kvfi_seat_t *seat = &page->seats[i];
            uint64_t holder = atomic_load(&seat->holder);

            if (holder > KVFI_SEAT_CLEARING && pass)
                free_if_vacant(seat, holder);
            holder = 0;
            if (!atomic_compare_exchange_strong(&seat->holder, &holder, guest->incarnation))
                continue;
            raise_high(page, i + 1);
            sit_down(hold, page, seat, guest);
            return 0;
        }
    }
    return -1;
}

void kvfi_hold_close(kvfi_hold_t *hold)
{
    kvfi_seat_t *seat = hold->seat;

    if (!seat)
        return;
    hold->seat = NULL;
    pthread_mutex_destroy(&hold->put_lock);
    if (atomic_load(&seat->head) == atomic_load(&seat->tail)) {
        atomic_store(&seat->ready, 0);
        atomic_store(&seat->holder, 0);
    } else {
        atomic_store(&seat->left, 1);
    }
}

unsigned kvfi_hold_enter(kvfi_hold_t *hold)
{
    unsigned w = 0;

    while (atomic_flag_test_and_set_explicit(&hold->taken[w], memory_order_acquire)) {
        w = (w + 1) % KVFI_SEAT_WORDS;
        if (!w)
            sched_yield();
    }
    atomic_store_explicit(&hold->seat->busy[w].word, ++hold->word[w], memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    return w;
}

void kvfi_hold_leave(kvfi_hold_t *hold, unsigned w)
{
    atomic_store_explicit(&hold->seat->busy[w].word, ++hold->word[w], memory_order_release);
    atomic_flag_clear_explicit(&hold->taken[w], memory_order_release);
}

int kvfi_hold_pin(kvfi_hold_t *hold, const uint64_t *pins, unsigned count, uint64_t *taken_p)
{
    kvfi_seat_t *seat = hold->seat;
    uint64_t taken = 0;
    unsigned n = 0;

    pthread_mutex_lock(&hold->put_lock);
    for (unsigned i = 0; i < KVFI_SEAT_PINS && n < count; i++)
        if (!(atomic_load_explicit(&hold->pinned, memory_order_relaxed) >> i & 1)) {
            atomic_store_explicit(&seat->pins[i], pins[n++], memory_order_relaxed);
            taken |= UINT64_C(1) << i;
        }
    atomic_fetch_or(&hold->pinned, taken);
    atomic_fetch_add(&seat->pinned, n);
    pthread_mutex_unlock(&hold->put_lock);
    *taken_p = taken;
    if (n < count) {
        kvfi_hold_unpin(hold, taken);
        return -1;
    }
    atomic_thread_fence(memory_order_seq_cst);
    return 0;
}

void kvfi_hold_unpin(kvfi_hold_t *hold, uint64_t taken)
{
    kvfi_seat_t *seat = hold->seat;

    for (unsigned i = 0; i < KVFI_SEAT_PINS; i++)
        if (taken >> i & 1)
            atomic_store_explicit(&seat->pins[i], 0, memory_order_release);
    atomic_fetch_sub(&seat->pinned, (unsigned)__builtin_popcountll(taken));
    atomic_fetch_and(&hold->pinned, ~taken);
}

int kvfi_page_pins(kvfi_page_t *page)
{
    unsigned seats = kvfi_page_seats(page);

    for (unsigned i = 0; i < seats; i++)
        if (atomic_load(&page->seats[i].pinned))
            return 1;
    return 0;
}

int kvfi_page_find_pin(kvfi_page_t *page,
                       int (*match)(void *arg, uint32_t grant, uint32_t range, uint32_t id), void *arg,
                       const kvfi_seat_t **seat_p)
{
    unsigned seats = kvfi_page_seats(page);

    for (unsigned i = 0; i < seats; i++) {
        kvfi_seat_t *seat = &page->seats[i];

        if (!atomic_load(&seat->holder) || !atomic_load(&seat->pinned))
            continue;
        for (unsigned k = 0; k < KVFI_SEAT_PINS; k++) {
            uint64_t pin = atomic_load_explicit(&seat->pins[k], memory_order_acquire);

            if (pin && match(arg, pin >> 44 & 0xfff, pin >> 32 & 0xfff, (uint32_t)pin) && is_in_use(seat)) {
                *seat_p = seat;
                return 1;
            }
        }
    }
    return 0;
}

static kvfi_note_t *note_at(kvfi_page_t *page, uint32_t depth, const kvfi_seat_t *seat, uint32_t at)
{
    return &page->notes[(size_t)(seat - page->seats) * depth + at % depth];
}

int kvfi_hold_put(kvfi_hold_t *hold, const void *data, uint32_t len, uint32_t channel, kvf_status_t status,
                  uint32_t *armed_p)
{
    kvfi_page_t *page = hold->page;
    kvfi_seat_t *seat = hold->seat;
    kvfi_note_t *note;
    uint32_t tail;
    int full;

    pthread_mutex_lock(&hold->put_lock);
    tail = atomic_load_explicit(&seat->tail, memory_order_relaxed);
    full = tail - atomic_load(&seat->head) >= hold->depth;
    if (!full) {
        note = note_at(page, hold->depth, seat, tail);
        note->len = (uint16_t)len;
        note->status = (int16_t)status;
        note->channel = channel;
        memcpy(note->data, data, len);
        atomic_store(&seat->tail, tail + 1);
    }
    pthread_mutex_unlock(&hold->put_lock);
    if (full)
        return -1;
    atomic_thread_fence(memory_order_seq_cst);
    *armed_p = atomic_load(&page->armed);
    return *armed_p != 0;
}

/* Not before: of who dies between the two the next one's note rings. */
void kvfi_hold_rang(kvfi_hold_t *hold, uint32_t armed)
{
    atomic_compare_exchange_strong(&hold->page->armed, &armed, 0);
}

void kvfi_hold_ring(kvfi_hold_t *hold, const kvfi_bell_t *bell)
{
    atomic_store(&hold->page->rung, 1);
    kvfi_bell_ring(bell, hold->bell);
}

int kvfi_hold_deafens(kvfi_hold_t *hold, kvfi_page_t *mine)
{
    if (hold->page->realm == mine->realm)
        return 0;
    atomic_store(&hold->page->deaf, 1);
    atomic_store(&mine->deaf, 1);
    return 1;
}

void kvfi_hold_say(kvfi_hold_t *hold, const void *data, uint32_t len)
{
    kvfi_hello_t *hello = &hold->seat->hello;
    uint32_t seq = atomic_load_explicit(&hello->seq, memory_order_relaxed);

    atomic_store_explicit(&hello->seq, seq + 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    hello->len = len;
    memcpy(hello->data, data, len);
    atomic_store_explicit(&hello->seq, seq + 2, memory_order_release);
    atomic_fetch_add(&hold->page->hellos, 1);
}

uint32_t kvfi_page_heard(kvfi_page_t *page, unsigned i, uint32_t *seq_p, char data[KVFI_HELLO_MAX])
{
    kvfi_hello_t *hello = &page->seats[i].hello;
    uint32_t seq = atomic_load_explicit(&hello->seq, memory_order_acquire), len;

    if (seq == *seq_p || seq & 1)
        return 0;
    len = hello->len;
    memcpy(data, hello->data, KVFI_HELLO_MAX);
    atomic_thread_fence(memory_order_acquire);
    if (atomic_load_explicit(&hello->seq, memory_order_relaxed) != seq)
        return 0; /* being replaced: the next one counts again */
    *seq_p = seq;
    return len <= KVFI_HELLO_MAX ? len : 0;
}

void kvfi_page_revoke(kvfi_owner_t *owner, uint32_t grant)
{
    atomic_store(&owner->page->epoch[grant], atomic_fetch_add(&owner->epoch[grant], 1) + 1);
    atomic_thread_fence(memory_order_seq_cst);
}

unsigned kvfi_page_snapshot(kvfi_page_t *page, uint32_t *seen)
{
    unsigned seats = kvfi_page_seats(page), odd = 0;

    memset(seen, 0, (size_t)KVFI_PAGE_SEATS * KVFI_SEAT_WORDS * sizeof *seen);
    for (unsigned i = 0; i < seats; i++)
        for (unsigned w = 0; w < KVFI_SEAT_WORDS; w++) {
            uint32_t *entry = &seen[i * KVFI_SEAT_WORDS + w];

            if (atomic_load(&page->seats[i].holder))
                *entry = atomic_load(&page->seats[i].busy[w].word);
            odd += *entry & 1;
        }
    return odd;
}

unsigned kvfi_page_still_busy(kvfi_page_t *page, uint32_t *seen, const kvfi_seat_t **seat_p)
{
    unsigned busy = 0;

    for (unsigned i = 0; i < KVFI_PAGE_SEATS; i++)
        for (unsigned w = 0; w < KVFI_SEAT_WORDS; w++) {
            uint32_t *entry = &seen[i * KVFI_SEAT_WORDS + w];
            kvfi_seat_t *seat = &page->seats[i];

            if (!(*entry & 1))
                continue;
            if (atomic_load_explicit(&seat->busy[w].word, memory_order_acquire) != *entry ||
                !is_in_use(seat)) {
                *entry = 0;
                continue;
            }
            *seat_p = seat;
            busy++;
        }
    return busy;
}

static void took(kvfi_owner_t *owner, kvfi_seat_t *seat, unsigned i, uint32_t head)
{
    owner->head[i] = head;
    atomic_store(&seat->head, head);
}

int kvfi_page_take(kvfi_owner_t *owner, unsigned *from_p, kvfi_note_room_t *room, void *arg,
                   kvfi_note_t *note_p, uint64_t *holder_p, uint64_t *rank_p)
{
    kvfi_page_t *page = owner->page;
    unsigned high = kvfi_page_seats(page);

    for (unsigned n = 0; n < high; n++) {
        unsigned i = (*from_p + n) % high;
        kvfi_seat_t *seat = &page->seats[i];
        uint64_t holder = atomic_load_explicit(&seat->holder, memory_order_acquire);
        uint32_t head = owner->head[i];
        uint32_t tail = atomic_load_explicit(&seat->tail, memory_order_acquire);

        if (!holder || head == tail)
            continue;
        if (tail - head > owner->depth) { /* nobody put so many: none of them is one */
            took(owner, seat, i, tail);
            continue;
        }
        *note_p = *note_at(page, owner->depth, seat, head);
        if (!room(arg, note_p->channel))
            continue;
        if (note_p->len > KVF_NOTIFY_MAX)
            note_p->len = KVF_NOTIFY_MAX;
        if (note_p->status > KVF_OK || note_p->status < KVF_ERR_FORKED)
            note_p->status = KVF_ERR_SYSTEM; /* no status, so no arrival */
        *holder_p = holder;
        *rank_p = seat->rank;
        took(owner, seat, i, head + 1);
        if (atomic_load(&seat->left))
            free_if_vacant(seat, holder);
        *from_p = i + 1;
        return 1;
    }
    return 0;
}
