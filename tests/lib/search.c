/* Search for a linearization (Wing and Gong 1993), one key at a time, remembering states seen (Lowe
 * 2017).
 *
 * A position is the set of operations already put in order and the value they leave. Because
 * operations are sorted by call, the set is a prefix [0, base) that is complete, and a bit mask
 * over the next 128. Depth first: any operation called before the earliest return among those left
 * may be next; its result must be what it returned. Unknown operations may be put anywhere after
 * their call, or nowhere: the search is done when all others are in order.
 *
 * Unknown ones are thinned out before (RELIABILITY 3.2): reads are dropped; a SET whose value
 * nobody read and nobody could have compared or changed stays, since it may still have wiped
 * something out, so mixes keep all unknown writes. */
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "common/must.h"
#include "tests/lib/history.h"

#define WINDOW 512u
#define WORDS (WINDOW / 64)

struct position {
    uint32_t base;
    uint64_t mask[WORDS];
    struct hist_value value;
};

struct frame {
    struct position at;
    uint32_t next; /* candidate to try */
};

struct search {
    const struct hist_op *ops;
    uint32_t n;
    uint32_t known;        /* how many must be in order at the end */
    struct position *seen; /* open addressing; .base UINT32_MAX: empty */
    size_t seen_size, seen_count;
    bool overflow; /* the window was too small somewhere: a refusal proves nothing */
};

static bool in_order(const struct position *p, uint32_t i)
{
    return i < p->base ||
           (i - p->base < WINDOW && (p->mask[(i - p->base) / 64] >> ((i - p->base) % 64) & 1) != 0);
}

static void put(struct position *p, uint32_t i)
{
    must(i >= p->base && i - p->base < WINDOW);
    p->mask[(i - p->base) / 64] |= UINT64_C(1) << ((i - p->base) % 64);
    while ((p->mask[0] & 1) != 0) {
        for (unsigned w = 0; w < WORDS; w++) {
            p->mask[w] = p->mask[w] >> 1 | (w + 1 < WORDS ? p->mask[w + 1] << 63 : 0);
        }
        p->base++;
    }
}

static bool same(const struct position *a, const struct position *b)
{
    return a->base == b->base && memcmp(a->mask, b->mask, sizeof a->mask) == 0 &&
           a->value.live == b->value.live && a->value.value == b->value.value &&
           a->value.length == b->value.length;
}

static size_t hash(const struct position *p)
{
    uint64_t h = p->base;
    const uint64_t parts[] = {(uint64_t)p->value.value, (uint64_t)p->value.length, p->value.live};
    for (size_t i = 0; i < WORDS + 3; i++) {
        h = (h ^ (i < WORDS ? p->mask[i] : parts[i - WORDS])) * UINT64_C(0x9FB21C651E98DF25);
        h ^= h >> 29;
    }
    return (size_t)h;
}

static bool remember_in(struct position *table, size_t size, const struct position *p)
{
    size_t i = hash(p) & (size - 1);
    for (; table[i].base != UINT32_MAX; i = (i + 1) & (size - 1)) {
        if (same(&table[i], p)) {
            return false;
        }
    }
    table[i] = *p;
    return true;
}

/* False: seen before. */
static bool remember(struct search *s, const struct position *p)
{
    if (2 * s->seen_count >= s->seen_size) {
        size_t size = s->seen_size == 0 ? 1024 : 2 * s->seen_size;
        struct position *bigger = mem_alloc(size * sizeof *bigger);
        memset(bigger, 0xFF, size * sizeof *bigger);
        for (size_t i = 0; i < s->seen_size; i++) {
            if (s->seen[i].base != UINT32_MAX) {
                (void)remember_in(bigger, size, &s->seen[i]);
            }
        }
        mem_free(s->seen);
        s->seen = bigger;
        s->seen_size = size;
    }
    bool fresh = remember_in(s->seen, s->seen_size, p);
    s->seen_count += fresh;
    return fresh;
}

static bool finished(const struct search *s, const struct position *p)
{
    for (uint32_t i = p->base; i < s->n; i++) {
        if (s->ops[i].status == HIST_OK && !in_order(p, i)) {
            return false;
        }
    }
    return true;
}

/* The earliest return among what is left: nothing called after it can be next. */
static uint64_t horizon(const struct search *s, const struct position *p)
{
    uint64_t at = UINT64_MAX;
    for (uint32_t i = p->base; i < s->n && i - p->base < WINDOW; i++) {
        if (s->ops[i].call > at) {
            break;
        }
        if (s->ops[i].status == HIST_OK && !in_order(p, i) && s->ops[i].ret_at < at) {
            at = s->ops[i].ret_at;
        }
    }
    return at;
}

/* Pipelined: an earlier one of the same client has to be in order first. */
static bool client_blocks(const struct search *s, const struct position *p, uint32_t i)
{
    for (uint32_t j = p->base; j < s->n && j - p->base < WINDOW && s->ops[j].call <= s->ops[i].call;
         j++) {
        if (j != i && s->ops[j].client == s->ops[i].client &&
            s->ops[j].sequence < s->ops[i].sequence && s->ops[j].status == HIST_OK &&
            !in_order(p, j)) {
            return true;
        }
    }
    return false;
}

static bool try_next(struct search *s, struct frame *f, struct position *to)
{
    uint64_t limit = horizon(s, &f->at);
    if (f->at.base + WINDOW < s->n && s->ops[f->at.base + WINDOW].call <= limit) {
        s->overflow = true;
    }
    for (uint32_t i = f->next; i < s->n && i - f->at.base < WINDOW && s->ops[i].call <= limit;
         i++) {
        const struct hist_op *o = &s->ops[i];
        if (in_order(&f->at, i) || client_blocks(s, &f->at, i)) {
            continue;
        }
        *to = f->at;
        int64_t ret = hist_apply(&to->value, o->kind, o->arg, o->arg2);
        if (o->status == HIST_OK && o->kind != HIST_SET && ret != o->ret) {
            continue;
        }
        put(to, i);
        if (remember(s, to)) {
            f->next = i + 1;
            return true;
        }
    }
    return false;
}

bool check_search(struct hist_op *ops, size_t n, uint64_t budget, bool *gave_up,
                  struct hist_fault *fault)
{
    history_sort(ops, n);
    struct hist_op *used = mem_alloc((n + 1) * sizeof *used);
    struct search s = {.ops = used};
    for (size_t i = 0; i < n; i++) {
        if (ops[i].status == HIST_OK ||
            (ops[i].status == HIST_UNKNOWN && ops[i].kind != HIST_GET)) {
            s.known += ops[i].status == HIST_OK;
            used[s.n++] = ops[i];
        }
    }
    struct frame *stack = mem_alloc((s.n + 1u) * sizeof *stack);
    uint32_t depth = 0;
    uint32_t best = 0;
    stack[0] = (struct frame){0};
    *gave_up = false;
    bool ok = finished(&s, &stack[0].at);
    while (!ok) {
        if (budget-- == 0) {
            *gave_up = true;
            break;
        }
        struct position to;
        if (try_next(&s, &stack[depth], &to)) {
            depth++;
            stack[depth] = (struct frame){.at = to, .next = to.base};
            best = to.base > best ? to.base : best;
            ok = finished(&s, &to);
        } else if (depth == 0) {
            break;
        } else {
            depth--;
        }
    }
    *gave_up = *gave_up || (!ok && s.overflow);
    if (!ok && !*gave_up && fault != NULL) {
        *fault =
            (struct hist_fault){"no order of the operations explains the results; stuck at",
                                used[best < s.n ? best : 0], used[best + 1 < s.n ? best + 1 : 0]};
    }
    mem_free(stack);
    mem_free(used);
    mem_free(s.seen);
    return ok || *gave_up;
}
