# Two processes stream to each other over the driver; then the counters of one of them must show that verbs did it, and
# the kernel's that no TCP was involved (siw is TCP underneath, so this is for rxe only).
stream=$((MESSAGES * 2))
seconds=$((60 + stream / 1000))
tcp_segments() { awk '$1 == "Tcp:" && $2 ~ /^[0-9]/ { print $11 + $12 }' /proc/net/snmp; }
before=$(tcp_segments)
transport-pair rdma 1 $HOST 7801 2 $HOST2 7802 $stream $seconds >/tmp/pair1 2>&1 &
first=$!
transport-pair rdma 2 $HOST2 7802 1 $HOST 7801 $stream $seconds >/tmp/pair2 2>&1
second_status=$?
wait $first
first_status=$?
cat /tmp/pair1
grep ^transport-pair /tmp/pair2
[ $first_status = 0 ] && [ $second_status = 0 ] || { cat /tmp/pair2; exit 1; }
for counter in sends receives inline_sends signalled doorbells completions wakeups; do
    grep -q "^ *$counter  *[1-9]" /tmp/pair1 || { echo "counter $counter is zero"; exit 1; }
done
segments=$(($(tcp_segments) - before))
echo "TCP segments sent and received meanwhile: $segments"
[ $DRIVER != rxe ] || [ $segments = 0 ]
