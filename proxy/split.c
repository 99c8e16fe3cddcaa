/* MGET, MSET, DEL, UNLINK, EXISTS, TOUCH over several keys: each key on its own, those of one node
 * worker together (DESIGN H11). */
#include "common/must.h"
#include "common/slot.h"
#include "proxy/gather.h"
#include "proxy/hot.h"
#include "proxy/lane.h"

#define NO_PART UINT16_MAX

/* What is known of the request's keys after the first pass. */
struct plan {
    uint32_t keys, step;
    unsigned how; /* TARGET_ */
    bool prefix;
};

/* Nothing is sent unless every node can be sent to: refuses or waits otherwise. */
static bool all_ready(struct client *c, const struct admitted *a, const struct conn_req *q,
                      const struct plan *p, enum taken *taken)
{
    struct proxy_worker *pw = c->pw;
    unsigned last = UINT32_MAX;
    for (uint32_t i = 0; i < p->keys; i++) {
        unsigned partition = route_slot(pw->route, slot_of(q->argv[1 + i * p->step]));
        if (partition == last) {
            continue;
        }
        last = partition;
        struct target t;
        if (!target_find(c, partition, 0, p->how, &t)) {
            *taken = target_refused(c, a, (int)q->argc, &t);
            return false;
        }
    }
    return true;
}

/* Appends the keys (and values) whose part is `part` as one request. */
static void encode_part(struct buf *b, const struct conn_req *q, const struct plan *p,
                        const struct gather *g, uint32_t part, uint32_t count)
{
    encode_header(b, 1 + (size_t)count * p->step);
    encode_arg(b, q->argv[0]);
    for (uint32_t i = 0; i < p->keys && count != 0; i++) {
        if (g->who[i] != part) {
            continue;
        }
        const struct span *arg = &q->argv[1 + i * p->step];
        encode_key(b, g->db, arg[0]);
        if (p->step == 2) {
            encode_arg(b, arg[1]);
        }
        count--;
    }
}

static enum compose compose_of(enum kind kind)
{
    if (kind == KIND_MGET) {
        return COMPOSE_ELEMENTS;
    }
    return kind == KIND_MSET ? COMPOSE_OK : COMPOSE_SUM;
}

/* Some of the keys are hot: each key on its own, the hot ones through their core. */
static enum taken split_each(struct client *c, const struct admitted *a, const struct conn_req *q,
                             enum kind kind, struct plan p)
{
    enum taken taken = TAKEN;
    p.how &= ~(unsigned)TARGET_MANY;
    if (c->head != NULL) { /* in program order with what is under way */
        c->stalled = true;
        c->pw->stats.stalls++;
        return STALLED;
    }
    if (!all_ready(c, a, q, &p, &taken)) {
        return taken;
    }
    const struct cmd *one = kind == KIND_MSET ? cmd_find(SPAN_LIT("set")) : a->cmd;
    struct gather *g = gather_open(c, a, q, compose_of(kind), p.keys, 0);
    for (uint32_t i = 0; i < p.keys; i++) {
        struct span argv[3] = {span_str(one->name), q->argv[1 + i * p.step], span_of(NULL, 0)};
        if (p.step == 2) {
            argv[2] = q->argv[2 + i * p.step];
        }
        if (hot_give_part(g, one, argv, 1 + p.step)) {
            continue;
        }
        struct target t;
        unsigned slot = slot_of(argv[1]);
        if (!target_find(c, route_slot(c->pw->route, slot), slot, p.how, &t)) {
            gather_part_failed(gather_add(g), SPAN_LIT("TRYAGAIN a node of this command is busy; "
                                                       "other parts of it may have been done"));
            continue;
        }
        int at = 1;
        encode_request(shard_begin(t.l), g->db, argv, 1 + p.step, &at, 1);
        gather_send(g, &t);
    }
    c->pw->stats.split++;
    gather_opened(g);
    return TAKEN;
}

/* The last part: so many elements, which are here already. */
static void add_local(struct gather *g, struct hold *elements, uint32_t count)
{
    struct proxy_worker *pw = g->pw;
    if (count != 0) {
        struct hold *reply = hold_take(pw);
        resp_array(&(struct resp_out){&reply->b, g->owner->proto}, count);
        buf_add(&reply->b, buf_head(&elements->b), buf_used(&elements->b));
        gather_part(gather_add(g), buf_span(&reply->b));
        hold_give(pw, reply);
    }
    hold_give(pw, elements);
}

enum taken split(struct client *c, const struct admitted *a, const struct conn_req *q,
                 enum kind kind)
{
    struct proxy_worker *pw = c->pw;
    struct plan p = {.step = kind == KIND_MSET ? 2 : 1, .how = TARGET_MANY};
    p.how |= (a->cmd->flags & CMD_WRITE) != 0 ? TARGET_WRITE : TARGET_READ;
    if ((q->argc - 1) % p.step != 0) {
        return answer_error(c, a, (int)q->argc, "ERR wrong number of arguments for 'mset' command");
    }
    p.keys = (q->argc - 1) / p.step;
    if ((p.how & TARGET_WRITE) != 0 && hot_concerns(c) && hot_knows_any(c, q, p.step)) {
        return split_each(c, a, q, kind, p);
    }
    bool hot =
        kind == KIND_MGET && c->head == NULL && hot_concerns(c) && hot_knows_any(c, q, p.step);
    unsigned first = route_slot(pw->route, slot_of(q->argv[1]));
    bool several = hot;
    for (uint32_t i = 1; i < p.keys && !several; i++) {
        several = route_slot(pw->route, slot_of(q->argv[1 + i * p.step])) != first;
    }
    enum taken taken = TAKEN;
    if (!several) {
        return forward_together(c, a, q, first, p.step);
    }
    if (!all_ready(c, a, q, &p, &taken)) {
        return taken;
    }
    uint32_t partitions = pw->route->partitions;
    struct gather *g = gather_open(c, a, q, compose_of(kind), partitions + 1, p.keys);
    struct hold *local = hot ? hold_take(pw) : NULL; /* the elements that the cache has */
    uint32_t locals = 0;
    /* partition of each key, then the number of its part */
    uint32_t *count = pw->partition_keys;
    memset(count, 0, partitions * sizeof *count);
    for (uint32_t i = 0; i < p.keys; i++) {
        unsigned slot = slot_of(q->argv[1 + i * p.step]);
        unsigned e = route_slot(pw->route, slot);
        if (hot && hot_element(c, q->argv[1 + i], &local->b)) {
            g->who[i] = NO_PART;
            locals++;
            continue;
        }
        g->who[i] = (uint16_t)e;
        if (count[e]++ == 0) {
            pw->partition_slot[e] = (uint16_t)slot;
        }
    }
    uint16_t *part = pw->partition_part;
    uint16_t parts = 0;
    for (uint32_t e = 0; e < partitions; e++) {
        part[e] = count[e] != 0 ? parts++ : NO_PART;
    }
    for (uint32_t i = 0; i < p.keys; i++) {
        g->who[i] = g->who[i] == NO_PART ? parts : part[g->who[i]];
    }
    for (uint32_t e = 0; e < partitions; e++) {
        if (part[e] != NO_PART) {
            struct target t;
            target_find(c, e, pw->partition_slot[e], p.how, &t);
            encode_part(shard_begin(t.l), q, &p, g, part[e], count[e]);
            gather_send(g, &t);
        }
    }
    if (local != NULL) {
        add_local(g, local, locals);
    }
    pw->stats.split++;
    gather_opened(g);
    return TAKEN;
}
