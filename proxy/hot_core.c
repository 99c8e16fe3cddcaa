/* The cores of one worker's partition: their life, their steps, and what comes out of them.
 *
 * Steps never nest. What an outbox asks for is carried out at once and in order; nothing of it
 * leads to another step before the end: frames to ourselves wait in a queue, answers of nodes come
 * from the loop, and operations from their mailboxes. An entry is published before what follows it
 * in the outbox: an ACK must not leave while a reader can still see the entry Valid (galene.h). */
#include <string.h>
#include <sys/random.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/must.h"
#include "proxy/hot_private.h"

#define OPS_MAX 4096u /* with the core, per worker */
#define RESEND_NS 100000000u
#define ASK_NS 200000000u
#define REPORT_NS 500000000u
#define LINGER_NS 5000000000u
#define DROP_WAIT_NS 500000000u
#define PREP_GIVE_UP_NS 2000000000u
#define RETRY_NS 200000000u
#define SKEW_MS 100u /* margin before an expiry: clocks of machines, and a turn of the loop */

static struct {
    struct server *sv;
    struct cache *cache;
    uint32_t keys_per_worker;
    _Atomic(struct hot_worker *) *workers; /* by index; NULL: not started, or stopped */
} process;

static const struct cache_counts nothing;
const struct cache_counts *hot_counts = &nothing;
static hot_counts_fn on_counts;

/* ---- the process ---- */

enum err hot_prepare(struct server *sv, struct errmsg *why)
{
    const struct proxy_settings *set = cfg_settings(server_cfg(sv));
    unsigned workers = (unsigned)set->server.workers;
    if (set->hot_value_max > HOT_VALUE_LIMIT) {
        return errmsg_set(why, ERR_CONFIG, "hot-value-max can be at most %u", HOT_VALUE_LIMIT);
    }
    process.sv = sv;
    process.keys_per_worker = ((uint32_t)set->hot_keys_max + workers - 1) / workers;
    struct cache_limits l = {.entries = HOT_RECORDS(process.keys_per_worker) * workers,
                             .value_max = (uint32_t)set->hot_value_max,
                             .memory_max = set->hot_memory_max};
    process.cache = cache_new(&l);
    process.workers = mem_zalloc(workers * sizeof *process.workers);
    hot_counts = cache_counts(process.cache);
    return OK;
}

struct hot_worker *hot_worker_of(unsigned index)
{
    return atomic_load_explicit(&process.workers[index], memory_order_acquire);
}

unsigned hot_worker_count(void)
{
    return server_workers(process.sv);
}

struct cache *hot_cache(void)
{
    return process.cache;
}

uint32_t hot_keys_per_worker(void)
{
    return process.keys_per_worker;
}

/* ---- references ---- */

struct hot_blob *hot_blob_new(struct hot_worker *hw, const void *bytes, size_t len)
{
    must(len <= UINT32_MAX);
    struct hot_blob *b = mem_alloc(sizeof *b + len);
    *b = (struct hot_blob){.next = hw->released, .len = (uint32_t)len, .listed = true};
    if (len != 0) {
        memcpy(b->bytes, bytes, len);
    }
    hw->released = b;
    return b;
}

static bool on_same_key(void *ctx, struct coh_ref a, struct coh_ref b)
{
    (void)ctx;
    return span_eq(hot_ref_span(a), hot_ref_span(b));
}

static struct coh_ref on_hold(void *ctx, struct coh_ref ref)
{
    (void)ctx;
    hot_ref_blob(ref)->refs++;
    return ref;
}

static void on_drop(void *ctx, struct coh_ref ref)
{
    struct hot_worker *hw = ctx;
    struct hot_blob *b = hot_ref_blob(ref);
    must(b->refs != 0);
    if (--b->refs == 0 && !b->listed) {
        b->listed = true;
        b->next = hw->released;
        hw->released = b;
    }
}

static void release(struct hot_worker *hw)
{
    struct hot_blob *b = hw->released;
    hw->released = NULL;
    while (b != NULL) {
        struct hot_blob *next = b->next;
        b->listed = false;
        b->next = NULL;
        if (b->refs == 0) {
            mem_free(b);
        }
        b = next;
    }
}

void hot_key(struct hot_worker *hw, struct hermes_key *key, struct span bytes)
{
    *key = (struct hermes_key){.hash = cache_hash(bytes),
                               .ref = hot_ref(hot_blob_new(hw, bytes.p, bytes.len)),
                               .slot = slot_of_inner(bytes)};
}

/* ---- steps ---- */

static void publish(struct hot_worker *hw, const struct galene_publish *p)
{
    struct cache_value v = {.state = CACHE_BUSY};
    if (p->seen == GALENE_SEEN_GONE) {
        v.state = CACHE_NONE;
    } else if (p->seen == GALENE_SEEN_VALID) {
        v.state = p->value.kind == GMSG_VALUE ? CACHE_VALUE : CACHE_ABSENT;
        v.bytes = hot_ref_span(p->value.ref);
        v.expire_ms = p->value.expire_ms;
    }
    uint32_t place = hw->index * HOT_RECORDS(process.keys_per_worker) + p->slot;
    cache_set(process.cache, place, p->key.hash, hot_ref_span(p->key.ref), &v);
}

static void step_begin(struct hot_worker *hw, uint64_t *now_ns)
{
    must(!hw->stepping);
    hw->stepping = true;
    hw->now_ns = *now_ns > hw->now_ns ? *now_ns : hw->now_ns;
    *now_ns = hw->now_ns;
}

static void step_end(struct hot_worker *hw)
{
    hw->stepping = false;
    loop_defer(hw->pw->w->loop, &hw->retime);
}

static enum err step(struct hot_worker *hw, struct galene_in *in)
{
    in->now_ns = clk_boot_ns();
    in->wall_ms = clk_wall_ms();
    step_begin(hw, &in->now_ns);
    hw->galene_out.count = 0;
    enum err e = galene_step(hw->galene, in, &hw->galene_out);
    for (uint32_t i = 0; i < hw->galene_out.count; i++) {
        const struct galene_out *o = &hw->galene_out.out[i];
        switch (o->kind) {
        case GALENE_OUT_SEND:
            hw->stats.invalidations += o->u.msg.kind == GMSG_INV;
            hot_peers_send(hw, galene_view(hw->galene), o->to_mask, &o->u.msg);
            break;
        case GALENE_OUT_PUBLISH:
            publish(hw, &o->u.publish);
            break;
        case GALENE_OUT_BACKEND:
            hot_backend_send(hw, &o->u.request, false);
            break;
        case GALENE_OUT_DONE:
            hot_op_done(hw, &o->u.done);
            break;
        }
    }
    step_end(hw);
    return e;
}

enum err hot_galene(struct hot_worker *hw, struct galene_in *in)
{
    struct galene_in lease = {.kind = GALENE_IN_LEASE};
    if (in->kind != GALENE_IN_LEASE && hot_member_news(hw, &lease.u.lease)) {
        (void)step(hw, &lease); /* nothing is freed: `in` refers to what is new */
    }
    enum err e = step(hw, in);
    release(hw);
    return e;
}

enum err hot_hotset(struct hot_worker *hw, struct hotset_in *in)
{
    in->now_ns = clk_boot_ns();
    step_begin(hw, &in->now_ns);
    hw->hotset_out.count = 0;
    enum err e = hotset_step(hw->hotset, in, &hw->hotset_out);
    for (uint32_t i = 0; i < hw->hotset_out.count; i++) {
        const struct hotset_out *o = &hw->hotset_out.out[i];
        switch (o->kind) {
        case HOTSET_OUT_SEND:
            hot_peers_send(hw, galene_view(hw->galene), o->to_mask, &o->u.msg);
            break;
        case HOTSET_OUT_BACKEND:
            hot_backend_send(hw, &o->u.request, true);
            break;
        }
    }
    step_end(hw);
    release(hw);
    return e;
}

void hot_settle(struct hot_worker *hw)
{
    struct hot_frame *f;
    while ((f = hot_frames_take(&hw->self)) != NULL) {
        (void)hot_take_frame(hw, f->from, span_of(f->bytes, f->len));
        mem_free(f);
    }
}

static void on_retime(struct loop_task *task)
{
    struct hot_worker *hw =
        (struct hot_worker *)(void *)((char *)task - offsetof(struct hot_worker, retime));
    hot_settle(hw);
    uint64_t at = UINT64_MAX;
    if (hw->galene != NULL) {
        uint64_t other = hotset_next_deadline(hw->hotset);
        at = galene_next_deadline(hw->galene);
        at = other < at ? other : at;
    }
    if (at == UINT64_MAX) {
        loop_timer_stop(hw->timer);
        return;
    }
    uint64_t now = clk_boot_ns();
    loop_timer_start(hw->timer, at > now ? (at - now) / 1000u + 1u : 1u);
}

static void on_timer(void *arg)
{
    struct hot_worker *hw = arg;
    uint64_t now = clk_boot_ns();
    if (hw->galene != NULL && galene_next_deadline(hw->galene) <= now) {
        struct galene_in in = {.kind = GALENE_IN_TIMER};
        (void)hot_galene(hw, &in);
    }
    if (hw->hotset != NULL && hotset_next_deadline(hw->hotset) <= now) {
        struct hotset_in in = {.kind = HOTSET_IN_TIMER};
        (void)hot_hotset(hw, &in);
    }
    loop_defer(hw->pw->w->loop, &hw->retime);
}

/* ---- life ---- */

static void switch_to(struct hot_worker *hw, bool on)
{
    if (hw->hotset != NULL) {
        struct hotset_in in = {.kind = HOTSET_IN_SWITCH, .u.on = on};
        (void)hot_hotset(hw, &in);
        hot_settle(hw);
    }
}

void hot_cores_start(struct hot_worker *hw, uint32_t id)
{
    uint64_t seed = 0;
    (void)!getrandom(&seed, sizeof seed, 0);
    const struct proxy_settings *set = hw->pw->set;
    uint64_t timeout_ns =
        (uint64_t)(set->backend_timeout_ms != 0 ? set->backend_timeout_ms : 5000) * 1000000u;
    uint32_t keys = process.keys_per_worker;
    struct galene_limits gl = {.records = HOT_RECORDS(keys),
                               .ops = OPS_MAX,
                               .resend_ns = RESEND_NS,
                               .ask_ns = ASK_NS,
                               .report_ns = REPORT_NS,
                               .linger_ns = LINGER_NS,
                               .drop_wait_ns = DROP_WAIT_NS,
                               .give_up_ns = timeout_ns,
                               .skew_ms = SKEW_MS,
                               .seed = seed};
    struct hotset_limits hl = {.keys = keys,
                               .candidates = keys,
                               .resend_ns = RESEND_NS,
                               .give_up_ns = PREP_GIVE_UP_NS,
                               .retry_ns = RETRY_NS,
                               .cool_ns = (uint64_t)set->hot_cool_ms * 1000000u,
                               .reads_min = (uint32_t)set->hot_reads_min,
                               .seed = seed ^ 1};
    struct galene_env env = {.ctx = hw, .same_key = on_same_key, .hold = on_hold, .drop = on_drop};
    hw->id = id;
    hw->galene_memory = mem_alloc(galene_size(&gl));
    hw->galene = galene_init(hw->galene_memory, &gl, &env, id);
    hw->hotset_memory = mem_alloc(hotset_size(&hl));
    hw->hotset = hotset_init(hw->hotset_memory, &hl, &env, hw->galene, id);
    switch_to(hw, set->hot_cache);
}

void hot_cores_stop(struct hot_worker *hw)
{
    if (hw->galene != NULL) {
        hotset_close(hw->hotset);
        galene_close(hw->galene);
        /* what it published is nobody's any more; the next core gives the places to other keys */
        uint32_t places = HOT_RECORDS(process.keys_per_worker);
        cache_clear(process.cache, hw->index * places, places);
    }
    release(hw);
    mem_free(hw->galene_memory);
    mem_free(hw->hotset_memory);
    hw->galene = NULL;
    hw->hotset = NULL;
    hw->galene_memory = hw->hotset_memory = NULL;
    hw->id = 0;
    hot_backend_forget(hw);
}

static void on_deliver(struct loop_task *task);

enum err hot_worker_start(struct proxy_worker *pw, struct errmsg *why)
{
    (void)why;
    if (!pw->route->many) {
        if (pw->w->index == 0) {
            log_notice("No hot keys are kept: the shards have no replicas");
        }
        return OK;
    }
    struct hot_worker *hw = mem_zalloc(sizeof *hw);
    hw->pw = pw;
    hw->index = pw->w->index;
    hw->retime.fn = on_retime;
    hw->deliver.fn = on_deliver;
    hw->self.last = &hw->self.first;
    hw->held.last = &hw->held.first;
    hw->timer = loop_timer_new(pw->w->loop, on_timer, hw);
    hw->to = mem_zalloc(hot_worker_count() * sizeof *hw->to);
    for (unsigned i = 0; i < hot_worker_count(); i++) {
        hw->to[i].last = &hw->to[i].first;
    }
    hot_backend_start(hw);
    pw->hot = hw;
    if (hw->index == 0) {
        hot_member_start(pw);
    }
    atomic_store_explicit(&process.workers[hw->index], hw, memory_order_release);
    return OK;
}

void hot_worker_stop(struct proxy_worker *pw)
{
    struct hot_worker *hw = pw->hot;
    if (hw == NULL) {
        return;
    }
    hw->stopping = true;
    if (hw->index == 0) {
        hot_views_stop();
        hot_member_stop();
    }
    hot_peers_close(hw);
    hot_cores_stop(hw);
    loop_timer_free(hw->timer);
    hot_backend_stop(hw);
    pw->hot = NULL;
    loop_defer_cancel(pw->w->loop, &hw->retime);
    loop_defer_cancel(pw->w->loop, &hw->deliver);
}

static void worker_free(struct hot_worker *hw)
{
    hot_ops_free(hw);
    hot_frames_free(&hw->self);
    hot_frames_free(&hw->held);
    buf_free(&hw->frame);
    mem_free(hw->to);
    mem_free(hw);
}

/* Workers may still look at each other while they stop: what they are made of goes at the end. */
void hot_finish(void)
{
    for (unsigned i = 0; process.workers != NULL && i < hot_worker_count(); i++) {
        struct hot_worker *hw = hot_worker_of(i);
        if (hw != NULL) {
            worker_free(hw);
        }
    }
    hot_views_finish();
    hot_counts = &nothing;
    cache_free(process.cache);
    process.cache = NULL;
    mem_free(process.workers);
    process.workers = NULL;
}

void hot_configured(struct proxy_worker *pw)
{
    if (pw->hot != NULL) {
        pw->hot->clocks_read = false;
        switch_to(pw->hot, pw->set->hot_cache);
    }
}

/* ---- mailboxes ---- */

/* Runs in the thread of the worker that the list is for. */
static void receive(void *arg)
{
    struct hot_op *op = arg;
    while (op != NULL) {
        struct hot_op *next = op->next;
        op->next = NULL;
        hot_op_arrived(op);
        op = next;
    }
}

static void on_deliver(struct loop_task *task)
{
    struct hot_worker *hw =
        (struct hot_worker *)(void *)((char *)task - offsetof(struct hot_worker, deliver));
    for (unsigned i = 0; i < hot_worker_count(); i++) {
        struct hot_op *first = hw->to[i].first;
        hw->to[i].first = NULL;
        hw->to[i].last = &hw->to[i].first;
        if (first != NULL && i == hw->index) {
            receive(first);
        } else if (first != NULL) {
            loop_post(server_worker(process.sv, i)->loop, receive, first);
        }
    }
}

void hot_post(struct hot_worker *from, unsigned to, struct hot_op *op)
{
    op->next = NULL;
    *from->to[to].last = op;
    from->to[to].last = &op->next;
    loop_defer(from->pw->w->loop, &from->deliver);
}

/* ---- counts (G14) ---- */

void hot_on_counts(hot_counts_fn fn)
{
    on_counts = fn;
}

void hot_take_counts(struct hot_worker *hw, uint32_t sender, struct span payload)
{
    if (on_counts != NULL) {
        on_counts(hw->pw, sender, payload);
    }
}

bool hot_coordinates(const struct proxy_worker *pw)
{
    return pw->hot != NULL && pw->hot->hotset != NULL && hotset_acts(pw->hot->hotset);
}

void hot_count_key(struct proxy_worker *pw, const struct hot_counted *counted)
{
    if (!hot_coordinates(pw)) {
        return;
    }
    struct hotset_count count = {.reads = counted->reads,
                                 .writes = counted->writes,
                                 .denied = counted->denied,
                                 .pinned = counted->pinned};
    hot_key(pw->hot, &count.key, counted->key);
    struct hotset_in in = {.kind = HOTSET_IN_COUNT, .u.count = &count};
    (void)hot_hotset(pw->hot, &in);
}

void hot_count_end(struct proxy_worker *pw)
{
    if (hot_coordinates(pw)) {
        struct hotset_in in = {.kind = HOTSET_IN_EPOCH};
        (void)hot_hotset(pw->hot, &in);
        hot_settle(pw->hot);
    }
}

void hot_send_counts(struct proxy_worker *pw, struct span payload)
{
    struct hot_worker *hw = pw->hot;
    if (hw == NULL || hw->hotset == NULL || hotset_coordinator(hw->hotset) == 0) {
        return;
    }
    const struct view *v = galene_view(hw->galene);
    int at = view_index(v, hotset_coordinator(hw->hotset));
    if (at < 0 || payload.len > GMSG_PAYLOAD_MAX) {
        return;
    }
    struct gmsg m = {.kind = GMSG_COUNTS,
                     .epoch = v->epoch,
                     .sender = hw->id,
                     .seq = 1,
                     .payload = hot_ref(hot_blob_new(hw, payload.p, payload.len))};
    hot_peers_send(hw, v, UINT32_C(1) << at, &m);
    release(hw);
    loop_defer(pw->w->loop, &hw->retime);
}

/* ---- numbers ---- */

const struct hot_stats *hot_stats(const struct proxy_worker *pw)
{
    static const struct hot_stats none;
    return pw->hot != NULL ? &pw->hot->stats : &none;
}
