/* New views, in slices, and what members report.
 *
 * What was under way begins again in the new epoch: answers of members count in their epoch only.
 * If somebody has joined, every hot key gets a new generation, since the joiner has no entries
 * (G8). If somebody has left, only those keys need one in which it left an invalidation behind, and
 * their members report them. Who becomes coordinator adopts the entries of its own proxy, with new
 * generations; what others still have is reported. */
#include "coherence/hotset_int.h"

#define ADOPT_SLICE 32u
#define SCAN_MAX 1024u /* records looked at per step, used or not */

void hot_scan_start(struct hotset *h)
{
    h->scan_at = 0;
}

bool hot_scanning(const struct hotset *h)
{
    return h->scan_at < h->keys.capacity || h->adopting;
}

static bool somebody_joined(const struct view *was, const struct view *is)
{
    for (unsigned i = 0; i < view_count(is); i++) {
        if (view_index(was, is->ids[i]) < 0) {
            return true;
        }
    }
    return false;
}

/* Cost: all records; once in the life of an incarnation. */
static void forget_all(struct hotset *h)
{
    for (uint32_t i = 0; i < h->keys.capacity; i++) {
        if (h->keys.slots[i].used) {
            hot_forget(h, &h->records[i]);
        }
    }
    h->scan_at = h->keys.capacity;
    h->adopting = false;
}

void hot_on_view(struct hotset *h, const struct view *v)
{
    if (v->epoch <= h->view.epoch || !view_ok(v)) {
        return;
    }
    bool joined = somebody_joined(&h->view, v);
    bool acted = h->acts;
    h->view = *v;
    h->acts = v->ids[0] == h->id && view_is_member(v, h->id);
    if (!h->acts) {
        if (acted) {
            hot_mark(h, HOTSET_MARK_NO_LONGER_COORDINATOR, NULL, v->epoch, 0);
        }
        forget_all(h);
        return;
    }
    if (!acted) {
        h->adopting = true;
        h->adopt_at = 0;
    }
    h->scan_view = true;
    h->scan_joined =
        (joined || (h->scan_joined && h->scan_at < h->keys.capacity)) && !MUTANT(G8_JOINER_IGNORED);
    hot_scan_start(h);
}

static void adopt(struct hotset *h, const struct hermes_key *key, uint64_t generation)
{
    struct galene_entry e;
    if (hot_find(h, key) != NULL || !galene_look(h->entries, key, &e)) {
        return;
    }
    struct hot_key *k = hot_get(h, key);
    if (k == NULL) {
        return;
    }
    hot_mark(h, HOTSET_MARK_ADOPTED, k, generation, 0);
    k->generation = generation;
    if (e.draining || !h->on) {
        hot_demote(h, k, 0, 0);
    } else {
        hot_promote(h, k);
    }
}

static void adopt_slice(struct hotset *h)
{
    struct hermes_key keys[ADOPT_SLICE];
    uint64_t generations[ADOPT_SLICE];
    size_t n = galene_scan(h->entries, &h->adopt_at, ADOPT_SLICE, keys, generations);
    for (size_t i = 0; i < n; i++) {
        adopt(h, &keys[i], generations[i]);
    }
    h->adopting = h->adopt_at != 0;
}

static void revisit(struct hotset *h, struct hot_key *k)
{
    if (h->scan_off && hot_in(k)) {
        hot_demote(h, k, 0, 0);
    }
    if (!h->scan_view || k->epoch == h->view.epoch) {
        return;
    }
    switch ((enum hot_state)k->state) {
    case HOT_PREPARING:
    case HOT_PROMOTING:
        hot_mark(h, HOTSET_MARK_VIEW_RESTARTED, k, k->generation, k->state);
        if (k->want_cold) {
            k->request = 0;
            hot_set_state(h, k, HOT_RETRY);
            hot_demote(h, k, 0, 0);
        } else {
            hot_promote(h, k);
        }
        break;
    case HOT_DRAINING:
    case HOT_DEMOTING:
        hot_mark(h, HOTSET_MARK_VIEW_RESTARTED, k, k->generation, k->state);
        hot_set_state(h, k, HOT_RETRY);
        hot_demote(h, k, 0, 0);
        break;
    case HOT_HOT:
        if (h->scan_joined) {
            hot_promote(h, k);
        }
        break;
    case HOT_COUNTED:
    case HOT_QUEUED:
    case HOT_RETRY:
    case HOT_COOLING:
        break;
    }
}

void hot_scan_slice(struct hotset *h)
{
    unsigned seen = 0;
    uint32_t end =
        h->keys.capacity - h->scan_at > SCAN_MAX ? h->scan_at + SCAN_MAX : h->keys.capacity;
    for (; h->scan_at < end && seen < HOTSET_SLICE && hot_room(h, 16); h->scan_at++) {
        if (h->keys.slots[h->scan_at].used) {
            seen++;
            revisit(h, &h->records[h->scan_at]);
        }
    }
    if (h->scan_at == h->keys.capacity) {
        h->scan_view = false;
        h->scan_joined = false;
        h->scan_off = false;
    }
    if (h->adopting && hot_room(h, ADOPT_SLICE + 16)) {
        adopt_slice(h);
    }
}

/* ---- reports ---- */

static void tell_cold(struct hotset *h, const struct gmsg *m, uint64_t generation)
{
    hot_mark(h, HOTSET_MARK_REPORT_COLD_ALREADY, NULL, m->key.hash, generation);
    uint32_t to = UINT32_C(1) << view_index(&h->view, m->sender);
    hot_send(h, GMSG_DROP, to, &m->key, generation);
}

static bool known_cold(const struct hot_key *k)
{
    return k->state == HOT_COUNTED || k->state == HOT_COOLING;
}

/* Somebody found the key hot that is not hot as far as is known here: retired (G9). */
static void retire(struct hotset *h, const struct gmsg *m, uint64_t cool_ns)
{
    struct hot_key *k = hot_get(h, &m->key);
    if (k != NULL) { /* else: reported again */
        hot_demote(h, k, m->generation, cool_ns);
    }
}

/* An entry that cannot become Valid by itself. */
static void on_stuck(struct hotset *h, struct hot_key *k, const struct gmsg *m)
{
    if (k == NULL || (known_cold(k) && m->generation > k->generation)) {
        retire(h, m, 0);
    } else if (known_cold(k)) {
        tell_cold(h, m, k->generation);
    } else if (m->generation > k->generation) { /* of somebody newer, or of a lost PROMOTE */
        k->floor = m->generation > k->floor ? m->generation : k->floor;
        if (k->state == HOT_HOT) {
            hot_promote(h, k);
        }
    } else if (k->state == HOT_HOT && m->generation == k->generation) {
        hot_promote(h, k);
    } else {
        hot_mark(h, HOTSET_MARK_REPORT_OUTDATED, k, m->generation, k->generation);
    }
}

/* The backend said so. A key that is taken for cold may be hot all the same: a PROMOTE of unknown
 * outcome took effect after the DEMOTE that was to undo it. */
static void on_unknown_hot(struct hotset *h, struct hot_key *k, const struct gmsg *m)
{
    if (k != NULL && known_cold(k)) {
        retire(h, m, 0);
    } else {
        on_stuck(h, k, m);
    }
}

static void on_demote_wish(struct hotset *h, struct hot_key *k, const struct gmsg *m)
{
    if (k != NULL && !known_cold(k)) {
        hot_demote(h, k, m->generation, h->limits.cool_ns);
    } else if (m->generation == 0) {
        tell_cold(h, m, k == NULL ? 0 : k->generation);
    } else {
        retire(h, m, h->limits.cool_ns);
    }
}

void hot_on_report(struct hotset *h, const struct gmsg *m)
{
    if (h->adopting || h->scan_view) {
        return; /* not all is known yet: it will be reported again */
    }
    struct hot_key *k = hot_find(h, &m->key);
    switch ((enum gmsg_report)m->flags) {
    case GMSG_REPORT_STUCK:
        hot_mark(h, HOTSET_MARK_REPORT_STUCK, k, m->generation, m->sender);
        on_stuck(h, k, m);
        return;
    case GMSG_REPORT_UNKNOWN_HOT:
        hot_mark(h, HOTSET_MARK_REPORT_UNKNOWN_HOT, k, m->generation, m->sender);
        if (!MUTANT(G9_UNKNOWN_HOT_IGNORED)) {
            on_unknown_hot(h, k, m);
        }
        return;
    case GMSG_REPORT_UNCACHEABLE:
        hot_mark(h, HOTSET_MARK_REPORT_UNCACHEABLE, k, m->generation, m->sender);
        if (k != NULL && hot_in(k) && m->generation < k->generation) {
            hot_mark(h, HOTSET_MARK_REPORT_OUTDATED, k, m->generation, k->generation);
        } else {
            on_demote_wish(h, k, m);
        }
        return;
    case GMSG_REPORT_DEMOTE:
        hot_mark(h, HOTSET_MARK_REPORT_DEMOTE, k, m->generation, m->sender);
        on_demote_wish(h, k, m);
        return;
    case GMSG_REPORT_KINDS:
        return;
    }
}
