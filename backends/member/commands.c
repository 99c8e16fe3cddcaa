/* Operators' commands. They are carried out by worker 0, one after the other; the reply goes back
 * to the worker that has the session. */
#include "backends/member/commands.h"

#include <string.h>
#include <sys/random.h>

#include "common/clustermap.h"
#include "common/mem.h"
#include "common/must.h"
#include "common/num.h"

enum what { WHAT_MEMBERS, WHAT_CHANGE };

/* A process of the map: by id, or by its address. */
struct who {
    uint32_t id; /* 0: by address */
    struct map_address at;
};

struct command {
    struct command *next;
    struct membership *m;
    struct later later;
    enum what what;
    struct member_change change;
    struct who leaves, other;
    struct buf out; /* the reply, whole */
    /* MEMBERS */
    unsigned answers;
    struct acceptor_status *status[MAP_ACCEPTORS_MAX]; /* NULL: no answer */
    char reason[MAP_ACCEPTORS_MAX][96];
};

/* Of this process; worker 0's. */
static struct {
    struct command *first, **last;
    struct membership_operator hooks;
} queue = {.last = &queue.first};

/* ---- parsing ---- */

bool membership_is_command(const struct span *argv, int argc)
{
    return argc >= 2 && (span_is(argv[1], "members") || span_is(argv[1], "join") ||
                         span_is(argv[1], "leave") || span_is(argv[1], "replace"));
}

static bool parse_address(struct span text, struct map_address *at)
{
    char host[CLUSTER_HOST_MAX];
    return cluster_parse_endpoint(text, host, &at->port) == OK &&
           map_text_set(at->host, host, strlen(host));
}

static bool parse_who(struct span text, struct who *out)
{
    uint64_t id = 0;
    if (num_parse_u64(text, &id)) {
        out->id = (uint32_t)id;
        return id != 0 && id <= UINT32_MAX;
    }
    out->id = 0;
    return parse_address(text, &out->at);
}

/* NULL, or what is wrong. */
static const char *parse(struct command *c, const struct span *argv, int argc)
{
    if (span_is(argv[1], "members")) {
        c->what = WHAT_MEMBERS;
        return argc == 2 ? NULL : "ERR HALCYON MEMBERS takes nothing more";
    }
    c->what = WHAT_CHANGE;
    if (span_is(argv[1], "join")) {
        c->change.kind = MEMBER_CHANGE_JOIN;
        bool ok = argc == 4 && parse_address(argv[2], &c->change.at) &&
                  map_text_set(c->change.group, argv[3].p, argv[3].len);
        return ok ? NULL : "ERR HALCYON JOIN takes host:port of a spare, and a shard";
    }
    if (span_is(argv[1], "leave")) {
        bool force = argc == 4 && span_is(argv[3], "force");
        c->change.kind = force ? MEMBER_CHANGE_FORCE : MEMBER_CHANGE_LEAVE;
        bool ok = (argc == 3 || force) && parse_who(argv[2], &c->leaves);
        return ok ? NULL : "ERR HALCYON LEAVE takes an id or host:port, and perhaps FORCE";
    }
    c->change.kind = MEMBER_CHANGE_REPLACE;
    bool ok = argc == 5 && span_is(argv[3], "with") && parse_who(argv[2], &c->leaves) &&
              parse_who(argv[4], &c->other);
    return ok ? NULL : "ERR HALCYON REPLACE takes id or host:port, WITH, id or host:port";
}

/* ---- replies ---- */

static struct resp_out reply_of(struct command *c)
{
    return (struct resp_out){&c->out, c->later.proto};
}

/* In the session's worker. */
static void give(void *arg)
{
    struct command *c = arg;
    later_reply(&c->later, buf_span(&c->out));
    for (unsigned i = 0; i < MAP_ACCEPTORS_MAX; i++) {
        mem_free(c->status[i]);
    }
    buf_free(&c->out);
    mem_free(c);
}

static void start_first(void);

static void finish(struct command *c)
{
    must(queue.first == c);
    queue.first = c->next;
    if (queue.first == NULL) {
        queue.last = &queue.first;
    }
    loop_post(c->later.w->loop, give, c);
    start_first();
}

static void answer_reason(struct command *c, enum member_reason reason)
{
    struct resp_out out = reply_of(c);
    if (reason == MEMBER_DONE) {
        resp_ok(&out);
    } else if (reason == MEMBER_PENDING) {
        resp_error(&out,
                   "ERR the acceptors could not decide in time; it may still happen: see HALCYON "
                   "MEMBERS");
    } else {
        resp_errorf(&out, "ERR %s", member_reason_text(reason));
    }
    finish(c);
}

/* ---- MEMBERS ---- */

static uint32_t heard_ms(const struct command *c, uint32_t id)
{
    uint32_t least = UINT32_MAX;
    for (unsigned i = 0; i < MAP_ACCEPTORS_MAX; i++) {
        const struct acceptor_status *s = c->status[i];
        for (unsigned k = 0; s != NULL && k < s->count; k++) {
            if (s->node[k].id == id && s->node[k].silent_ms < least) {
                least = s->node[k].silent_ms;
            }
        }
    }
    return least;
}

static void add_node(struct command *c, struct buf *b, const struct map_node *n)
{
    buf_addf(b, "  node %u ", n->id);
    cluster_add_endpoint(b, n->at.host, n->at.port);
    buf_add_str(b, (n->flags & MAP_MEMBER) != 0 ? " member" : " learner");
    uint32_t ms = heard_ms(c, n->id);
    if (ms == UINT32_MAX) {
        buf_add_str(b, " heard never\n");
    } else {
        buf_addf(b, " heard %u ms ago\n", ms);
    }
}

static void add_slots(struct buf *b, const struct member_map *m, uint16_t group)
{
    bool any = false;
    for (unsigned i = 0; i < m->range_count; i++) {
        if (m->ranges[i].group == group) {
            unsigned end = i + 1 < m->range_count ? m->ranges[i + 1].first : MAP_SLOTS;
            buf_addf(b, "%s%u-%u", any ? "," : " slots ", m->ranges[i].first, end - 1);
            any = true;
        }
    }
}

static void describe(struct command *c)
{
    const struct member_provider *p = membership_provider(c->m);
    const struct member_map *m = p->ops->map(p);
    struct buf b = {0};
    buf_addf(&b, "map version %llu\n", (unsigned long long)m->version);
    for (unsigned i = 0; i < m->acceptor_count; i++) {
        const struct acceptor_status *s = c->status[i];
        buf_addf(&b, "acceptor %u ", i + 1);
        cluster_add_endpoint(&b, m->acceptors[i].host, m->acceptors[i].port);
        if (s == NULL) {
            buf_addf(&b, " away: %s\n", c->reason[i]);
        } else {
            buf_addf(&b, " version %llu%s\n", (unsigned long long)s->version,
                     s->votes ? "" : " does not vote: its state file cannot be written");
        }
    }
    for (uint16_t g = 0; g < m->group_count; g++) {
        buf_addf(&b, "group %s epoch %llu", m->groups[g].name,
                 (unsigned long long)m->groups[g].epoch);
        add_slots(&b, m, g);
        buf_add(&b, "\n", 1);
        for (unsigned i = 0; i < m->node_count; i++) {
            if (m->nodes[i].group == g) {
                add_node(c, &b, &m->nodes[i]);
            }
        }
    }
    struct resp_out out = reply_of(c);
    resp_verbatim(&out, "txt", buf_head(&b), buf_used(&b));
    buf_free(&b);
    finish(c);
}

static void on_status(void *arg, unsigned acceptor, const struct acceptor_status *status,
                      const char *reason)
{
    (void)arg;
    struct command *c = queue.first;
    if (c == NULL || c->what != WHAT_MEMBERS || acceptor >= MAP_ACCEPTORS_MAX) {
        return;
    }
    if (status != NULL) {
        c->status[acceptor] = mem_alloc(sizeof *status);
        *c->status[acceptor] = *status;
    } else {
        strncpy(c->reason[acceptor], reason, sizeof c->reason[acceptor] - 1);
    }
    const struct member_provider *p = membership_provider(c->m);
    if (++c->answers == p->ops->map(p)->acceptor_count) {
        describe(c);
    }
}

static void on_result(void *arg, uint64_t nonce, enum member_reason reason)
{
    (void)arg;
    struct command *c = queue.first;
    if (c != NULL && c->what == WHAT_CHANGE && c->change.nonce == nonce) {
        answer_reason(c, reason);
    }
}

/* ---- carrying out ---- */

static bool find(const struct member_map *m, const struct who *who, uint32_t *id)
{
    const struct map_node *n = who->id != 0 ? map_by_id(m, who->id) : map_by_address(m, &who->at);
    *id = n != NULL ? n->id : 0;
    return n != NULL;
}

static void start_first(void)
{
    struct command *c = queue.first;
    if (c == NULL) {
        return;
    }
    struct member_provider *p = membership_provider(c->m);
    const struct member_map *map = p->ops->map(p);
    if (c->what == WHAT_MEMBERS) {
        if (p->ops->ask_status(p) != OK) {
            describe(c);
        }
        return;
    }
    bool known = c->change.kind == MEMBER_CHANGE_JOIN || find(map, &c->leaves, &c->change.id);
    if (known && c->change.kind == MEMBER_CHANGE_REPLACE) {
        known = find(map, &c->other, &c->change.other);
    }
    while (c->change.nonce == 0) {
        must(getrandom(&c->change.nonce, sizeof c->change.nonce, 0) ==
             (ssize_t)sizeof c->change.nonce);
    }
    if (!known) {
        answer_reason(c, MEMBER_NO_NODE);
    } else if (p->ops->change(p, &c->change) != OK) {
        answer_reason(c, MEMBER_PENDING);
    }
}

/* In worker 0's thread. */
static void take(void *arg)
{
    struct command *c = arg;
    queue.hooks = (struct membership_operator){.result = on_result, .status = on_status};
    membership_set_operator(c->m, &queue.hooks);
    bool idle = queue.first == NULL;
    *queue.last = c;
    queue.last = &c->next;
    if (idle) {
        start_first();
    }
}

bool membership_command(struct membership *m, struct session *s, const struct admitted *a,
                        const struct span *argv, int argc, struct resp_out *out, uint64_t token)
{
    if (m == NULL) {
        resp_error(out, "ERR this cluster has no membership service (`membership builtin`)");
        return false;
    }
    struct command *c = mem_zalloc(sizeof *c);
    const char *wrong = parse(c, argv, argc);
    if (wrong != NULL) {
        resp_error(out, wrong);
        mem_free(c);
        return false;
    }
    c->m = m;
    c->later = later_begin(s, a, out, token);
    loop_post(server_worker(s->w->server, 0)->loop, take, c);
    return true;
}
