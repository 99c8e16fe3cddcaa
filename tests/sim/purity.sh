#!/bin/sh
# Proves with nm that an archive of protocol cores uses nothing from outside but mem* and must_fail (clang makes a memcmp that
# only asks for equality a bcmp).
# Symbols of the sanitizers, of the stack protector and of gcov come from the build, not from the code.
#   purity.sh ARCHIVE
set -eu
defined=$(nm --defined-only "$1" | awk 'NF == 3 { print $3 }' | sort -u)
foreign=$(nm -u "$1" | awk '$1 == "U" { print $2 }' | sort -u |
    grep -vE '^(mem(cpy|set|move|cmp)(_chk)?|bcmp|__mem(cpy|set|move)_chk|must_fail|__stack_chk_fail|_GLOBAL_OFFSET_TABLE_)$' |
    grep -vE '^(__asan|__ubsan|__tsan|__sanitizer|__gcov|__llvm|__sancov)' || true)
bad=
for symbol in $foreign; do
    echo "$defined" | grep -qx "$symbol" || bad="$bad $symbol"
done
if [ -n "$bad" ]; then
    echo "not pure:$bad"
    exit 1
fi
echo "pure: $(echo "$defined" | wc -l) symbols defined, none foreign"
