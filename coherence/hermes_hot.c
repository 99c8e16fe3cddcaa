/* The backend's half of the hot set: the flag and the generation live in every key's record and are
 * changed by two RMWs only.
 *
 * Judged when an update starts, on a Valid key and under a lease; since the update carries the flag
 * it was judged by, and an update from the same base either loses to it or makes it lose (H1-H3),
 * nothing can slip in between (G3, G4, G6, G7). */
#include "coherence/hermes_int.h"

static bool judge_plain(struct hermes *h, const struct hermes_op *op, const struct hermes_meta *m,
                        enum hermes_result *refusal)
{
    if (op->hotwrite) { /* G3 */
        bool same = m->hot && (m->generation == op->generation || MUTANT(G3_ANY_GENERATION));
        if (!same) {
            mark(h, HERMES_MARK_COLD_REFUSED, &op->key, m->ts, m->generation);
            *refusal = HERMES_COLD;
        }
        return same;
    }
    if (m->hot && !MUTANT(G4_PLAIN_WRITE_TO_HOT)) { /* G4; expiry of a hot key too (H12) */
        mark(h, HERMES_MARK_HOT_REFUSED, &op->key, m->ts, m->generation);
        *refusal = HERMES_HOT;
        return false;
    }
    return true;
}

bool hot_judge(struct hermes *h, const struct hermes_op *op, const struct hermes_meta *m,
               struct hermes_update *u, enum hermes_result *refusal)
{
    u->hot = m->hot;
    u->generation = m->generation;
    switch (op->kind) {
    case HERMES_PROMOTE: /* G6: a generation is never used twice, nor after a larger one */
        if (op->generation <= m->generation && !MUTANT(G6_PROMOTE_ANY_GENERATION)) {
            mark(h, HERMES_MARK_PROMOTE_REFUSED, &op->key, m->ts, m->generation);
            *refusal = HERMES_REFUSED;
            return false;
        }
        u->hot = true;
        u->generation = op->generation;
        return true;
    case HERMES_DEMOTE: /* G7 */
        if (!m->hot || (m->generation != op->generation && !MUTANT(G7_DEMOTE_ANY_GENERATION))) {
            *refusal = HERMES_REFUSED;
            return false;
        }
        u->hot = false;
        return true;
    case HERMES_WRITE:
    case HERMES_UPDATE:
    case HERMES_EXPIRE:
        return judge_plain(h, op, m, refusal);
    case HERMES_READ:
    case HERMES_PURGE:
    case HERMES_MULTI: /* judged key by key: hermes_multi_op.c */
        break;
    }
    unreachable();
}
