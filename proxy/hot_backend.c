/* What the cores ask of the shards: sent to one replica of the key's partition, and its answer
 * handed back.
 *
 * A request goes to the replica that its slot prefers (H11), as other writes do. What was certainly
 * not executed (refused, or lost before it left; reads in any case) goes to the next one, after
 * each round with a pause, until backend-timeout is over: then the core hears FAILED. What may have
 * been executed is UNKNOWN and is never sent twice (H13). */
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/must.h"
#include "common/num.h"
#include "proxy/hot_private.h"

#define PAUSE_FIRST_NS 2000000u
#define PAUSE_MAX_NS 50000000u

struct hot_request {
    struct call k;                   /* first: k.own is set; only k.sr and k.pw are used */
    struct hot_request *next, *prev; /* of the open ones, or of a free or paused list */
    struct hot_worker *hw;
    uint64_t request; /* the core's name for it; 0: nobody waits for the answer any more */
    enum galene_request_kind kind;
    bool of_hotset;
    uint8_t proto;
    uint16_t slot, partition;
    uint16_t tried; /* bits: replicas, since the last pause */
    uint8_t replica;
    uint64_t pause_ns, resume_ns, since_ns;
    struct buf bytes;
};

/* ---- life ---- */

static struct hot_request *request_take(struct hot_worker *hw)
{
    struct hot_request *r = hw->free_requests;
    if (r != NULL) {
        hw->free_requests = r->next;
        struct buf bytes = r->bytes;
        *r = (struct hot_request){.bytes = bytes};
    } else {
        r = mem_zalloc(sizeof *r);
    }
    r->k.own = true;
    r->k.pw = hw->pw;
    r->hw = hw;
    r->next = hw->open_requests;
    if (r->next != NULL) {
        r->next->prev = r;
    }
    hw->open_requests = r;
    return r;
}

static void request_unlink(struct hot_request *r)
{
    if (r->prev != NULL) {
        r->prev->next = r->next;
    } else {
        r->hw->open_requests = r->next;
    }
    if (r->next != NULL) {
        r->next->prev = r->prev;
    }
    r->next = r->prev = NULL;
}

static void request_free(struct hot_request *r)
{
    struct hot_worker *hw = r->hw;
    request_unlink(r);
    buf_consume(&r->bytes, buf_used(&r->bytes));
    buf_trim(&r->bytes, 4096);
    r->next = hw->free_requests;
    hw->free_requests = r;
}

/* ---- answers to the cores ---- */

static void tell(struct hot_request *r, const struct galene_answer *a)
{
    struct hot_worker *hw = r->hw;
    bool known = r->request != 0;
    bool of_hotset = r->of_hotset;
    request_free(r);
    if (!known || hw->galene == NULL) {
        return;
    }
    if (of_hotset) {
        struct hotset_in in = {.kind = HOTSET_IN_ANSWER, .u.answer = a};
        (void)hot_hotset(hw, &in);
    } else {
        struct galene_in in = {.kind = GALENE_IN_ANSWER, .u.answer = a};
        (void)hot_galene(hw, &in);
    }
    hot_settle(hw);
}

static void tell_kind(struct hot_request *r, enum galene_answer_kind kind, uint64_t generation)
{
    struct galene_answer a = {.request = r->request, .kind = kind, .generation = generation};
    tell(r, &a);
}

static bool is_plain(const struct hot_request *r)
{
    return r->kind == GALENE_ASK_READ || r->kind == GALENE_ASK_WRITE;
}

static struct galene_value value_of(struct hot_worker *hw, const struct hot_reply *h)
{
    struct galene_value v = {.kind = GMSG_UNCACHEABLE};
    if (h->what == HOT_ABSENT ||
        (h->what == HOT_STRING && h->value.len <= (uint64_t)hw->pw->set->hot_value_max)) {
        v.kind = h->what == HOT_ABSENT ? GMSG_ABSENT : GMSG_VALUE;
        v.ts = h->ts;
        v.expire_ms = h->expire_ms;
    }
    if (v.kind == GMSG_VALUE) {
        v.ref = hot_ref(hot_blob_new(hw, h->value.p, h->value.len));
    }
    return v;
}

/* A node's reply, wrapped or (is_error) an error that it made before the command took effect: the
 * client's answer, nothing was done. */
static void tell_reply(struct hot_request *r, struct span bytes, bool is_error)
{
    struct galene_answer a = {.request = r->request, .kind = GALENE_REPLY};
    struct hot_reply h;
    if (is_error) {
        struct buf text = {0};
        buf_addf(&text, "-%.*s\r\n", (int)bytes.len, bytes.p);
        a.reply = hot_ref(hot_blob_new(r->hw, buf_head(&text), buf_used(&text)));
        buf_free(&text);
    } else if (is_plain(r) || (bytes.len != 0 && bytes.p[0] == '-')) {
        a.reply = hot_ref(hot_blob_new(r->hw, bytes.p, bytes.len));
    } else if (hot_reply_parse(bytes, &h)) {
        a.generation = h.generation;
        a.value = value_of(r->hw, &h);
        a.reply = hot_ref(hot_blob_new(r->hw, h.reply.p, h.reply.len));
    } else {
        static struct log_limit limit;
        if (log_limited(&limit)) {
            log_warning("A node's answer about a hot key makes no sense");
        }
        a.kind = GALENE_UNKNOWN;
    }
    tell(r, &a);
}

/* ---- sending ---- */

static bool is_write(const struct hot_request *r)
{
    return r->kind != GALENE_ASK_READ;
}

static struct shard_link *link_to(const struct hot_request *r, unsigned replica)
{
    struct proxy_worker *pw = r->hw->pw;
    return shard_link_on(pw->pool, route_replica(pw->route, r->partition, replica), r->proto,
                         is_write(r) ? SHARD_ANY : SHARD_READS);
}

/* The slot's preferred replica if it is well, else the best of those not tried. -1: none. */
static int choose(const struct hot_request *r)
{
    const struct route_partition *p = &r->hw->pw->route->partition[r->partition];
    unsigned first = r->slot / r->hw->pw->route->workers;
    int best = -1;
    enum shard_health best_health = SHARD_AWAY;
    for (unsigned i = 0; i < p->live && best_health != SHARD_GOOD; i++) {
        unsigned at = p->order[(first + i) % p->live];
        if ((r->tried >> at & 1u) != 0) {
            continue;
        }
        enum shard_health h = shard_health(link_to(r, at));
        if (h < best_health) {
            best = (int)at;
            best_health = h;
        }
    }
    return best;
}

static void on_resume(void *arg);

static void pause_request(struct hot_request *r)
{
    struct hot_worker *hw = r->hw;
    r->tried = 0;
    r->pause_ns = r->pause_ns == 0 ? PAUSE_FIRST_NS : r->pause_ns * 2;
    r->pause_ns = r->pause_ns < PAUSE_MAX_NS ? r->pause_ns : PAUSE_MAX_NS;
    r->resume_ns = clk_mono_ns() + r->pause_ns;
    request_unlink(r);
    r->next = hw->paused;
    if (hw->paused == NULL) {
        loop_timer_start(hw->pause_timer, PAUSE_FIRST_NS / 1000u);
    }
    hw->paused = r;
}

/* Never inside of a core's step with an outcome: those come from the loop. */
static void send_now(struct hot_request *r)
{
    struct proxy_worker *pw = r->hw->pw;
    int at = choose(r);
    if (at < 0) {
        pause_request(r);
        return;
    }
    r->replica = (uint8_t)at;
    struct shard_link *l = link_to(r, (unsigned)at);
    shard_now(pw->pool, clk_mono_ns());
    buf_add(shard_begin(l), buf_head(&r->bytes), buf_used(&r->bytes));
    shard_commit(l, &r->k.sr, SHARD_MOVABLE | (is_write(r) ? SHARD_WRITE : 0));
}

static void again(struct hot_request *r)
{
    uint64_t limit = (uint64_t)r->hw->pw->set->backend_timeout_ms * 1000000u;
    if (limit != 0 && clk_mono_ns() - r->since_ns >= limit) {
        tell_kind(r, GALENE_FAILED, 0);
        return;
    }
    r->tried |= (uint16_t)(1u << r->replica);
    send_now(r);
}

static void on_resume(void *arg)
{
    struct hot_worker *hw = arg;
    uint64_t now = clk_mono_ns();
    struct hot_request *list = hw->paused;
    hw->paused = NULL;
    while (list != NULL) {
        struct hot_request *r = list;
        list = r->next;
        if (r->resume_ns > now) {
            r->next = hw->paused;
            hw->paused = r;
            continue;
        }
        r->next = hw->open_requests;
        r->prev = NULL;
        if (r->next != NULL) {
            r->next->prev = r;
        }
        hw->open_requests = r;
        again(r);
    }
    if (hw->paused != NULL) {
        loop_timer_start(hw->pause_timer, PAUSE_FIRST_NS / 1000u);
    }
}

struct span hot_split_header(struct span request, uint64_t *argc)
{
    const char *end = memchr(request.p, '\n', request.len);
    must(end != NULL && request.p[0] == '*');
    struct span digits = span_of(request.p + 1, (size_t)(end - request.p) - 2);
    must(num_parse_u64(digits, argc));
    return span_of(end + 1, request.len - (size_t)(end + 1 - request.p));
}

static void encode_number(struct buf *b, uint64_t n)
{
    char digits[NUM_I64_MAX];
    encode_arg(b, span_of(digits, num_fmt_u64(digits, n)));
}

static void encode(struct hot_request *r, const struct galene_request *rq)
{
    struct buf *b = &r->bytes;
    const struct hot_op *op = rq->op != 0 ? hot_op_of(rq->op) : NULL;
    struct span key = hot_ref_span(rq->key.ref);
    uint64_t argc = 0;
    switch (rq->kind) {
    case GALENE_ASK_READ:
    case GALENE_ASK_WRITE: {
        struct span request = hot_op_request(op);
        buf_add(b, request.p, request.len);
        return;
    }
    case GALENE_ASK_HOTWRITE: {
        struct span rest = hot_split_header(hot_op_request(op), &argc);
        encode_header(b, argc + 3);
        encode_arg(b, SPAN_LIT("HALCYON"));
        encode_arg(b, SPAN_LIT("HOTWRITE"));
        encode_number(b, rq->generation);
        buf_add(b, rest.p, rest.len);
        return;
    }
    case GALENE_ASK_EXPIRE:
        encode_header(b, 5);
        encode_arg(b, SPAN_LIT("HALCYON"));
        encode_arg(b, SPAN_LIT("HOTWRITE"));
        encode_number(b, rq->generation);
        encode_arg(b, SPAN_LIT("EXISTS"));
        encode_arg(b, key);
        return;
    case GALENE_ASK_PROMOTE:
    case GALENE_ASK_DEMOTE:
        encode_header(b, 4);
        encode_arg(b, SPAN_LIT("HALCYON"));
        encode_arg(b, rq->kind == GALENE_ASK_PROMOTE ? SPAN_LIT("PROMOTE") : SPAN_LIT("DEMOTE"));
        encode_arg(b, key);
        encode_number(b, rq->generation);
        return;
    }
    unreachable();
}

void hot_backend_send(struct hot_worker *hw, const struct galene_request *rq, bool of_hotset)
{
    struct hot_request *r = request_take(hw);
    const struct route *route = hw->pw->route;
    const struct hot_op *op = rq->op != 0 ? hot_op_of(rq->op) : NULL;
    r->request = rq->request;
    r->kind = rq->kind;
    r->of_hotset = of_hotset;
    r->proto = op != NULL ? op->proto : 2;
    r->slot = rq->key.slot;
    r->partition = (uint16_t)route_slot(route, rq->key.slot);
    r->since_ns = clk_mono_ns();
    hw->stats.hotwrites += rq->kind == GALENE_ASK_HOTWRITE;
    hw->stats.promotions += rq->kind == GALENE_ASK_PROMOTE;
    hw->stats.demotions += rq->kind == GALENE_ASK_DEMOTE;
    encode(r, rq);
    send_now(r);
}

/* ---- what comes back ---- */

static bool starts(struct span s, const char *word)
{
    size_t n = strlen(word);
    return s.len >= n && memcmp(s.p, word, n) == 0;
}

static uint64_t generation_in(struct span words, size_t at)
{
    int64_t n = 0;
    return words.len > at && num_parse_i64(span_of(words.p + at, words.len - at), &n) && n > 0
               ? (uint64_t)n
               : 0;
}

static void on_control(struct hot_request *r, struct span words)
{
    bool change = r->kind == GALENE_ASK_PROMOTE || r->kind == GALENE_ASK_DEMOTE;
    if (starts(words, "TRYAGAIN") || starts(words, "LOADING") || starts(words, "MOVED ")) {
        again(r);
    } else if (starts(words, "COLD ")) {
        tell_kind(r, change ? GALENE_REFUSED : GALENE_COLD, generation_in(words, 5));
    } else if (starts(words, "HOT ")) {
        tell_kind(r, GALENE_HOT, generation_in(words, 4));
    } else if (starts(words, "UNKNOWN")) {
        tell_kind(r, GALENE_UNKNOWN, 0);
    } else if (change) {
        tell_kind(r, GALENE_FAILED, 0);
    } else {
        tell_reply(r, words, true);
    }
}

void hot_backend_done(struct call *k, enum shard_result result, struct span bytes,
                      struct span request)
{
    struct hot_request *r = (struct hot_request *)(void *)k;
    (void)request;
    switch (result) {
    case SHARD_REPLY:
        tell_reply(r, bytes, false);
        return;
    case SHARD_CONTROL:
        on_control(r, bytes);
        return;
    case SHARD_FAILED:
        again(r);
        return;
    case SHARD_UNKNOWN:
        tell_kind(r, GALENE_UNKNOWN, 0);
        return;
    }
    unreachable();
}

void hot_backend_start(struct hot_worker *hw)
{
    hw->pause_timer = loop_timer_new(hw->pw->w->loop, on_resume, hw);
}

void hot_backend_forget(struct hot_worker *hw)
{
    for (struct hot_request *r = hw->open_requests; r != NULL; r = r->next) {
        r->request = 0;
    }
    for (struct hot_request *r = hw->paused; r != NULL; r = r->next) {
        r->request = 0;
    }
}

static void free_list(struct hot_request *r)
{
    while (r != NULL) {
        struct hot_request *next = r->next;
        buf_free(&r->bytes);
        mem_free(r);
        r = next;
    }
}

void hot_backend_stop(struct hot_worker *hw)
{
    loop_timer_free(hw->pause_timer);
    hw->pause_timer = NULL;
    free_list(hw->open_requests); /* the pool that had them is gone */
    free_list(hw->paused);
    free_list(hw->free_requests);
    hw->open_requests = hw->paused = hw->free_requests = NULL;
}
