/* Search for a linearization (Wing and Gong 1993), one key at a time, remembering states seen (Lowe
 * 2017).
 *
 * A position is the set of operations already put in order and the value they leave. Known
 * operations are sorted by call, so that set is "all below `top`, without the `holes`". Depth
 * first: any operation called before the earliest return among those left may be next; its result
 * must be what it returned. Every hole was called before that return and returned not before it, so
 * there are never more holes than operations under way at one instant, however long one of them
 * takes.
 *
 * Unknown operations are kept apart: they may be put anywhere after their call, or nowhere, and the
 * search is done when all known ones are in order. They are tried last, only where they change the
 * value, and of two that do the same the one called first goes first (exchanging them changes
 * nothing). RELIABILITY 3.2 says what else is known of them.
 *
 * Positions are remembered by a hash of 128 bits: two that collide would make the search overlook
 * one of them, which can refuse a good history (once in 2^60 or so), never accept a bad one. */
#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "common/must.h"
#include "tests/lib/history.h"

struct mark {
    uint64_t a, b;
};

struct frame { /* how to go back, and what to try then */
    uint32_t next;
    uint32_t taken;   /* known: index in ops; unknown: n + index in maybe */
    uint32_t old_top; /* before it was taken */
    struct hist_value old_value;
};

struct search {
    const struct hist_op *ops, *maybe; /* known, unknown: by call */
    bool *used;                        /* of maybe */
    uint32_t n, maybe_n;
    /* the position */
    uint32_t top, hole_count;
    uint32_t *holes; /* ascending */
    struct hist_value value;
    struct mark set;   /* of holes and used */
    struct mark *seen; /* open addressing; a == b == 0: empty */
    size_t seen_size, seen_count;
};

static uint64_t mix(uint64_t x)
{
    x ^= x >> 30;
    x *= UINT64_C(0xBF58476D1CE4E5B9);
    x ^= x >> 27;
    x *= UINT64_C(0x94D049BB133111EB);
    return x ^ x >> 31;
}

static void toggle(struct search *s, uint32_t i)
{
    s->set.a ^= mix(i + UINT64_C(0x9E3779B97F4A7C15));
    s->set.b ^= mix(i + UINT64_C(0xD1B54A32D192ED03) * 3);
}

static struct mark mark_of(const struct search *s)
{
    const uint64_t parts[] = {s->top, s->value.live, (uint64_t)s->value.value,
                              (uint64_t)s->value.length};
    struct mark m = s->set;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        m.a = mix(m.a + parts[i]);
        m.b = mix(m.b ^ (parts[i] + UINT64_C(0xA0761D6478BD642F)));
    }
    m.b |= 1; /* never the empty one */
    return m;
}

static bool remember_in(struct mark *table, size_t size, struct mark m)
{
    size_t i = (size_t)m.a & (size - 1);
    for (; table[i].a != 0 || table[i].b != 0; i = (i + 1) & (size - 1)) {
        if (table[i].a == m.a && table[i].b == m.b) {
            return false;
        }
    }
    table[i] = m;
    return true;
}

/* False: seen before. */
static bool remember(struct search *s)
{
    if (2 * s->seen_count >= s->seen_size) {
        size_t size = s->seen_size == 0 ? 1024 : 2 * s->seen_size;
        struct mark *bigger = mem_alloc(size * sizeof *bigger);
        memset(bigger, 0, size * sizeof *bigger);
        for (size_t i = 0; i < s->seen_size; i++) {
            if (s->seen[i].a != 0 || s->seen[i].b != 0) {
                (void)remember_in(bigger, size, s->seen[i]);
            }
        }
        mem_free(s->seen);
        s->seen = bigger;
        s->seen_size = size;
    }
    bool fresh = remember_in(s->seen, s->seen_size, mark_of(s));
    s->seen_count += fresh;
    return fresh;
}

/* The c-th of the known operations left: the holes, then what follows. */
static uint32_t left(const struct search *s, uint32_t c)
{
    return c < s->hole_count ? s->holes[c] : s->top + (c - s->hole_count);
}

/* The earliest return among what is left: nothing called after it can be next. */
static uint64_t horizon(const struct search *s)
{
    uint64_t at = UINT64_MAX;
    for (uint32_t c = 0; left(s, c) < s->n; c++) {
        const struct hist_op *o = &s->ops[left(s, c)];
        if (o->call > at) {
            break;
        }
        at = o->ret_at < at ? o->ret_at : at;
    }
    return at;
}

/* Pipelined: an earlier one of the same client has to be in order first. */
static bool client_blocks(const struct search *s, const struct hist_op *o)
{
    for (uint32_t c = 0; left(s, c) < s->n; c++) {
        const struct hist_op *x = &s->ops[left(s, c)];
        if (x->call > o->call) {
            break;
        }
        if (x->client == o->client && x->sequence < o->sequence && x->status == HIST_OK) {
            return true;
        }
    }
    return false;
}

static void take_known(struct search *s, uint32_t i)
{
    if (i >= s->top) {
        for (uint32_t j = s->top; j < i; j++) {
            s->holes[s->hole_count++] = j;
            toggle(s, j);
        }
        s->top = i + 1;
        return;
    }
    uint32_t at = 0;
    while (s->holes[at] != i) {
        at++;
    }
    memmove(s->holes + at, s->holes + at + 1, (--s->hole_count - at) * sizeof *s->holes);
    toggle(s, i);
}

static void give_back(struct search *s, const struct frame *f)
{
    uint32_t i = f->taken;
    s->value = f->old_value;
    if (i >= s->n) {
        s->used[i - s->n] = false;
        toggle(s, i);
    } else if (i >= f->old_top) {
        while (s->hole_count > 0 && s->holes[s->hole_count - 1] >= f->old_top) {
            toggle(s, s->holes[--s->hole_count]);
        }
        s->top = f->old_top;
    } else {
        uint32_t at = s->hole_count++;
        for (; at > 0 && s->holes[at - 1] > i; at--) {
            s->holes[at] = s->holes[at - 1];
        }
        s->holes[at] = i;
        toggle(s, i);
    }
}

/* Is there an unknown one that does the same, could go now, and was called earlier? */
static bool has_twin(const struct search *s, uint32_t u)
{
    const struct hist_op *o = &s->maybe[u];
    for (uint32_t v = 0; v < u; v++) {
        const struct hist_op *x = &s->maybe[v];
        if (!s->used[v] && x->kind == o->kind && x->arg == o->arg && x->arg2 == o->arg2 &&
            !client_blocks(s, x)) {
            return true;
        }
    }
    return false;
}

static bool try_known(struct search *s, struct frame *f, uint64_t limit)
{
    for (; left(s, f->next) < s->n; f->next++) {
        uint32_t i = left(s, f->next);
        const struct hist_op *o = &s->ops[i];
        if (o->call > limit) {
            break;
        }
        struct hist_value v = s->value;
        int64_t ret = hist_apply(&v, o->kind, o->arg, o->arg2);
        if ((o->kind != HIST_SET && ret != o->ret) || client_blocks(s, o)) {
            continue;
        }
        f->taken = i;
        f->old_top = s->top;
        f->old_value = s->value;
        take_known(s, i);
        s->value = v;
        if (remember(s)) {
            f->next++;
            return true;
        }
        give_back(s, f);
    }
    return false;
}

static bool try_maybe(struct search *s, struct frame *f, uint64_t limit, uint32_t first)
{
    for (; f->next - first < s->maybe_n; f->next++) {
        uint32_t u = f->next - first;
        const struct hist_op *o = &s->maybe[u];
        if (o->call > limit) {
            break;
        }
        struct hist_value v = s->value;
        (void)hist_apply(&v, o->kind, o->arg, o->arg2);
        bool idle =
            v.live == s->value.live && v.value == s->value.value && v.length == s->value.length;
        if (s->used[u] || idle || client_blocks(s, o) || has_twin(s, u)) {
            continue;
        }
        f->taken = s->n + u;
        f->old_top = s->top;
        f->old_value = s->value;
        s->used[u] = true;
        toggle(s, f->taken);
        s->value = v;
        if (remember(s)) {
            f->next++;
            return true;
        }
        give_back(s, f);
    }
    return false;
}

/* Candidates are numbered: the known ones that are left, then the unknown ones. */
static bool try_next(struct search *s, struct frame *f)
{
    uint64_t limit = horizon(s);
    uint32_t known = s->n - s->top + s->hole_count;
    if (f->next < known) {
        if (try_known(s, f, limit)) {
            return true;
        }
        f->next = known;
    }
    return try_maybe(s, f, limit, known);
}

/* ---- what is searched ---- */

#define NOBODY_READ (HIST_ABSENT + 1) /* stands for all values that were written and never read */

static int by_argument(const void *a, const void *b)
{
    const struct hist_op *x = *(struct hist_op *const *)a;
    const struct hist_op *y = *(struct hist_op *const *)b;
    return x->arg < y->arg ? -1 : x->arg > y->arg;
}

static bool writes_argument(const struct hist_op *o)
{
    return o->kind == HIST_SET || o->kind == HIST_SETNX || o->kind == HIST_GETSET;
}

/* Where no value is made from another, a value that was read tells which write made it. Then an
 * unknown SET whose value was read is given the end of the first such read as its return, and
 * unknown writes whose values nobody read need not be told apart. */
static void thin_unknown(struct hist_op *ops, size_t n)
{
    struct hist_op **writes = mem_alloc((n + 1) * sizeof(void *));
    uint64_t *read_at = mem_alloc((n + 1) * sizeof *read_at);
    size_t count = 0;
    bool plain = true;
    for (size_t i = 0; i < n; i++) {
        read_at[i] = HIST_NEVER;
        plain = plain && ops[i].kind != HIST_INCR && ops[i].kind != HIST_APPEND &&
                ops[i].kind != HIST_CAS;
        if (writes_argument(&ops[i])) {
            writes[count++] = &ops[i];
        }
    }
    qsort(writes, count, sizeof(void *), by_argument);
    for (size_t i = 1; i < count; i++) { /* values that are not unique tell nothing */
        plain = plain && writes[i - 1]->arg != writes[i]->arg;
    }
    for (size_t i = 0; plain && i < n; i++) {
        struct hist_op wanted = {.arg = ops[i].ret};
        struct hist_op *key = &wanted;
        if (ops[i].status == HIST_OK && (ops[i].kind == HIST_GET || ops[i].kind == HIST_GETSET)) {
            struct hist_op **at = bsearch(&key, writes, count, sizeof(void *), by_argument);
            uint64_t *first = at != NULL ? &read_at[*at - ops] : NULL;
            if (first != NULL && ops[i].ret_at < *first) {
                *first = ops[i].ret_at;
            }
        }
    }
    for (size_t i = 0; plain && i < n; i++) {
        if (ops[i].status != HIST_UNKNOWN || !writes_argument(&ops[i])) {
            continue;
        }
        if (read_at[i] == HIST_NEVER) {
            ops[i].arg = NOBODY_READ;
            ops[i].kind = ops[i].kind == HIST_GETSET ? HIST_SET : ops[i].kind;
        } else if (ops[i].kind == HIST_SET) {
            ops[i].ret_at = read_at[i] < ops[i].call ? ops[i].call : read_at[i];
        }
    }
    mem_free(read_at);
    mem_free(writes);
}

/* ops sorted by call. Known ones go to the front of *out, unknown ones behind them. */
static void split(struct search *s, const struct hist_op *ops, size_t n)
{
    struct hist_op *copy = mem_alloc((n + 1) * sizeof *copy);
    struct hist_op *out = mem_alloc((n + 1) * sizeof *out);
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        if (ops[i].status == HIST_OK ||
            (ops[i].status == HIST_UNKNOWN && ops[i].kind != HIST_GET)) {
            copy[used] = ops[i];
            if (ops[i].status == HIST_UNKNOWN) {
                copy[used].ret_at = HIST_NEVER;
            }
            used++;
        }
    }
    thin_unknown(copy, used);
    for (size_t i = 0; i < used; i++) {
        if (copy[i].ret_at != HIST_NEVER) {
            out[s->n++] = copy[i];
        }
    }
    s->ops = out;
    s->maybe = out + s->n;
    for (size_t i = 0; i < used; i++) {
        if (copy[i].ret_at == HIST_NEVER) {
            out[s->n + s->maybe_n++] = copy[i];
        }
    }
    mem_free(copy);
}

bool check_search(struct hist_op *ops, size_t n, uint64_t budget, bool *gave_up,
                  struct hist_fault *fault)
{
    history_sort(ops, n);
    struct search s = {0};
    split(&s, ops, n);
    s.holes = mem_alloc((s.n + 1u) * sizeof *s.holes);
    s.used = mem_zalloc((s.maybe_n + 1u) * sizeof *s.used);
    struct frame *stack = mem_alloc((s.n + s.maybe_n + 1u) * sizeof *stack);
    uint32_t depth = 0;
    uint32_t best = 0;
    uint32_t stuck[2] = {0, s.n > 1 ? 1 : 0};
    stack[0] = (struct frame){0};
    *gave_up = false;
    while (s.top - s.hole_count < s.n) {
        if (s.top - s.hole_count > best) {
            best = s.top - s.hole_count;
            stuck[0] = left(&s, 0);
            stuck[1] = best + 1 < s.n ? left(&s, 1) : stuck[0];
        }
        if (budget-- == 0) {
            *gave_up = true;
            break;
        }
        if (try_next(&s, &stack[depth])) {
            stack[++depth] = (struct frame){0};
        } else if (depth == 0) {
            break;
        } else {
            give_back(&s, &stack[--depth]);
        }
    }
    bool ok = s.top - s.hole_count == s.n;
    if (!ok && !*gave_up && fault != NULL) {
        *fault = (struct hist_fault){"no order of the operations explains the results; stuck at",
                                     s.ops[stuck[0]], s.ops[stuck[1]]};
    }
    mem_free(stack);
    mem_free(s.used);
    mem_free(s.holes);
    mem_free((void *)s.ops);
    mem_free(s.seen);
    return ok || *gave_up;
}
