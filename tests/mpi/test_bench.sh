#!/bin/bash
# kvf_bench on every path of one node: each byte compared, all bytes on the path that was asked for, the
# keys of a JSON line there, wrong arguments named. Small cases: nothing here says how fast it is.
. "$top_srcdir/tests/lib.sh"
need_mpi
tmpdir
bench=$top_builddir/tools/kvf_bench
keys='shape op path locality net piece pieces bytes gbps ops_s p50_us p99_us floor floor_gbps ratio
    cpu_s_per_gib verified_bytes mismatched_bytes runs_gbps floor_runs_gbps min_gbps max_gbps
    floor_spread cpus seed'

# field NAME: the value of a key in the one line of $TMP/json
field()
{
    sed -nE "s/.*\"$1\": (\"([^\"]*)\"|[^,}]*).*/\1/p" "$TMP/json" | tr -d '"'
}

# run RANKS ARGUMENTS...: one rank needs no launcher
run()
{
    local ranks=$1
    shift
    if [ "$ranks" -eq 1 ]; then
        "$bench" "$@"
    else
        mpi_run "$ranks" "$bench" "$@"
    fi
}

# expect PATH LOCALITY FLOOR RANKS ARGUMENTS...
expect()
{
    local path=$1 locality=$2 floor=$3 ranks=$4 key code=0
    shift 4
    run "$ranks" --path "$path" --reps 2 --json "$TMP/json" "$@" >"$TMP/out" 2>"$TMP/err" ||
        code=$?
    [ $code -eq 0 ] || { cat "$TMP/err"; fail "--path $path $*: ends with $code"; }
    [ "$(wc -l <"$TMP/json")" -eq 1 ] || fail "--path $path $*: not one line of JSON"
    for key in $keys; do
        grep -q "\"$key\": " "$TMP/json" || fail "--path $path $*: no key $key"
    done
    if command -v python3 >/dev/null; then
        python3 -m json.tool "$TMP/json" >"$TMP/pretty" || fail "--path $path $*: not JSON"
    fi
    [ "$(field locality)" = "$locality" ] || fail "--path $path $*: locality is $(field locality)"
    [ "$(field floor)" = "$floor" ] || fail "--path $path $*: floor is $(field floor)"
    [ "$(field mismatched_bytes)" = 0 ] || fail "--path $path $*: wrong bytes"
    [ "$(field verified_bytes)" -gt 0 ] || fail "--path $path $*: nothing compared"
    [ "$path" = auto ] || [ "$(field path)" = "$path" ] || fail "--path $path $*: went over $(field path)"
    echo "ok: --path $path $* ($(field verified_bytes) bytes compared)"
}

small='--piece 4K --pieces 240 --rows 3 --hot'
# shellcheck disable=SC2086  # words
{
    expect self self memcpy 1 $small
    expect self self memcpy 1 --piece 1001 --pieces 77 --hot --op write
    expect shm node memcpy 2 $small
    expect shm node memcpy 2 $small --op write --depth 5
    expect cma node memcpy 2 $small
    expect cma node memcpy 2 $small --op write --depth 5 --seed 18446744073709551615
    expect stage node memcpy 2 $small
    expect stage node memcpy 2 $small --op write --depth 5
    expect am cross socket 2 $small --net tcp
    expect am cross socket 2 $small --op write --depth 5 --net tcp
    expect auto node memcpy 2 $small
    expect shm node memcpy 2 --shape W3 --scale 1/512
    expect shm node memcpy 2 --shape pd-70b-tp4-lbhnc --scale 1/512 --net tcp
}
[ "$(field verified_bytes)" -eq $((2 * 103 * 80 * 16384)) ] ||
    fail "a cold case of 1 block of 80 x 16 KiB compares $(field verified_bytes) bytes"

# Shapes of models, made by the planner; W6 has layers inside, which stay in one segment.
for op in read write; do
    expect shm node memcpy 2 --shape W4 --scale 1/512 --op $op --peer stream,cma,mpi-rma,ucx,socket
    [ "$(field piece) $(field rows) $(field ops)" = "512 1280 1" ] || fail "W4 is not 80 x 16 pieces of 512 bytes a block"
    [ "$(field source_layout) $(field source_tp) $(field dest_tp)" = "LBNHC 4 8" ] || fail "W4 does not say what it is"
    expect am cross socket 2 --shape W4 --hot --op $op --net tcp --depth 3
    expect shm node memcpy 2 --shape W4 --hot --op $op --segments per-layer
    expect cma node memcpy 2 --shape W5 --scale 1/128 --op $op --segments per-layer
    [ "$(field ops)" = 61 ] || fail "W5 per layer has $(field ops) ops"
    expect stage node memcpy 2 --shape W6 --hot=8M --op $op --segments per-layer
    [ "$(field ops) $(field pieces) $(field hot_bytes)" = "1 6 8388608" ] || fail "W6 in 8M is not 6 pieces"
done
run 1 --path self --shape W4,W6 --hot --reps 1 --depth 1,4 --json "$TMP/json" >"$TMP/out"
[ "$(sed -nE 's/.*"shape": "(W.)".*"depth": ([0-9]).*/\1 \2/p' "$TMP/json" | tr '\n' ,)" = "W4 1,W4 4,W6 1,W6 4," ] ||
    { cat "$TMP/json"; fail "not each shape at each depth"; }

# A segment and an op for each row, each kind of memory where another one is usual.
for op in read write; do
    # shellcheck disable=SC2086  # words
    {
        expect shm node memcpy 2 $small --op $op --segments per-layer --peer stream,cma,ucx,mpi-rma
        expect cma node memcpy 2 $small --op $op --segments per-layer --depth 3
        expect am cross socket 2 $small --op $op --segments per-layer --memory own --net tcp
    }
done
grep -q '"segments": "per-layer", "memory": "own"' "$TMP/json" || fail "segments and memory are not said"
# shellcheck disable=SC2086  # words
{
    expect cma node memcpy 2 $small --memory pool
    expect shm node memcpy 2 $small --memory adopt --op write
    expect shm node memcpy 2 $small --memory adopt --segments per-layer
    expect shm node memcpy 2 --shape W2 --scale 1/128 --copy-threads 1 --depth 2
    expect self self memcpy 1 $small --memory own --segments per-layer
}

# Each peer beside a case, both ways: a column and keys of its own, and its bytes compared too.
peers=memcpy,stream,cma,mpi-shm,mpi-rma,ucx,socket
for op in read write; do
    # shellcheck disable=SC2086  # words
    expect shm node memcpy 2 $small --op $op --peer $peers
    for peer in stream cma mpi_shm mpi_rma ucx socket; do
        for key in gbps ratio cpu_s_per_gib runs_gbps; do
            grep -q "\"peer_${peer}_$key\": " "$TMP/json" || fail "no key peer_${peer}_$key"
        done
        [ "$(grep -c "$(echo $peer | tr _ -)" "$TMP/out")" -eq 1 ] || fail "no column of $peer"
    done
    ! grep -q peer_memcpy_ "$TMP/json" || fail "the floor is a peer too"
done
# shellcheck disable=SC2086  # words
expect am cross socket 2 $small --net tcp --peer memcpy,socket
grep -q '"peer_memcpy_gbps": ' "$TMP/json" || fail "no memcpy beside am"
# shellcheck disable=SC2086  # words
expect self self memcpy 1 $small --peer stream

# A large batch beside small ones: both right, and the small ones met it.
expect shm node memcpy 2 --piece 4K --pieces 1 --hot --beside 8M
[ "$(field beside_batches)" -gt 0 ] || fail "no batch ran beside the large one"
for key in beside_p50_us beside_p99_us beside_p99_ratio beside_gbps; do
    grep -q "\"$key\": " "$TMP/json" || fail "--beside: no key $key"
done
# shellcheck disable=SC2086  # words
expect am cross socket 2 $small --op write --net tcp --beside 2M

# Several paths one after the other, rank 1 looking on at self; a picture of them and its data.
mpi_run 2 "$bench" --path self,shm,adopt,cma,stage,am --peer stream,ucx --json "$TMP/json" --reps 1 --hot \
    --piece 4K --pieces 64 >"$TMP/out" 2>"$TMP/err" ||
    { cat "$TMP/err"; fail "--path self,shm,adopt,cma,stage,am"; }
[ "$(sed -nE 's/.*"path": "([a-z]+)".*/\1/p' "$TMP/json" | tr '\n' ' ')" = "self shm shm cma stage am " ] ||
    { cat "$TMP/json"; fail "not one line for each path"; }
[ "$(grep -c '"memory": "adopt"' "$TMP/json")" -eq 1 ] || fail "not one line of adopted memory"
[ "$(grep -c '"peer_ucx_gbps"' "$TMP/json")" -eq 1 ] || fail "peers stand beside more than one path"
if command -v gnuplot >/dev/null; then
    mpi_run 2 "$bench" --sweep --shape W1,W2 --scale 1/512 --path shm,am --peer ucx --reps 1 \
        --plot "$TMP/a 'b.svg" >"$TMP/out" 2>"$TMP/err" || { cat "$TMP/err"; fail "--sweep --plot"; }
    ! grep -v 'warn: far peers with UCX' "$TMP/err" || fail "gnuplot says something"
    tail -n 3 "$TMP/a 'b.svg" | grep -q '</svg>' || fail "the picture is no whole SVG"
    for title in 'kvferry shm' 'kvferry am' memcpy 'UCX alone' 'TCP socket'; do
        grep -q "$title" "$TMP/a 'b.svg" || fail "no curve of $title in the picture"
    done
    [ "$(grep -c '^[0-9]' "$TMP/a 'b.dat")" -eq $((5 * 2)) ] || fail "the data are not 5 curves of 2 sizes"
else
    echo "no gnuplot here: no picture was drawn"
fi
mkdir "$TMP/bin"
find -L /bin /usr/bin /usr/local/bin -maxdepth 1 -type f ! -name 'gnuplot*' \
    -exec ln -sf -t "$TMP/bin" {} + 2>/dev/null
PATH=$TMP/bin "$bench" --path self --hot --plot "$TMP/x.svg" >"$TMP/out" 2>"$TMP/err" &&
    fail "--plot without gnuplot ends well"
grep -q 'gnuplot is not installed (Debian: gnuplot-nox)' "$TMP/err" ||
    { cat "$TMP/err"; fail "--plot without gnuplot does not say what is missing"; }
[ ! -s "$TMP/out" ] || fail "--plot without gnuplot measured something"

mpi_run 2 "$bench" --path shm --shape W9 --hot --reps 1 --json - >"$TMP/out" 2>"$TMP/err" ||
    { cat "$TMP/err"; fail "W9"; }
[ "$(grep -c '"shape": "W9"' "$TMP/out")" -eq 7 ] || fail "W9 is not 7 sizes"
[ "$(wc -l <"$TMP/out")" -eq 7 ] || { cat "$TMP/out"; fail "--json - brings more than JSON"; }

# Layer by layer: each of 80 is seen, after its last byte.
for path in self shm cma am; do
    run $([ $path = self ] && echo 1 || echo 2) --path $path --shape W8 --scale 1/256 --reps 2 \
        --json - >"$TMP/out" 2>"$TMP/err" || { cat "$TMP/err"; fail "W8 over $path"; }
    grep -q '"op": "write".*"layers": [0-9]*0, "layer_p50_us": [0-9.e-]*, "layer_p99_us": [0-9.]*,' \
        "$TMP/out" || { cat "$TMP/out"; fail "W8 over $path: no layers seen"; }
    grep -q '"layer_floor": "awake", "layer_floor_p50_us": [0-9.e-]*, .*"layer_p99_ratio": [0-9.]*[,}]' \
        "$TMP/out" || { cat "$TMP/out"; fail "W8 over $path: no floor of its layers"; }
    grep -q '"mismatched_bytes": 0[,}]' "$TMP/out" || fail "W8 over $path: bytes are wrong"
done
for how in "shm --scale 1/512 --await fd" "am --scale 1/512 --await fd" "shm --scale 1/4 --gap 1000" \
    "am --scale 1/512 --segments per-layer"; do
    # shellcheck disable=SC2086  # words
    mpi_run 2 "$bench" --shape W8 --reps 1 --json - --path $how >"$TMP/out" 2>"$TMP/err" ||
        { cat "$TMP/err"; fail "W8 over $how"; }
    want=asleep
    case $how in *per-layer) want=awake ;; esac
    grep -q "\"layer_floor\": \"$want\"" "$TMP/out" ||
        { cat "$TMP/out"; fail "W8 over $how: the floor is not $want"; }
done

# refuse CODE WANT RANKS ARGUMENTS...: that exit code, and a sentence that starts so
refuse()
{
    local want_code=$1 want=$2 ranks=$3 code=0
    shift 3
    run "$ranks" "$@" >"$TMP/out" 2>"$TMP/err" || code=$?
    [ $code -eq "$want_code" ] || { cat "$TMP/err"; fail "kvf_bench $*: ends with $code"; }
    grep -qF -- "kvf_bench: $want" "$TMP/err" || { cat "$TMP/err"; fail "kvf_bench $*: no \"$want\""; }
    [ "$(grep -c '^kvf_bench: ' "$TMP/err")" -eq 1 ] || fail "kvf_bench $*: not said once"
}
refuse 2 '--shape: "W11" is none of' 1 --shape W11
refuse 2 '--piece: not together with --shape' 1 --shape W2 --piece 4K
refuse 2 '--rows: 3 does not divide the 10 pieces' 2 --piece 4K --pieces 10 --rows 3
refuse 2 '--depth: 0 is not within' 1 --depth 0
refuse 2 '--depth: 65 is not within' 1 --depth 1,65
refuse 2 '--depth: at most 8 of them' 1 --depth 1,1,1,1,1,1,1,1,1
refuse 2 '--hot: ' 1 --hot=0
refuse 2 '--reps: "x" is not a number' 1 --reps x
refuse 2 '--path: "rma" is none of' 1 --path rma
refuse 2 '--op: "copy" is none of' 1 --op copy
refuse 2 '--await: "futex" is none of' 1 --await futex
refuse 2 '--scale: 0 is not above 0' 1 --scale 0
refuse 2 '--json: cannot write /nowhere/x: ' 1 --path self --json /nowhere/x
refuse 2 '--path shm takes 2 ranks' 1 --path shm
refuse 2 '--path self takes 1 rank' 2 --path self
refuse 2 '--path shm takes 2 ranks' 1 --path self,shm
refuse 2 '--path: shm is there twice' 2 --path shm,am,shm
refuse 2 '--plot: "x.png" does not end in .svg' 1 --path self --plot x.png
refuse 2 '--copy-threads: 65 is not within' 1 --copy-threads 65
refuse 2 '--beside: ' 1 --beside 1K
refuse 2 '--segments: "two" is none of' 1 --segments two
refuse 2 '--memory: "gpu" is none of' 1 --memory gpu
refuse 1 'W2, pieces of 16 KiB: --path: KVF_ERR_NO_PATH' 2 --path shm --memory own --hot
refuse 2 '--peer: "nfs" is none of' 1 --path self --peer stream,nfs
refuse 1 'W2, pieces of 16 KiB: --peer ucx takes 2 ranks' 1 --path self --hot --peer ucx
refuse 1 'own, pieces of 1 GiB: the case takes ' 1 --path self --piece 1G --pieces 60000
