/* Writes of one key that would wait for each other become one update.
 *
 * A key takes one update of a replica at a time (H14), each a round trip: many clients that write
 * one key would stand in line for it. So a write that finds an own write of its key under way does
 * not stand in line by itself: it joins the last one there, if that has not been started yet. To
 * the core they are one read-modify-write whose effects are all the commands, in the order in which
 * they came: they take effect at one instant, on every replica, and each gets the reply of its own
 * command.
 *
 * Who may join: a command that every replica can run as it is (no rewrite hook), on one key.
 * Program order: anything else that is given to the core for the key closes the last write to
 * joiners, so nobody gets in front of an operation that came before. */
#include <string.h>

#include "backends/node/replica_private.h"
#include "common/must.h"

#define JOINERS_MAX 128u
#define BYTES_MAX 65536u

static struct rop **latest_of(struct replica *r, uint64_t hash)
{
    return &r->latest[hash % REPLICA_LATEST];
}

static bool is_key(const struct rop *op, uint64_t hash, struct span key)
{
    return op->hash == hash && span_eq(blob_span(op->key), key);
}

void replica_join_given(struct replica *r, struct rop *op, uint64_t hash)
{
    struct rop **latest = latest_of(r, hash);
    if (*latest != NULL && is_key(*latest, hash, blob_span(op->key))) {
        (*latest)->joinable = false;
    }
    op->hash = hash;
    if ((op->kind == HERMES_WRITE || op->kind == HERMES_UPDATE) && op->slot != NULL && !op->hot) {
        *latest = op;
    }
}

void replica_join_close(struct replica *r, const struct hermes_key *key)
{
    struct rop *latest = *latest_of(r, key->hash);
    if (latest != NULL && is_key(latest, key->hash, blob_span(ref_blob(key->ref)))) {
        latest->joinable = false;
    }
}

void replica_join_ended(struct replica *r, const struct rop *op)
{
    struct rop **latest = latest_of(r, op->hash);
    if (*latest == op) {
        *latest = NULL;
    }
}

bool replica_join_waits(struct replica *r, uint64_t hash, struct span key)
{
    const struct rop *latest = *latest_of(r, hash);
    return latest != NULL && is_key(latest, hash, key);
}

bool replica_join(struct replica *r, struct rop *op, uint64_t hash)
{
    struct rop *first = *latest_of(r, hash);
    must(first != NULL);
    if (!first->joinable || first->joiners >= JOINERS_MAX ||
        first->joined_bytes + op->command->len > BYTES_MAX) {
        return false;
    }
    struct rop **end = &first->joined;
    if (first->last_joined != NULL) {
        end = &first->last_joined->joined;
    }
    *end = op;
    first->last_joined = op;
    first->joiners++;
    first->joined_bytes += op->command->len;
    r->counts.writes_joined++;
    return true;
}

struct coh_ref replica_join_effects(struct replica *r, struct rop *first)
{
    struct buf *all = &r->sink; /* scratch */
    buf_consume(all, buf_used(all));
    for (const struct rop *op = first; op != NULL; op = op->joined) {
        buf_add(all, op->command->bytes, op->command->len);
    }
    return blob_ref(blob_hold(blob_new(r, buf_head(all), buf_used(all))));
}
