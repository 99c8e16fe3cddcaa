/* Slots of replies that come later, in order. */
#include "backends/node/replies.h"

#include "backends/node/node.h"
#include "backends/server/transaction.h"
#include "common/clock.h"
#include "common/mem.h"

struct reply_slot *replies_add(struct node_session *ns)
{
    struct reply_slot *slot = mem_zalloc(sizeof *slot);
    slot->ns = ns;
    slot->proto = ns->s.c.reply.proto;
    slot->watches = buf_used(&ns->watch_request) != 0;
    if (ns->last_slot != NULL) {
        ns->last_slot->next = slot;
    } else {
        ns->first_slot = slot;
    }
    ns->last_slot = slot;
    return slot;
}

static void slot_free(struct reply_slot *slot)
{
    buf_free(&slot->bytes);
    mem_free(slot);
}

static void take_watch(struct node_session *ns, struct reply_slot *slot)
{
    struct resp_out out = {&slot->bytes, slot->proto};
    if (session_watched(&ns->s, buf_span(&ns->watch_request), buf_span(&slot->bytes))) {
        buf_consume(&slot->bytes, buf_used(&slot->bytes));
        resp_ok(&out);
    }
    buf_free(&ns->watch_request);
}

void replies_done(struct node_worker *nw, struct reply_slot *slot)
{
    struct node_session *ns = slot->ns;
    slot->done = true;
    if (ns == NULL) {
        slot_free(slot);
        return;
    }
    bool moved = false;
    while (ns->first_slot != NULL && ns->first_slot->done) {
        struct reply_slot *first = ns->first_slot;
        ns->first_slot = first->next;
        if (first->watches) {
            take_watch(ns, first);
        }
        if (!first->silent) {
            buf_add(&ns->s.c.out, buf_head(&first->bytes), buf_used(&first->bytes));
        }
        if (first->count != NULL) {
            session_account(nw->w, first->count, clk_mono_ns() - first->start_ns);
        }
        slot_free(first);
        moved = true;
    }
    if (!moved) {
        return;
    }
    conn_touch(&ns->s.c);
    if (ns->first_slot == NULL) {
        ns->last_slot = NULL;
        session_flushed(&ns->s);
        if (ns->s.c.paused) {
            conn_resume(&ns->s.c);
        }
    }
}

void replies_close(struct node_session *ns)
{
    struct reply_slot *slot = ns->first_slot;
    ns->first_slot = ns->last_slot = NULL;
    while (slot != NULL) {
        struct reply_slot *next = slot->next;
        if (slot->done) {
            slot_free(slot);
        } else {
            slot->ns = NULL;
            slot->next = NULL;
        }
        slot = next;
    }
}
