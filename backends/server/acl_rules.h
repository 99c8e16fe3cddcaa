#ifndef BACKENDS_SERVER_ACL_RULES_H
#define BACKENDS_SERVER_ACL_RULES_H

#include "backends/server/acl.h"

/* One user under construction: not yet seen by other threads. */
struct acl_user *acl_user_new(struct span name); /* off, no password, no rights; one reference */
struct acl_user *acl_user_clone(const struct acl_user *u);
void acl_user_clear(struct acl_user *u); /* frees what it holds but its name */

/* One rule of SETUSER: "on", "+@read", ">password", "%R~cache:*" ... why->text is Redis'
 * explanation. */
enum err acl_apply_rule(struct acl_user *u, struct span rule, struct errmsg *why) must_use;

/* Replaces a's users by those of `with`. */
void acl_replace(struct acl *a, struct acl *with);
void acl_log_reset(struct acl *a);

#endif
