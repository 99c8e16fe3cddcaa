/* Commands over the whole key space: every partition is asked, or, for SCAN, one after the
 * other. Each is told the database ("HALCYON DB n command ..."). */
#include "common/must.h"
#include "common/num.h"
#include "proxy/gather.h"
#include "proxy/lane.h"

static bool find(struct client *c, const struct admitted *a, unsigned partition, struct target *t)
{
    bool write = (a->cmd->flags & CMD_WRITE) != 0;
    return target_find(c, partition, partition, TARGET_MANY | (write ? TARGET_WRITE : TARGET_LONG),
                       t);
}

static bool all_ready(struct client *c, const struct admitted *a, const struct conn_req *q,
                      enum taken *taken)
{
    for (unsigned p = 0; p < c->pw->route->partitions; p++) {
        struct target t;
        if (!find(c, a, p, &t)) {
            *taken = target_refused(c, a, (int)q->argc, &t);
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
        struct target t;
        find(c, a, p, &t);
        struct buf *b = shard_begin(t.l);
        if (plain) {
            encode_request(b, 0, argv, argc, NULL, 0);
        } else {
            encode_keyspace(b, c->s.db, argv, argc);
        }
        gather_send(g, &t);
    }
    c->pw->stats.fanned++;
    gather_opened(g);
    return TAKEN;
}

/* Where a scan goes on: a position is one in the order of the replica that gave it. If that one is
 * away another starts from the beginning: keys may be seen twice, none is missed. */
static bool find_position(struct client *c, const struct admitted *a, unsigned partition,
                          unsigned replica_tag, uint64_t *position, struct target *t)
{
    if (c->pw->route->many && *position != 0) {
        bool away;
        bool ok = lane_target_replica(c, partition, replica_tag, t, &away);
        if (!away) {
            return ok;
        }
        *position = 0;
    }
    return find(c, a, partition, t);
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
    uint64_t position = over ? 0 : cursor_node(cursor);
    struct target t;
    if (!find_position(c, a, over ? 0 : partition, cursor_replica(cursor), &position, &t)) {
        return target_refused(c, a, (int)q->argc, &t);
    }
    struct gather *g = gather_open(c, a, q, COMPOSE_SCAN, 1, 0);
    g->partition = partition;
    char text[NUM_I64_MAX];
    struct buf *b = shard_begin(t.l);
    encode_header(b, q->argc + 3);
    encode_arg(b, SPAN_LIT("HALCYON"));
    encode_arg(b, SPAN_LIT("DB"));
    encode_arg(b, span_of(text, num_fmt_u64(text, c->s.db)));
    encode_arg(b, q->argv[0]);
    encode_arg(b, span_of(text, num_fmt_u64(text, position)));
    for (uint32_t i = 2; i < q->argc; i++) {
        encode_arg(b, q->argv[i]);
    }
    gather_send(g, &t)->pinned = position != 0;
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
    case KIND_EXEC:
    case KIND_WATCH:
    case KIND_REFUSED:
    case KIND_COUNT:
        break;
    }
    unreachable();
}
