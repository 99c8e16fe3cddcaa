/* Life of a worker's replica: the core's block, its steps, what comes out of them, and the peers.
 *
 * A step never nests: what the outbox asks for (replies, sends) is carried out after it, and
 * anything that wants another step from there (the next slice of a flush, a request served anew)
 * takes it through the end of the turn. */
#include "backends/node/replica.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "backends/node/replica_private.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/must.h"

#define HELD_MAX 4096u       /* frames of an epoch that is not installed yet */
#define RESEND_NS 100000000u /* TCP loses nothing while a connection lives */
#define REPLAY_NS 250000000u
/* The core gives own operations 1 / (2 * nodes) of its records: 2,048 (OPEN_MAX) with up to 8
 * nodes. */
#define RECORDS_MAX 32768u
#define OPS_MAX 8192u

/* ---- sending ---- */

static void count_sent(struct replica *r, enum msg_kind kind)
{
    if (kind == MSG_HERMES_INV || kind == MSG_HERMES_MULTI) {
        r->counts.inv_sent++;
    } else if (kind == MSG_HERMES_ACK) {
        r->counts.ack_sent++;
    } else if (kind == MSG_HERMES_VAL) {
        r->counts.val_sent++;
    } else {
        r->counts.other_sent++;
    }
}

/* VALUE and PULL_VALUE carry the store's value as it is now: expiry, then the encoding; nothing for
 * a tombstone. */
static void encode_value(struct replica *r, const struct hermes_key *key, struct buf *out)
{
    const struct entry *e = store_find(r->nw->store, blob_span(ref_blob(key->ref)));
    if (e != NULL) {
        uint64_t expire_ms = entry_expire_ms(e);
        buf_add(out, &expire_ms, sizeof expire_ms);
        value_encode(e, out);
    }
}

static void send_out(struct replica *r, const struct hermes_out *o)
{
    const struct hermes_msg *m = &o->u.msg;
    struct msg_bytes b = {0};
    struct buf value = {0};
    if (m->key.ref.handle != 0) {
        b.key = (const uint8_t *)ref_blob(m->key.ref)->bytes;
        b.key_len = m->key.ref.len;
    }
    if (m->payload.handle != 0) {
        b.payload = (const uint8_t *)ref_blob(m->payload)->bytes;
        b.payload_len = m->payload.len;
    } else if (m->kind == MSG_HERMES_VALUE || m->kind == MSG_HERMES_PULL_VALUE) {
        encode_value(r, &m->key, &value);
        b.payload = (const uint8_t *)buf_head(&value);
        b.payload_len = (uint32_t)buf_used(&value);
    }
    struct msg_key *part_keys = NULL;
    if (m->part_count != 0) {
        part_keys = mem_alloc(m->part_count * sizeof *part_keys);
        for (uint32_t i = 0; i < m->part_count; i++) {
            const struct blob *key = ref_blob(m->parts[i].key.ref);
            part_keys[i] = (struct msg_key){(const uint8_t *)key->bytes, key->len};
        }
        b.part_keys = part_keys;
    }
    size_t size = msg_size(m, &b);
    buf_consume(&r->frame, buf_used(&r->frame));
    uint8_t *at = (uint8_t *)buf_reserve(&r->frame, size);
    size_t len = msg_encode(m, &b, at, size);
    const struct view *v = hermes_view(r->core);
    unsigned flags = m->kind == MSG_HERMES_ACK ? TRANSPORT_ACK : 0;
    for (unsigned i = 0; i < view_count(v); i++) {
        if ((o->to_mask >> i & 1) != 0 && v->ids[i] != r->id && m->kind == MSG_HERMES_PULL) {
            replica_transfer_pull(r, v->ids[i], span_of((const char *)at, len));
        } else if ((o->to_mask >> i & 1) != 0 && v->ids[i] != r->id) {
            /* Not connected or full: as if lost, the core sends again. */
            if (transport_send(r->transport, v->ids[i], flags, at, len) == OK) {
                count_sent(r, m->kind);
            }
        }
    }
    mem_free(part_keys);
    buf_free(&value);
    buf_trim(&r->frame, 1u << 20);
}

/* ---- steps ---- */

static void on_retime(struct loop_task *task)
{
    struct replica *r = (struct replica *)(void *)((char *)task - offsetof(struct replica, retime));
    uint64_t at = r->core != NULL ? hermes_next_deadline(r->core) : UINT64_MAX;
    if (at == UINT64_MAX) {
        loop_timer_stop(r->timer);
        return;
    }
    uint64_t now = clk_boot_ns();
    loop_timer_start(r->timer, at > now ? (at - now) / 1000u + 1u : 1u);
}

enum err replica_step(struct replica *r, struct hermes_in *in)
{
    must(!r->stepping);
    if (r->core == NULL) {
        return ERR_CLOSED; /* between two incarnations */
    }
    if (r->membership != NULL) {
        membership_tick(r->membership, r->nw->w, in->now_ns);
        replica_take_lease(r);
    }
    r->stepping = true;
    r->now_ns = in->now_ns > r->now_ns ? in->now_ns : r->now_ns;
    in->now_ns = r->now_ns;
    r->out.count = 0;
    enum err e = hermes_step(r->core, in, &r->out);
    for (uint32_t i = 0; i < r->out.count; i++) {
        const struct hermes_out *o = &r->out.out[i];
        switch (o->kind) {
        case HERMES_OUT_SEND:
            send_out(r, o);
            break;
        case HERMES_OUT_DONE:
            replica_op_done(r, &o->u.done);
            break;
        case HERMES_OUT_CAUGHT_UP:
            replica_transfer_end(r);
            break;
        }
    }
    blobs_release(r);
    r->stepping = false;
    loop_defer(r->nw->w->loop, &r->retime);
    return e;
}

static void on_timer(void *arg)
{
    struct replica *r = arg;
    if (r->core != NULL) {
        struct hermes_in in = {
            .kind = HERMES_IN_TIMER, .now_ns = clk_boot_ns(), .wall_ms = clk_wall_ms()};
        (void)replica_step(r, &in);
    }
}

/* ---- receiving ---- */

static void hold_frame(struct replica *r, const void *bytes, size_t len)
{
    if (r->held_count >= HELD_MAX) {
        return; /* as if lost */
    }
    struct held_frame *f = mem_alloc(sizeof *f + len);
    f->next = NULL;
    f->len = (uint32_t)len;
    memcpy(f->bytes, bytes, len);
    *r->held_end = f;
    r->held_end = &f->next;
    r->held_count++;
}

/* The parts of an update of several keys, as the core wants them; the caller frees. NULL: none. */
static struct hermes_part *take_parts(struct replica *r, struct hermes_msg *m,
                                      const struct msg_bytes *b)
{
    if (m->part_count == 0) {
        return NULL;
    }
    struct hermes_part *parts = mem_alloc(m->part_count * sizeof *parts);
    const uint8_t *at = b->parts;
    for (uint32_t i = 0; i < m->part_count; i++) {
        struct msg_key key;
        msg_part_next(&at, &parts[i], &key);
        replica_key(r, &parts[i].key, blob_new(r, key.p, key.len));
    }
    m->parts = parts;
    return parts;
}

static bool take_frame(struct replica *r, const void *bytes, size_t len)
{
    struct hermes_msg m;
    struct msg_bytes b;
    if (msg_decode(bytes, len, &m, &b) != OK) {
        return false;
    }
    if (m.kind == MSG_HERMES_PULL_VALUE || m.kind == MSG_HERMES_PULL_INV ||
        m.kind == MSG_HERMES_PULL_MULTI) {
        replica_transfer_got(r, len);
    }
    if (b.key != NULL) {
        replica_key(r, &m.key, blob_new(r, b.key, b.key_len));
    }
    if (b.payload_len != 0) {
        m.payload = blob_ref(blob_new(r, b.payload, b.payload_len));
    }
    struct hermes_part *parts = take_parts(r, &m, &b);
    struct hermes_in in = {
        .kind = HERMES_IN_MSG, .now_ns = clk_boot_ns(), .wall_ms = clk_wall_ms(), .u.msg = &m};
    if (replica_step(r, &in) == ERR_AGAIN) {
        hold_frame(r, bytes, len);
    }
    mem_free(parts);
    return true;
}

void replica_release_held(struct replica *r)
{
    struct held_frame *f = r->held;
    r->held = NULL;
    r->held_end = &r->held;
    r->held_count = 0;
    while (f != NULL) {
        struct held_frame *next = f->next;
        (void)take_frame(r, f->bytes, f->len);
        mem_free(f);
        f = next;
    }
}

static void on_connected(void *arg, uint32_t peer, uint64_t conn, uint64_t peer_epoch)
{
    struct replica *r = arg;
    log_notice("Connected to replica %u (connection %llu, epoch %llu)", peer,
               (unsigned long long)conn, (unsigned long long)peer_epoch);
    replica_on_connected(r, peer);
    if (r->core != NULL) {
        struct hermes_in in = {.kind = HERMES_IN_PEER,
                               .now_ns = clk_boot_ns(),
                               .wall_ms = clk_wall_ms(),
                               .u.peer = peer};
        (void)replica_step(r, &in);
    }
}

static void on_message(void *arg, uint32_t peer, const void *bytes, size_t len)
{
    struct replica *r = arg;
    r->counts.messages_received++;
    bool ok = true;
    if (len != 0 && *(const uint8_t *)bytes == REPLICA_FRAME_BOOT) {
        ok = replica_on_boot(r, peer, span_of(bytes, len));
    } else if (r->core != NULL && replica_hears(r, peer)) {
        ok = take_frame(r, bytes, len);
    }
    if (!ok) {
        static struct log_limit limit;
        if (log_limited(&limit)) {
            log_warning("A malformed message of replica %u was dropped", peer);
        }
    }
}

static void on_disconnected(void *arg, uint32_t peer, uint64_t conn, const char *reason)
{
    (void)arg;
    log_notice("Lost replica %u (connection %llu): %s", peer, (unsigned long long)conn, reason);
}

/* ---- life ---- */

void replica_core_start(struct replica *r, uint32_t id, bool founder)
{
    struct hermes_limits limits = {.records = RECORDS_MAX,
                                   .ops = OPS_MAX,
                                   .slots = SLOT_COUNT,
                                   .resend_ns = RESEND_NS,
                                   .replay_ns = REPLAY_NS};
    (void)!getrandom(&limits.seed, sizeof limits.seed, 0);
    struct hermes_store store = replica_store(r);
    r->id = id;
    r->core_memory = mem_alloc(hermes_size(&limits));
    r->core = hermes_init(r->core_memory, &limits, &store, id, founder);
}

static const struct transport_events events = {
    .connected = on_connected, .message = on_message, .disconnected = on_disconnected};

enum err replica_open_transport(struct replica *r, const char *group, struct errmsg *why)
{
    const struct node *node = r->nw->node;
    const struct node_settings *set = r->nw->w->settings;
    struct transport_options o = {
        .loop = r->nw->w->loop,
        .self = {.cluster = set->member.cluster_name,
                 .group = group,
                 .member = r->id,
                 .worker = (uint16_t)r->nw->w->index,
                 .epoch = 1},
        .host = node->self.host,
        .port = (uint16_t)(node->self.port + set->peer_port_offset + (int64_t)r->nw->w->index),
        .events = &events,
        .arg = r};
    enum err e = peer_settings_apply(&set->peer, node->self.host, &o, why);
    return e == OK ? transport_new(&o, &r->transport, why) : e;
}

enum err replica_start(struct node_worker *nw, struct errmsg *why)
{
    struct replica *r = mem_zalloc(sizeof *r);
    const struct node_settings *set = nw->w->settings;
    r->nw = nw;
    nw->replica = r;
    r->held_end = &r->held;
    r->injected = set->member.membership == MEMBERSHIP_INJECTED;
    r->membership = nw->node->membership;
    r->retime.fn = on_retime;
    r->timer = loop_timer_new(nw->w->loop, on_timer, r);
    replica_transfer_start(r);
    resp_parser_init(&r->parser);
    struct store_options o = {.seed = {1, 2}};
    r->scratch = store_new(&o);
    if (getrandom(&r->boot, sizeof r->boot, 0) != (ssize_t)sizeof r->boot) {
        return errmsg_set(why, ERR_IO, "the system gives no random numbers");
    }
    r->boot |= 1; /* 0: not met */
    r->id = r->injected && set->incarnation_id != 0 ? (uint32_t)set->incarnation_id
                                                    : nw->node->self.replica + 1u;
    if (r->membership != NULL || set->witness) {
        return set->witness ? OK
                            : replica_view_start(r, why); /* who it is comes with the first view */
    }
    enum err e = replica_open_transport(r, nw->node->shard, why);
    return e == OK ? replica_view_start(r, why) : e;
}

/* An operation that never ended: nobody waits for its reply any more. */
static void abandon(struct replica *r, struct rop *op)
{
    struct reply_slot *slot = op->slot;
    if (op->gather != NULL) {
        slot = NULL;
        if (--op->gather->open == 0) {
            slot = op->gather->slot;
            buf_free(&op->gather->error);
            mem_free(op->gather);
        }
    }
    if (slot != NULL) {
        replies_done(r->nw, slot);
    }
    blob_drop(r, op->command);
    blob_drop(r, op->key);
    replica_tx_free(r, op);
}

/* Operations whose end the core never told. */
static void answer_rops(struct replica *r)
{
    for (struct rop *op = r->all_rops; op != NULL; op = op->all) {
        if (op->open) {
            struct hermes_done unknown = {.op = (uint64_t)(uintptr_t)op, .result = HERMES_UNKNOWN};
            replica_op_done(r, &unknown);
        }
    }
}

void replica_core_stop(struct replica *r, bool answer)
{
    transport_free(r->transport);
    r->transport = NULL;
    r->peer_count = 0;
    loop_timer_stop(r->timer);
    replica_transfer_reset(r);
    while (r->held != NULL) {
        struct held_frame *f = r->held;
        r->held = f->next;
        mem_free(f);
    }
    r->held_end = &r->held;
    r->held_count = 0;
    struct hermes *core = r->core;
    r->core = NULL; /* what is answered now starts nothing new */
    if (answer) {
        answer_rops(r);
    }
    if (core != NULL) {
        hermes_close(core);
    }
    blobs_release(r);
    mem_free(r->core_memory);
    r->core_memory = NULL;
    r->now_ns = 0;
    r->lease_mark = 0;
    r->purging = false;
    r->purge_cursor = r->scan_cursor_purge = 0;
}

static void free_rops(struct replica *r)
{
    while (r->all_rops != NULL) {
        struct rop *op = r->all_rops;
        r->all_rops = op->all;
        if (op->open) {
            abandon(r, op);
        }
        buf_free(&op->reply);
        buf_free(&op->value);
        mem_free(op);
    }
    if (r->flush != NULL) {
        replies_done(r->nw, r->flush->slot);
        mem_free(r->flush);
    }
}

void replica_stop(struct node_worker *nw)
{
    struct replica *r = nw->replica;
    if (r == NULL) {
        return;
    }
    replica_member_stop(r);
    replica_core_stop(r, false);
    loop_timer_free(r->timer);
    replica_transfer_stop(r);
    loop_defer_cancel(nw->w->loop, &r->retime);
    free_rops(r);
    blobs_release(r);
    blobs_free_spare(r);
    store_free(r->scratch);
    resp_parser_free(&r->parser);
    buf_free(&r->frame);
    buf_free(&r->sink);
    mem_free(r);
    nw->replica = NULL;
}

/* ---- INFO ---- */

const struct replica_counts *replica_counts(const struct node_worker *nw)
{
    return &nw->replica->counts;
}

void replica_describe(const struct node_worker *nw, char *out, size_t room)
{
    const struct replica *r = nw->replica;
    if (r->core == NULL) {
        snprintf(out, room, "waiting for a view");
        return;
    }
    const struct view *v = hermes_view(r->core);
    int n = snprintf(out, room, "epoch=%llu,id=%u,members=", (unsigned long long)v->epoch, r->id);
    for (unsigned i = 0; i < view_count(v) && n > 0 && (size_t)n < room; i++) {
        n += snprintf(out + n, room - (size_t)n, "%s%u%s", i == 0 ? "" : "/", v->ids[i],
                      i >= v->members ? "(learner)" : "");
    }
    if (n > 0 && (size_t)n < room) {
        const char *state = hermes_expelled(r->core)                  ? "expelled"
                            : hermes_may_read(r->core, clk_boot_ns()) ? "serving"
                            : !hermes_caught_up(r->core)              ? "catching up"
                                                                      : "no lease";
        snprintf(out + n, room - (size_t)n, ",state=%s", state);
    }
}

void replica_describe_peers(const struct node_worker *nw, char *out, size_t room)
{
    const struct replica *r = nw->replica;
    char line[128];
    if (r->transport == NULL) {
        snprintf(out, room, "not in a view");
        return;
    }
    transport_describe(r->transport, line, sizeof line);
    struct transport_stats s;
    if (transport_stats(r->transport, 0, &s) == OK) {
        snprintf(out, room, "%s connected=%u/%u", line, s.connected, s.peers);
    }
}

enum transport_kind replica_peer_stats(const struct node_worker *nw, struct transport_stats *out)
{
    const struct transport *t = nw->replica->transport;
    if (t == NULL) {
        *out = (struct transport_stats){0};
        return TRANSPORT_TCP;
    }
    must(transport_stats(t, 0, out) == OK); /* the whole transport is always known */
    return transport_kind_of(t);
}

const struct transport *replica_transport(const struct node_worker *nw)
{
    return nw->replica->transport;
}
