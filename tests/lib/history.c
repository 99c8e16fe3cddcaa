/* The sequential specification, the witness check and the zone check. */
#include "tests/lib/history.h"

#include <stdlib.h>
#include <string.h>

#include "common/mem.h"
#include "common/must.h"

int64_t hist_apply(struct hist_value *v, enum hist_kind kind, int64_t arg, int64_t arg2)
{
    int64_t was = v->live ? 1 : 0;
    switch (kind) {
    case HIST_GET:
        return v->live ? v->value : HIST_ABSENT;
    case HIST_SET:
        *v = (struct hist_value){true, arg, 1};
        return 0;
    case HIST_INCR:
        *v = (struct hist_value){true, (v->live ? v->value : 0) + 1, v->live ? v->length : 1};
        return v->value;
    case HIST_APPEND:
        *v = (struct hist_value){true,
                                 (int64_t)((uint64_t)(v->live ? v->value : 0) * 31 + (uint64_t)arg),
                                 (v->live ? v->length : 0) + 1};
        return v->length;
    case HIST_DEL:
        *v = (struct hist_value){0};
        return was;
    case HIST_CAS:
        if (!v->live || v->value != arg) {
            return 0;
        }
        v->value = arg2;
        return 1;
    case HIST_SETNX:
        if (!v->live) {
            *v = (struct hist_value){true, arg, 1};
        }
        return 1 - was;
    case HIST_GETSET: {
        int64_t old = v->live ? v->value : HIST_ABSENT;
        *v = (struct hist_value){true, arg, 1};
        return old;
    }
    }
    unreachable();
}

static int compare_u64(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b;
}

static int by_key_call(const void *a, const void *b)
{
    const struct hist_op *x = a;
    const struct hist_op *y = b;
    if (x->key != y->key) {
        return compare_u64(x->key, y->key);
    }
    return x->call != y->call ? compare_u64(x->call, y->call)
                              : compare_u64(x->sequence, y->sequence);
}

void history_sort(struct hist_op *ops, size_t n)
{
    qsort(ops, n, sizeof *ops, by_key_call);
}

static bool refuse(struct hist_fault *fault, const char *what, const struct hist_op *a,
                   const struct hist_op *b)
{
    if (fault != NULL) {
        *fault = (struct hist_fault){what, a == NULL ? (struct hist_op){0} : *a,
                                     b == NULL ? (struct hist_op){0} : *b};
    }
    return false;
}

/* ---- witness ---- */

static int by_ts(const void *a, const void *b)
{
    const struct hist_op *x = *(const struct hist_op *const *)a;
    const struct hist_op *y = *(const struct hist_op *const *)b;
    if (x->ts != y->ts) {
        return compare_u64(x->ts, y->ts);
    }
    return x->is_write != y->is_write ? (int)y->is_write - (int)x->is_write
                                      : compare_u64(x->call, y->call);
}

static int by_return(const void *a, const void *b)
{
    const struct hist_op *x = *(const struct hist_op *const *)a;
    const struct hist_op *y = *(const struct hist_op *const *)b;
    return x->ret_at != y->ret_at ? compare_u64(x->ret_at, y->ret_at)
                                  : compare_u64(x->sequence, y->sequence);
}

static int by_client(const void *a, const void *b)
{
    const struct hist_op *x = *(const struct hist_op *const *)a;
    const struct hist_op *y = *(const struct hist_op *const *)b;
    return x->client != y->client ? compare_u64(x->client, y->client)
                                  : compare_u64(x->sequence, y->sequence);
}

/* One ts: one writer, and everybody who returned it saw the same. */
static bool witness_values(const struct hist_op **ops, size_t n, struct hist_fault *fault)
{
    qsort(ops, n, sizeof *ops, by_ts);
    const struct hist_op *last_write = NULL;
    for (size_t i = 1; i < n; i++) {
        const struct hist_op *a = ops[i - 1];
        const struct hist_op *b = ops[i];
        if (a->ts != b->ts) {
            continue;
        }
        if (a->is_write && b->is_write) {
            return refuse(fault, "two writes with one timestamp", a, b);
        }
        bool both_reads = a->kind == HIST_GET && b->kind == HIST_GET;
        bool set_read = a->kind == HIST_SET && a->is_write && b->kind == HIST_GET;
        if ((both_reads && a->ret != b->ret) || (set_read && a->arg != b->ret)) {
            return refuse(fault, "one timestamp, two values", a, b);
        }
    }
    for (size_t i = 0; i < n; i++) { /* an RMW directly follows what it read */
        if (!ops[i]->is_write) {
            continue;
        }
        if (ops[i]->has_base && last_write != NULL && last_write->ts > ops[i]->base) {
            return refuse(fault, "a write lies between a read-modify-write and its base",
                          last_write, ops[i]);
        }
        last_write = ops[i];
    }
    return true;
}

static bool witness_clients(const struct hist_op **ops, size_t n, struct hist_fault *fault)
{
    qsort(ops, n, sizeof *ops, by_client);
    for (size_t i = 1; i < n; i++) {
        const struct hist_op *a = ops[i - 1];
        const struct hist_op *b = ops[i];
        if (a->client == b->client && (b->ts < a->ts || (b->ts == a->ts && b->is_write))) {
            return refuse(fault, "operations of one client took effect out of order", a, b);
        }
    }
    return true;
}

bool check_witness(struct hist_op *ops, size_t n, struct hist_fault *fault)
{
    const struct hist_op **calls = mem_alloc(2 * n * sizeof *calls);
    const struct hist_op **returns = calls + n;
    history_sort(ops, n);
    size_t done = 0;
    for (size_t i = 0; i < n; i++) {
        if (ops[i].status == HIST_OK && ops[i].ts != HIST_NO_TS) {
            calls[done] = &ops[i];
            returns[done] = &ops[i];
            done++;
        }
    }
    qsort(returns, done, sizeof(*returns), by_return);
    const struct hist_op *largest = NULL;
    size_t returned = 0;
    bool ok = true;
    for (size_t i = 0; i < done && ok; i++) {
        while (returned < done && returns[returned]->ret_at < calls[i]->call) {
            if (largest == NULL || returns[returned]->ts > largest->ts) {
                largest = returns[returned];
            }
            returned++;
        }
        if (largest != NULL &&
            (calls[i]->ts < largest->ts || (calls[i]->ts == largest->ts && calls[i]->is_write))) {
            ok = refuse(fault,
                        calls[i]->is_write ? "a write is not newer than what was returned before"
                                           : "a stale read",
                        largest, calls[i]);
        }
    }
    ok = ok && witness_values(calls, done, fault) && witness_clients(calls, done, fault);
    mem_free(calls);
    return ok;
}

/* ---- zones ---- */

struct zone {
    int64_t value;
    bool written;
    uint64_t write_call;
    uint64_t lo, hi; /* earliest return, latest call */
    const struct hist_op *example;
};

static int by_value(const void *a, const void *b)
{
    const struct hist_op *x = *(const struct hist_op *const *)a;
    const struct hist_op *y = *(const struct hist_op *const *)b;
    int64_t v = x->kind == HIST_SET ? x->arg : x->ret;
    int64_t w = y->kind == HIST_SET ? y->arg : y->ret;
    if (v != w) {
        return v < w ? -1 : 1;
    }
    return x->kind != y->kind ? (x->kind == HIST_SET ? -1 : 1)
                              : compare_u64(x->sequence, y->sequence);
}

static int by_zone(const void *a, const void *b)
{
    const struct zone *x = a;
    const struct zone *y = b;
    uint64_t s = x->lo < x->hi ? x->lo : x->hi;
    uint64_t t = y->lo < y->hi ? y->lo : y->hi;
    return s != t ? compare_u64(s, t) : (x->value < y->value ? -1 : x->value > y->value);
}

/* Groups each write with the reads of its value. Unknown writes nobody read are left out. */
static bool zones_make(const struct hist_op **ops, size_t n, struct zone *zones, size_t *count,
                       struct hist_fault *fault)
{
    qsort(ops, n, sizeof *ops, by_value);
    size_t made = 0;
    for (size_t i = 0; i < n;) {
        const struct hist_op *first = ops[i];
        int64_t value = first->kind == HIST_SET ? first->arg : first->ret;
        struct zone z = {.value = value, .lo = UINT64_MAX, .hi = 0, .example = first};
        bool read = false;
        if (value == HIST_ABSENT) { /* the initial value: written before everything */
            z.written = true;
            z.lo = 0;
        }
        for (; i < n && (ops[i]->kind == HIST_SET ? ops[i]->arg : ops[i]->ret) == value; i++) {
            const struct hist_op *o = ops[i];
            if (o->kind == HIST_SET) {
                if (z.written) {
                    return refuse(fault,
                                  "a value was written twice: this check needs unique values",
                                  first, o);
                }
                z.written = true;
                z.write_call = o->call;
            } else {
                read = true;
                if (!z.written) {
                    return refuse(fault, "a value was read that nobody wrote", o, NULL);
                }
                if (o->ret_at < z.write_call) {
                    return refuse(fault, "a value was read before it was written", first, o);
                }
            }
            uint64_t end = o->status == HIST_UNKNOWN ? UINT64_MAX : o->ret_at;
            z.lo = end < z.lo ? end : z.lo;
            z.hi = o->call > z.hi ? o->call : z.hi;
        }
        if (read || first->status != HIST_UNKNOWN) {
            zones[made++] = z;
        }
    }
    *count = made;
    return true;
}

bool check_zones(struct hist_op *ops, size_t n, struct hist_fault *fault)
{
    const struct hist_op **list = mem_alloc(n * sizeof *list);
    struct zone *zones = mem_alloc((n + 1) * sizeof *zones);
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        must(ops[i].kind == HIST_GET || ops[i].kind == HIST_SET);
        if (ops[i].status == HIST_OK ||
            (ops[i].status == HIST_UNKNOWN && ops[i].kind == HIST_SET)) {
            list[used++] = &ops[i];
        }
    }
    size_t count = 0;
    bool ok = zones_make(list, used, zones, &count, fault);
    if (ok) {
        qsort(zones, count, sizeof *zones, by_zone);
        const struct zone *forward = NULL; /* the forward zone that reaches farthest so far */
        for (size_t i = 0; i < count && ok; i++) {
            const struct zone *z = &zones[i];
            bool is_forward = z->lo < z->hi;
            uint64_t end = is_forward ? z->hi : z->lo;
            if (forward != NULL && is_forward && z->lo < forward->hi) {
                ok = refuse(fault, "two values overlap in time", forward->example, z->example);
            } else if (forward != NULL && !is_forward && end < forward->hi && z->hi > forward->lo) {
                ok = refuse(fault, "a value lies inside the time of another", forward->example,
                            z->example);
            }
            if (is_forward && (forward == NULL || z->hi > forward->hi)) {
                forward = z;
            }
        }
    }
    mem_free(zones);
    mem_free(list);
    return ok;
}
