/* Commands over the whole key space: every partition is asked, or, for SCAN, one after the
 * other. Each is told the database ("HALCYON DB n command ..."). */
#include "common/must.h"
#include "common/num.h"
#include "proxy/gather.h"

static struct shard_link *link_to(const struct client *c, unsigned partition)
{
    return shard_link(c->pw->pool, route_partition(c->pw->route, partition), c->s.c.proto);
}

static bool all_ready(struct client *c, const struct admitted *a, const struct conn_req *q,
                      enum taken *taken)
{
    for (unsigned p = 0; p < c->pw->route->partitions; p++) {
        struct shard_link *l = link_to(c, p);
        const char *why = shard_down(l);
        if (why != NULL) {
            *taken = answer_down(c, a, (int)q->argc, why);
            return false;
        }
        if (shard_full(l)) {
            *taken = stall_on(c, l);
            return false;
        }
    }
    return true;
}

static enum taken ask_all(struct client *c, const struct admitted *a, const struct conn_req *q,
                          enum compose compose, const struct span *argv, uint32_t argc)
{
    bool plain = compose == COMPOSE_OK && span_is(argv[0], "flushall"); /* every database */
    enum taken taken = TAKEN;
    if (!all_ready(c, a, q, &taken)) {
        return taken;
    }
    unsigned partitions = c->pw->route->partitions;
    struct gather *g = gather_open(c, a, q, compose, partitions, 0);
    for (unsigned p = 0; p < partitions; p++) {
        struct shard_link *l = link_to(c, p);
        struct buf *b = shard_begin(l);
        if (plain) {
            encode_request(b, 0, argv, argc, NULL, 0);
        } else {
            encode_keyspace(b, c->s.db, argv, argc);
        }
        gather_send(g, l);
    }
    c->pw->stats.fanned++;
    gather_opened(g);
    return TAKEN;
}

static enum taken scan(struct client *c, const struct admitted *a, const struct conn_req *q)
{
    uint64_t cursor = 0;
    if (!num_parse_u64(q->argv[1], &cursor)) {
        return answer_error(c, a, (int)q->argc, "ERR invalid cursor");
    }
    /* a cursor of another configuration: as if it had come to the end; the options are still
     * checked */
    unsigned partition = cursor_partition(cursor);
    bool over = partition >= c->pw->route->partitions;
    struct shard_link *l = link_to(c, over ? 0 : partition);
    const char *why = shard_down(l);
    if (why != NULL) {
        return answer_down(c, a, (int)q->argc, why);
    }
    if (shard_full(l)) {
        return stall_on(c, l);
    }
    struct gather *g = gather_open(c, a, q, COMPOSE_SCAN, 1, 0);
    g->partition = partition;
    char text[NUM_I64_MAX];
    struct buf *b = shard_begin(l);
    encode_header(b, q->argc + 3);
    encode_arg(b, SPAN_LIT("HALCYON"));
    encode_arg(b, SPAN_LIT("DB"));
    encode_arg(b, span_of(text, num_fmt_u64(text, c->s.db)));
    encode_arg(b, q->argv[0]);
    encode_arg(b, span_of(text, num_fmt_u64(text, over ? 0 : cursor_node(cursor))));
    for (uint32_t i = 2; i < q->argc; i++) {
        encode_arg(b, q->argv[i]);
    }
    gather_send(g, l);
    c->pw->stats.fanned++;
    gather_opened(g);
    return TAKEN;
}

enum taken fanout(struct client *c, const struct admitted *a, const struct conn_req *q,
                  enum kind kind)
{
    static const struct span dbsize = {"DBSIZE", 6};
    switch (kind) {
    case KIND_SCAN:
        return scan(c, a, q);
    case KIND_KEYSPACE_SUM:
        return ask_all(c, a, q, COMPOSE_SUM, q->argv, q->argc);
    case KIND_KEYSPACE_CONCAT:
        return ask_all(c, a, q, COMPOSE_CONCAT, q->argv, q->argc);
    case KIND_KEYSPACE_OK:
    case KIND_FLUSHALL:
        return ask_all(c, a, q, COMPOSE_OK, q->argv, q->argc);
    case KIND_RANDOMKEY:
        return ask_all(c, a, q, COMPOSE_RANDOMKEY, &dbsize, 1);
    case KIND_KEY:
    case KIND_KEYS:
    case KIND_MGET:
    case KIND_MSET:
    case KIND_SUM:
    case KIND_COPY:
    case KIND_SLOT:
    case KIND_ANY:
    case KIND_REFUSED:
    case KIND_COUNT:
        break;
    }
    unreachable();
}
