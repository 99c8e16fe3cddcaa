/* Gathers: collecting the replies of parts. */
#include "proxy/gather.h"

#include "common/mem.h"
#include "common/must.h"
#include "common/num.h"
#include "proxy/lane.h"

struct gather *gather_open(struct client *c, const struct admitted *a, const struct conn_req *q,
                           enum compose compose, uint32_t parts, uint32_t keys)
{
    struct proxy_worker *pw = c->pw;
    struct gather *g = pw->free_gathers;
    if (g != NULL) {
        pw->free_gathers = g->next;
    } else {
        g = mem_zalloc(sizeof *g);
        g->pw = pw;
    }
    if (g->part_cap < parts) {
        g->part_cap = parts;
        g->part = mem_realloc(g->part, parts * sizeof(struct call *));
        g->value = mem_realloc(g->value, parts * sizeof g->value[0]);
    }
    if (g->keys_cap < keys) {
        g->keys_cap = keys;
        g->who = mem_realloc(g->who, keys * sizeof g->who[0]);
    }
    g->owner = call_open(c, a, (int)q->argc);
    g->compose = (uint8_t)compose;
    g->db = c->s.db;
    g->parts = 0;
    g->left = 1; /* of gather_opened */
    g->keys = keys;
    return g;
}

#define KEYS_KEPT 4096u

static void gather_close(struct gather *g)
{
    for (uint32_t i = 0; i < g->parts; i++) {
        part_close(g->pw, g->part[i]);
    }
    buf_free(&g->error);
    buf_free(&g->request);
    if (g->keys_cap > KEYS_KEPT) {
        mem_free(g->who);
        g->who = NULL;
        g->keys_cap = 0;
    }
    g->owner = NULL;
    g->next = g->pw->free_gathers;
    g->pw->free_gathers = g;
}

void gather_free_pool(struct proxy_worker *pw)
{
    while (pw->free_gathers != NULL) {
        struct gather *g = pw->free_gathers;
        pw->free_gathers = g->next;
        mem_free(g->part);
        mem_free(g->value);
        mem_free(g->who);
        mem_free(g);
    }
}

struct call *gather_add(struct gather *g)
{
    must(g->parts < g->part_cap);
    struct call *k = part_open(g->pw, g, g->parts, g->owner->proto);
    g->part[g->parts] = k;
    g->value[g->parts++] = 0;
    g->left++;
    return k;
}

struct call *gather_send(struct gather *g, const struct target *t)
{
    struct call *k = gather_add(g);
    target_commit(t, k);
    return k;
}

static struct span part_reply(const struct gather *g, uint32_t i)
{
    const struct hold *h = g->part[i]->hold;
    return h == NULL ? span_of("", 0) : buf_span(&h->b);
}

/* The partitions' key counts are known: asks one of them, chosen by its share of the keys. True: a
 * part was sent. */
static bool ask_for_key(struct gather *g)
{
    struct proxy_worker *pw = g->pw;
    uint64_t total = 0;
    for (uint32_t i = 0; i < g->parts; i++) {
        total += g->value[i];
    }
    if (total == 0) {
        return false;
    }
    pw->random = pw->random * 6364136223846793005u + 1442695040888963407u;
    uint64_t at = (pw->random >> 16) % total;
    unsigned p = 0;
    while (at >= g->value[p]) {
        at -= g->value[p++];
    }
    struct client *c = g->owner->c;
    struct target t;
    if (!pw->route->many || c == NULL || !lane_target(c, p, p, TARGET_MANY | TARGET_LONG, &t)) {
        t = (struct target){.l = lane_any(pw, p, g->owner->proto)};
    }
    const char *why = t.l != NULL ? shard_down(t.l) : "no replica of the shard is known";
    if (why != NULL) {
        lost_text(SHARD_FAILED, span_str(why), &g->error);
        return false;
    }
    for (uint32_t i = 0; i < g->parts; i++) {
        part_close(pw, g->part[i]);
    }
    g->parts = 0;
    g->compose = COMPOSE_AS_IS;
    static const struct span randomkey = {"RANDOMKEY", 9};
    encode_keyspace(shard_begin(t.l), g->db, &randomkey, 1);
    gather_send(g, &t);
    return true;
}

/* Composes from the parts' replies. False: a node's reply has not the right shape. */
static bool compose(struct gather *g, struct resp_out *out)
{
    struct span few[16];
    struct span *replies = g->parts <= 16 ? few : mem_alloc(g->parts * sizeof *replies);
    for (uint32_t i = 0; i < g->parts; i++) {
        replies[i] = part_reply(g, i);
    }
    bool ok = true;
    uint64_t sum = 0;
    switch ((enum compose)g->compose) {
    case COMPOSE_SUM:
        for (uint32_t i = 0; i < g->parts; i++) {
            sum += g->value[i];
        }
        resp_int(out, (int64_t)sum);
        break;
    case COMPOSE_OK:
        resp_ok(out);
        break;
    case COMPOSE_CONCAT:
        ok = compose_concat(out->b, replies, g->parts);
        break;
    case COMPOSE_ELEMENTS:
        ok = compose_elements(out->b, replies, g->parts, g->who, g->keys);
        break;
    case COMPOSE_SCAN:
        /* NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): there is at least one part */
        ok = compose_scan(out->b, replies[0],
                          &(struct scan_at){g->partition, g->pw->route->partitions,
                                            g->pw->route->many ? g->part[0]->replica : 0});
        break;
    case COMPOSE_RANDOMKEY: /* all empty */
        resp_null(out);
        break;
    case COMPOSE_INFO: /* not composed */
        break;
    case COMPOSE_AS_IS:
        /* NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): there is at least one part */
        buf_add(out->b, replies[0].p, replies[0].len);
        break;
    }
    if (replies != few) {
        mem_free(replies);
    }
    return ok;
}

static void part_ended(struct gather *g)
{
    if (--g->left != 0) {
        return;
    }
    bool failed = buf_used(&g->error) != 0;
    if (!failed && g->compose == COMPOSE_RANDOMKEY && ask_for_key(g)) {
        return;
    }
    struct call *owner = g->owner;
    if (g->compose == COMPOSE_INFO && owner->c != NULL) {
        info_collected(g);
        gather_close(g);
        return;
    }
    if (owner->c != NULL) {
        size_t mark = 0;
        struct resp_out *out = call_answer_begin(owner, &mark);
        if (buf_used(&g->error) != 0) {
            resp_errorf(out, "%.*s", (int)buf_used(&g->error), buf_head(&g->error));
        } else if (!compose(g, out)) {
            resp_error(out, "ERR a node's reply does not have the expected form");
        }
        call_answered(owner, mark, span_of(NULL, 0));
    } else {
        call_answered(owner, 0, span_of(NULL, 0));
    }
    gather_close(g);
}

void gather_opened(struct gather *g)
{
    part_ended(g);
}

void gather_part(struct call *k, struct span reply)
{
    struct gather *g = k->g;
    if (reply.len == 0) {
        gather_part_failed(k, SPAN_LIT("ERR the node sent an empty reply"));
        return;
    }
    if (reply.p[0] == '-') {
        size_t n = reply.len - 1;
        while (n != 0 && (reply.p[n] == '\r' || reply.p[n] == '\n')) {
            n--;
        }
        gather_part_failed(k, span_of(reply.p + 1, n));
        return;
    }
    if (g->compose == COMPOSE_SUM || g->compose == COMPOSE_RANDOMKEY) {
        int64_t v = 0;
        if (reply.p[0] != ':' || reply.len < 4 ||
            !num_parse_i64(span_of(reply.p + 1, reply.len - 3), &v)) {
            gather_part_failed(k, SPAN_LIT("ERR a node's reply does not have the expected form"));
            return;
        }
        g->value[k->part] = (uint64_t)v;
    } else if (g->compose != COMPOSE_OK && g->owner->c != NULL) {
        k->hold = hold_take(k->pw);
        buf_add(&k->hold->b, reply.p, reply.len);
    }
    part_ended(g);
}

void gather_part_failed(struct call *k, struct span text)
{
    struct gather *g = k->g;
    if (buf_used(&g->error) == 0) {
        buf_add(&g->error, text.p, text.len);
    }
    part_ended(g);
}
