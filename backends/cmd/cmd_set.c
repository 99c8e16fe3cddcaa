/* Set commands on one set, and SMOVE. */
#include "backends/cmd/cmd_set.h"

#include "backends/cmd/collection.h"
#include "backends/cmd/config.h"
#include "backends/types/set.h"
#include "common/mem.h"
#include "common/num.h"

/* Members that one effect of SPOP removes: a request has a limit of arguments. */
#define SREM_BATCH 1000u

static struct set *set_of(const struct entry *e)
{
    return entry_object(e);
}

/* The set to read, or NULL after answering the error or what stands for an absent key. */
static const struct set *read_set(struct cmd_ctx *c, void (*absent)(struct resp_out *))
{
    struct entry *e = cmd_lookup(c, c->argv[1]);
    if (e == NULL) {
        absent(c->out);
        return NULL;
    }
    return cmd_type_ok(c, e, VAL_SET) ? set_of(e) : NULL;
}

static void reply_zero(struct resp_out *o)
{
    resp_int(o, 0);
}

static void reply_empty_array(struct resp_out *o)
{
    resp_array(o, 0);
}

static void reply_empty_set(struct resp_out *o)
{
    resp_set(o, 0);
}

static void add_member(void *arg, struct span member)
{
    resp_bulk_span(arg, member);
}

/* ---- plain changes and questions ---- */

void sadd_command(struct cmd_ctx *c)
{
    struct entry *e = cmd_lookup_write(c, c->argv[1]);
    if (!cmd_type_ok(c, e, VAL_SET)) {
        return;
    }
    struct set *s = e == NULL ? set_new() : set_of(e);
    int64_t added = 0;
    for (int i = 2; i < c->argc; i++) {
        added += set_add(&s, c->argv[i], c->config->set_max_intset_entries);
    }
    collection_keep(c, e, c->argv[1], VAL_SET, s);
    c->dirty += (uint64_t)added;
    resp_int(c->out, added);
}

void srem_command(struct cmd_ctx *c)
{
    struct entry *e = cmd_lookup_write(c, c->argv[1]);
    if (!cmd_type_ok(c, e, VAL_SET)) {
        return;
    }
    int64_t removed = 0;
    if (e != NULL) {
        struct set *s = set_of(e);
        for (int i = 2; i < c->argc && set_count(s) != 0; i++) {
            removed += set_remove(&s, c->argv[i]);
        }
        collection_keep(c, e, c->argv[1], VAL_SET, s);
    }
    c->dirty += (uint64_t)removed;
    resp_int(c->out, removed);
}

void sismember_command(struct cmd_ctx *c)
{
    const struct set *s = read_set(c, reply_zero);
    if (s != NULL) {
        resp_int(c->out, set_has(s, c->argv[2]));
    }
}

void smismember_command(struct cmd_ctx *c)
{
    struct entry *e = cmd_lookup(c, c->argv[1]);
    if (!cmd_type_ok(c, e, VAL_SET)) {
        return;
    }
    resp_array(c->out, (size_t)(c->argc - 2));
    for (int i = 2; i < c->argc; i++) {
        resp_int(c->out, e != NULL && set_has(set_of(e), c->argv[i]));
    }
}

static void reply_members(struct cmd_ctx *c, const struct set *s)
{
    struct set_iter it = set_iter(s);
    struct span member;
    while (set_next(&it, &member)) {
        resp_bulk_span(c->out, member);
    }
}

void smembers_command(struct cmd_ctx *c)
{
    const struct set *s = read_set(c, reply_empty_set);
    if (s != NULL) {
        resp_set(c->out, set_count(s));
        reply_members(c, s);
    }
}

void scard_command(struct cmd_ctx *c)
{
    const struct set *s = read_set(c, reply_zero);
    if (s != NULL) {
        resp_int(c->out, (int64_t)set_count(s));
    }
}

void smove_command(struct cmd_ctx *c)
{
    struct entry *from = cmd_lookup_write(c, c->argv[1]);
    struct entry *to = cmd_lookup_write(c, c->argv[2]);
    if (from == NULL) {
        resp_int(c->out, 0);
        return;
    }
    if (!cmd_type_ok(c, from, VAL_SET) || !cmd_type_ok(c, to, VAL_SET)) {
        return;
    }
    struct set *s = set_of(from);
    if (from == to) {
        resp_int(c->out, set_has(s, c->argv[3]));
        return;
    }
    if (!set_remove(&s, c->argv[3])) {
        resp_int(c->out, 0);
        return;
    }
    c->dirty++;
    struct set *target = to == NULL ? set_new() : set_of(to);
    c->dirty += set_add(&target, c->argv[3], c->config->set_max_intset_entries);
    /* the target first: creating its entry must not come between the source's look-up and its
     * deletion */
    collection_keep(c, to, c->argv[2], VAL_SET, target);
    from = store_find(c->store, c->argv[1]);
    collection_keep(c, from, c->argv[1], VAL_SET, s);
    resp_int(c->out, 1);
}

/* ---- random members ---- */

/* Members drawn from a set, copied: removing them moves what they point to. */
struct draw {
    struct buf bytes;
    struct span *member; /* the first two places are for the name and the key of an effect */
    size_t count;
};

static void draw_add(void *arg, struct span member)
{
    struct draw *d = arg;
    buf_add(&d->bytes, member.p, member.len);
    d->member[d->count++].len = member.len;
}

static void draw(struct cmd_ctx *c, struct draw *d, const struct set *s, size_t n)
{
    *d = (struct draw){.member = mem_alloc((n + 2) * sizeof *d->member), .count = 2};
    (void)cmd_random(c);
    set_sample(s, n, c->rng, draw_add, d);
    /* the bytes stand one after the other, and move no more */
    const char *p = d->bytes.p == NULL ? "" : buf_head(&d->bytes);
    for (size_t i = 2; i < d->count; i++) {
        d->member[i].p = p;
        p += d->member[i].len;
    }
}

static void draw_free(struct draw *d)
{
    buf_free(&d->bytes);
    mem_free(d->member);
}

/* What SPOP does to a set: how many members go (with a count: as a set in the reply). */
struct pop {
    const struct set *s;
    size_t n;
    bool counted;
};

/* False after an answer that changes nothing. */
static bool pop_plan(struct cmd_ctx *c, struct entry *(*look)(struct cmd_ctx *, struct span),
                     struct entry **e, struct pop *p)
{
    int64_t count = 1;
    if (c->argc > 3) {
        cmd_syntax_error(c);
        return false;
    }
    if (c->argc == 3 && !cmd_positive(c, c->argv[2], &count)) {
        return false;
    }
    p->counted = c->argc == 3;
    *e = look(c, c->argv[1]);
    if (*e == NULL || (entry_type(*e) == VAL_SET && count == 0)) {
        if (p->counted) {
            resp_set(c->out, 0);
        } else {
            resp_null(c->out);
        }
        return false;
    }
    if (!cmd_type_ok(c, *e, VAL_SET)) {
        return false;
    }
    p->s = set_of(*e);
    size_t size = set_count(p->s);
    p->n = (uint64_t)count < size ? (size_t)count : size;
    return true;
}

static void pop_reply(struct cmd_ctx *c, const struct pop *p, const struct draw *d)
{
    if (p->counted) {
        resp_set(c->out, p->n);
    }
    if (d == NULL) {
        reply_members(c, p->s);
        return;
    }
    for (size_t i = 2; i < d->count; i++) {
        resp_bulk_span(c->out, d->member[i]);
    }
}

void spop_command(struct cmd_ctx *c)
{
    struct entry *e;
    struct pop p;
    if (!pop_plan(c, cmd_lookup_write, &e, &p)) {
        return;
    }
    c->dirty += p.n;
    if (p.n == set_count(p.s)) {
        pop_reply(c, &p, NULL);
        store_delete(c->store, e);
        return;
    }
    struct draw d;
    draw(c, &d, p.s, p.n);
    pop_reply(c, &p, &d);
    struct set *s = set_of(e);
    for (size_t i = 2; i < d.count; i++) {
        (void)set_remove(&s, d.member[i]);
    }
    collection_keep(c, e, c->argv[1], VAL_SET, s);
    draw_free(&d);
}

bool spop_rewrite(struct cmd_ctx *c, struct effects *fx)
{
    struct entry *e;
    struct pop p;
    if (!pop_plan(c, cmd_peek, &e, &p)) {
        return false;
    }
    if (p.n == set_count(p.s)) {
        pop_reply(c, &p, NULL);
        const struct span argv[] = {SPAN_LIT("DEL"), c->argv[1]};
        effects_add(fx, 2, argv);
        return true;
    }
    struct draw d;
    draw(c, &d, p.s, p.n);
    pop_reply(c, &p, &d);
    for (size_t i = 2; i < d.count; i += SREM_BATCH) {
        /* name and key take the places of two members that are done with */
        size_t n = d.count - i < SREM_BATCH ? d.count - i : SREM_BATCH;
        d.member[i - 2] = SPAN_LIT("SREM");
        d.member[i - 1] = c->argv[1];
        effects_add(fx, n + 2, &d.member[i - 2]);
    }
    draw_free(&d);
    return true;
}

static void random_one(const void *from, uint64_t *rng, struct resp_out *out)
{
    set_random(from, rng, add_member, out);
}

static void random_some(const void *from, size_t n, uint64_t *rng, struct resp_out *out)
{
    set_sample(from, n, rng, add_member, out);
}

void srandmember_command(struct cmd_ctx *c)
{
    if (c->argc > 3) {
        cmd_syntax_error(c);
        return;
    }
    int64_t count = 0;
    if (c->argc == 3 && !cmd_range(c, c->argv[2], -INT64_MAX, INT64_MAX, &count, NULL)) {
        return;
    }
    const struct set *s = read_set(c, c->argc == 3 ? reply_empty_array : resp_null);
    if (s == NULL) {
        return;
    }
    if (c->argc == 2) {
        (void)cmd_random(c);
        set_random(s, c->rng, add_member, c->out);
        return;
    }
    struct collection_draw d = {
        .from = s, .size = set_count(s), .each = 1, .one = random_one, .some = random_some};
    collection_draw(c, &d, count);
}

/* ---- scan ---- */

static void scan_member(void *arg, struct span member)
{
    struct collection_scan *s = arg;
    if (collection_scan_wants(s, member)) {
        collection_scan_add(s, member);
    }
}

static uint64_t scan_step(const struct entry *e, uint64_t cursor, struct collection_scan *s)
{
    return set_scan(set_of(e), cursor, scan_member, s);
}

void sscan_command(struct cmd_ctx *c)
{
    collection_scan(c, VAL_SET, scan_step);
}
