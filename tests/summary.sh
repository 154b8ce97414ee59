#!/bin/bash
# summary.sh BUILD-DIR: what the last `make check` in BUILD-DIR did, from automake's .trs files: the
# failed tests with the end of their logs, the skipped ones with their reasons, and one line of counts
# last. Fails when a test failed, or when none ran.
set -u
build=${1:?usage: summary.sh BUILD-DIR}
passed=0 failed=0 skipped=0
failures=() skips=()

while IFS= read -r trs; do
    result=$(sed -n 's/^:global-test-result: *//p' "$trs")
    name=${trs#"$build"/}
    name=${name%.trs}
    case $result in
        PASS | XFAIL) passed=$((passed + 1)) ;;
        SKIP)
            skipped=$((skipped + 1))
            # the last line of its own, before the one that automake adds
            why=$(grep -av "^SKIP $name" "${trs%.trs}.log" | grep -a . | tail -n 1)
            skips+=("$name: ${why#SKIP: }")
            ;;
        *)
            failed=$((failed + 1))
            failures+=("$name")
            ;;
    esac
done < <(find "$build/tests" -name '*.trs' | sort)

for name in ${failures[@]+"${failures[@]}"}; do
    printf '\n-- FAILED %s, the end of %s\n' "$name" "$build/$name.log"
    tail -n 30 "$build/$name.log"
done
if [ "$skipped" -gt 0 ]; then
    printf '\n-- skipped\n'
    printf '   %s\n' "${skips[@]}"
fi
printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
