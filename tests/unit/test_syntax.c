#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "backends/cmd/cmd.h"
#include "backends/server/syntax.h"

static struct syntax tree;

/* The tree as text: name:type, token in front with =, ? optional, * multiple, + multiple_token,
 * children in parentheses. */
static void show(int16_t first, char *out, size_t room)
{
    size_t used = strlen(out);
    for (int16_t i = first; i >= 0; i = tree.args[i].next) {
        const struct syntax_arg *a = &tree.args[i];
        used += (size_t)snprintf(out + used, room - used, "%s%s%s%s:%s%s%s%s",
                                 i == first ? "" : " ", a->token, a->token[0] == '\0' ? "" : "=",
                                 a->name, syntax_type_name(a->type), a->optional ? "?" : "",
                                 a->multiple ? "*" : "", a->multiple_token ? "+" : "");
        if (a->first >= 0) {
            used += (size_t)snprintf(out + used, room - used, "(");
            show(a->first, out, room);
            used = strlen(out);
            used += (size_t)snprintf(out + used, room - used, ")");
        }
    }
}

static void assert_tree(const char *syntax, const char *want)
{
    char text[2048] = "";
    assert_int_equal(syntax_parse(syntax, &tree), OK);
    show(tree.first, text, sizeof text);
    assert_string_equal(text, want);
}

static void plain_values(void **state)
{
    (void)state;
    assert_tree("key value", "key:key value:string");
    assert_tree("key increment", "key:key increment:integer");
    assert_tree("", "");
    assert_tree(NULL, "");
}

static void options_with_tokens(void **state)
{
    (void)state;
    assert_tree("key value [NX | XX] [GET] [EX seconds | PX milliseconds | KEEPTTL]",
                "key:key value:string "
                "nx_or_xx:oneof?(NX=nx:pure-token XX=xx:pure-token) "
                "GET=get:pure-token? "
                "seconds_or_milliseconds_or_keepttl:oneof?(EX=seconds:integer "
                "PX=milliseconds:integer KEEPTTL=keepttl:pure-token)");
    assert_tree("cursor [MATCH pattern] [COUNT count]",
                "cursor:integer MATCH=pattern:pattern? COUNT=count:integer?");
    assert_tree("key [LIMIT offset count]",
                "key:key LIMIT=offset_count:block?(offset:integer count:integer)");
}

static void repetitions(void **state)
{
    (void)state;
    assert_tree("key [key ...]", "key:key*");
    assert_tree("[command-name [command-name ...]]", "command-name:string?*");
    assert_tree("key value [key value ...]", "key_value:block*(key:key value:string)");
    assert_tree("key [GET pattern [GET pattern ...]]", "key:key GET=pattern:pattern?*+");
    assert_tree("name [x ...]", "name:string x:string?*");
}

static void choices(void **state)
{
    (void)state;
    assert_tree("<YES | NO>", "yes_or_no:oneof(YES=yes:pure-token NO=no:pure-token)");
    assert_tree("<host port | NO ONE>",
                "host_port_or_no_one:oneof(host_port:block(host:string port:integer) "
                "no_one:block(NO=no:pure-token ONE=one:pure-token))");
    assert_tree("[TYPE <NORMAL | PUBSUB>]",
                "TYPE=normal_or_pubsub:oneof?(NORMAL=normal:pure-token PUBSUB=pubsub:pure-token)");
}

static void names_that_clients_see(void **state)
{
    (void)state;
    assert_tree("source <where: LEFT | RIGHT> timeout(double)",
                "source:key where:oneof(LEFT=left:pure-token RIGHT=right:pure-token) "
                "timeout:double");
    assert_tree("[CH:change] <id_or_auto: *:auto_id | id(string)>",
                "CH=change:pure-token? id_or_auto:oneof(*=auto_id:pure-token id:string)");
    assert_tree("<data: key value> [data ...]", "data:block*(key:key value:string)");
    assert_tree("<parameter: parameter> [parameter ...]", "parameter:block*(parameter:string)");
    assert_tree("STREAMS <streams: key [key ...] id(string) [id ...]>",
                "STREAMS=streams:block(key:key* id:string*)");
    assert_tree("BYBOX width, height [order: ASC | DESC]",
                "BYBOX=width:double height:double "
                "order:oneof?(ASC=asc:pure-token DESC=desc:pure-token)");
    assert_tree("ip:port", "ip:port:string");
    assert_int_equal(syntax_parse("GET pattern(pattern#1)", &tree), OK);
    assert_int_equal(tree.args[tree.first].key_spec, 1);
    assert_int_equal(syntax_parse("x(nothing)", &tree), ERR_SYNTAX);
}

static void unbalanced_text_is_refused(void **state)
{
    (void)state;
    assert_int_equal(syntax_parse("key [NX", &tree), ERR_SYNTAX);
    assert_int_equal(syntax_parse("key NX]", &tree), ERR_SYNTAX);
    assert_int_equal(syntax_parse("<a | b", &tree), ERR_SYNTAX);
    assert_int_equal(syntax_parse("a | b", &tree), ERR_SYNTAX);
}

static void check_row(const struct cmd *cmd)
{
    if (syntax_parse(cmd->syntax, &tree) != OK) {
        fail_msg("syntax of %s: %s", cmd->name, cmd->syntax);
    }
    assert_non_null(cmd->summary);
    for (const struct cmd *sub = cmd->subs; sub != NULL && sub->name != NULL; sub++) {
        check_row(sub);
    }
}

static void every_row_has_a_syntax_that_parses(void **state)
{
    (void)state;
    assert_true(cmd_count() > 50);
    for (size_t i = 0; i < cmd_count(); i++) {
        check_row(cmd_at(i));
    }
}

static void reply_is_one_whole_value(void **state)
{
    (void)state;
    for (uint8_t proto = 2; proto <= 3; proto++) {
        struct buf b = {0};
        struct resp_out out = {&b, proto};
        assert_int_equal(syntax_parse("key [NX | XX] [EX seconds] value [value ...]", &tree), OK);
        syntax_reply(&tree, 1, &out);
        assert_int_equal(resp_reply_size(buf_head(&b), buf_used(&b)), (int64_t)buf_used(&b));
        buf_free(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_values),
        cmocka_unit_test(options_with_tokens),
        cmocka_unit_test(repetitions),
        cmocka_unit_test(choices),
        cmocka_unit_test(names_that_clients_see),
        cmocka_unit_test(unbalanced_text_is_refused),
        cmocka_unit_test(every_row_has_a_syntax_that_parses),
        cmocka_unit_test(reply_is_one_whole_value),
    };
    return cmocka_run_group_tests_name("syntax", tests, NULL, NULL);
}
