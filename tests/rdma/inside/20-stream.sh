# Two processes stream to each other over the driver; then the counters of one of them must show that verbs did it.
stream=$((MESSAGES * 2))
transport-pair rdma 1 $HOST 7801 2 $HOST2 7802 $stream 120 >/tmp/pair1 2>&1 &
first=$!
transport-pair rdma 2 $HOST2 7802 1 $HOST 7801 $stream 120 >/tmp/pair2 2>&1
second_status=$?
wait $first
first_status=$?
cat /tmp/pair1
tail -1 /tmp/pair2
[ $first_status = 0 ] && [ $second_status = 0 ] || { cat /tmp/pair2; exit 1; }
for counter in sends receives inline_sends signalled doorbells completions wakeups; do
    grep -q "^ *$counter  *[1-9]" /tmp/pair1 || { echo "counter $counter is zero"; exit 1; }
done
