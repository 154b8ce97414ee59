#!/bin/bash
# kvf_explain, which needs no job to explain: pieces, sizes and ops of real models are the published ones;
# it says which axis ends a piece, on which side, and what it offers instead is what the planner then
# makes of it; both reports say the same; a wrong command line is refused by name.
. "$top_srcdir/tests/lib.sh"
tmpdir
explain=$top_builddir/tools/kvf_explain

# say ARGUMENTS...: its report in $TMP/out
say()
{
    "$explain" "$@" >"$TMP/out" 2>"$TMP/err" || { cat "$TMP/err"; fail "kvf_explain $*: ends with $?"; }
    [ ! -s "$TMP/err" ] || { cat "$TMP/err"; fail "kvf_explain $* complains on success"; }
}

# has WHAT TEXT: the report holds a line with that text
has()
{
    grep -qF -- "$2" "$TMP/out" || { cat "$TMP/out"; fail "$1: no \"$2\""; }
}

# cell OPS PIECES ARGUMENTS...: all pairs are alike, and this is what each is
cell()
{
    local ops=$1 pieces=$2 all
    shift 2
    say "$@"
    all=$(sed -nE 's/^    [a-z ]*attention .* ([0-9]+)  [0-9.]+ [KMG]iB +(.*)$/\1 \2/p' "$TMP/out")
    [ "$all" = "$ops $pieces" ] || { cat "$TMP/out"; fail "$*: \"$all\" is not \"$ops $pieces\""; }
}

# Prompts of 8192 tokens.
while read -r model from to nhd lbnhc lbhnc trt blhnc bhlnc; do
    for column in "L2BNHD $nhd" "LBNHC $lbnhc" "LBHNC $lbhnc" "tensorrt-llm $trt" "BLHNC $blhnc" "BHLNC $bhlnc"; do
        layout=${column% *} pieces=${column#* }
        cell 1 "${pieces//_/ }" --model "$model" --src-tp "$from" --dst-tp "$to" --layout "$layout"
    done
done <<'END'
llama-3.1-8b 1 1 32768_x_32_KiB 16384_x_64_KiB 16384_x_64_KiB 512_x_2_MiB 512_x_2_MiB 512_x_2_MiB
llama-3.1-70b 4 4 81920_x_8_KiB 40960_x_16_KiB 40960_x_16_KiB 512_x_1.25_MiB 512_x_1.25_MiB 512_x_1.25_MiB
llama-3.1-70b 4 8 1310720_x_256_B 655360_x_512_B 40960_x_8_KiB 81920_x_4_KiB 40960_x_8_KiB 512_x_640_KiB
llama-3.1-70b 2 4 1310720_x_512_B 655360_x_1_KiB 40960_x_16_KiB 81920_x_8_KiB 40960_x_16_KiB 512_x_1.25_MiB
qwen3-235b 2 4 1540096_x_256_B 770048_x_512_B 48128_x_8_KiB 96256_x_4_KiB 48128_x_8_KiB 512_x_752_KiB
END
cell 1 '7808 x 72 KiB' --model deepseek-v3 --layout LBNC
cell 80 '1310720 x 256 B' --model llama-3.1-70b --src-tp 4 --dst-tp 8 --layout vllm-0.23
cell 1 '512 x 16 KiB' --model llama-3.1-70b --src-tp 4 --dst-tp 4 --layers 7
cell 1 '20480 x 16 KiB' --model llama-3.1-70b --src-tp 4 --dst-tp 4 --layers 40-79
say --model gpt-oss-120b
has 'only the window moves' '292.50 MiB'
has 'groups' 'window of 128'

say --model llama-3.1-8b --src-pp 3
has 'stages of 11, 11 and 10 layers' 'blocks of 16 tokens, 640 KiB to 704 KiB, by rank'
has 'one stage' 'blocks of 16 tokens, 2 MiB each'

# Why, on which side, and what instead: moving H out is what makes the pieces of the third column above.
say --model llama-3.1-70b --layout LBNHC --src-tp 4 --dst-tp 8 --dst-rank 3
has 'the cut' 'source       ends: 1 of its 2 heads is wanted, and H is inside of N, L'
has 'the other side' 'destination  goes on with N (tokens)'
has 'the hint' 'H further out at the source, LBHNC: pieces of 8 KiB, 40960 of them'
has 'the order for both' 'BHLNC on both sides: pieces of 640 KiB, 512 of them'
grep -Eq '512 of them; shm [0-9.]+ [mu]?s, am [0-9.]+ [mu]?s$' "$TMP/out" || fail "nothing is predicted of a hint"
has 'the pair' 'Destination rank 3 from source rank 1'
grep -q alike "$TMP/out" && fail "--dst-rank 3 tells of others"
say --src-layout LBNHC --dst-layout LBHNC
has 'orders that differ' 'source       goes on with H (heads)'
has 'orders that differ' 'destination  goes on with N (tokens)'
say --layout LBHNC
has 'scattered blocks' 'the next block lies there, for B is inside of L'
say --layout BLHNC
has 'whole blocks' 'all that the two share of a block is one piece'
grep -q 'longer' "$TMP/out" && fail "a hint where nothing can be better"
say --layout sglang
has 'allocations' 'ends: the next block lies there'
say --layout LBHNC --src-block-tokens 16 --dst-block-tokens 64
has 'ids to fill' ' 512    512 '
has 'block sizes' 'destination  ends: 16 of its 64 tokens are wanted, and N is inside of H, L'
has 'one size' 'blocks of 64 tokens on both sides: pieces of 256 KiB'
say --model deepseek-v3 --layout LBNC --src-tp 2 --dst-pp 2
has 'replicas take turns' '1984 x 72 KiB'
has 'replicas take turns' '4 pairs of ranks, 4 ops, 7808 pieces, 549 MiB'
say --model qwen3-235b --layout BHLNC --src-tp 3 --dst-tp 8 --src-pp 2 --dst-pp 5 --tokens 1001
has 'uneven cuts' '40 ranks (TP 8, PP 5)'
say --src-layout LBHNC --dst-block-tokens 64 --layout LBNHC --block-tokens 32
has 'one side against both, whatever the order' 'PP 1), LBHNC, blocks of 32 tokens'
has 'one side against both, whatever the order' 'PP 1), LBNHC, blocks of 64 tokens'
say --layout LBHNC --src-cp 2 --src-tp 2 --dst-tp 4
has 'dealt blocks' '4 ranks (TP 2, PP 1, CP 2), LBHNC'
has 'dealt blocks' '8 pairs of ranks, 8 ops, 65536 pieces, 1 GiB'
has 'dealt blocks' ' 256    256 '
say --layout LBHNC --dst-cp 2 --src-cp 2 --tokens 1000
has 'dealt alike' 'Destination rank 0 from source rank 0'
has 'dealt alike' 'together     2 pairs of ranks'

say --model deepseek-v3 --layout LBNC --src-tp 2 --tokens 64
has 'replicas and one block' 'nothing: others that hold the same have their turn'

# A hint is what the planner makes of it.
say --model llama-3.1-70b --layout LBNHC --src-tp 4 --dst-tp 8
hints=$(sed -nE 's/^      H further out at the source, ([A-Z]+): pieces of (.*), ([0-9]+) of them.*$/\1 \3 x \2/p' "$TMP/out")
cell 1 "${hints#* }" --model llama-3.1-70b --src-layout "${hints%% *}" --dst-layout LBNHC --src-tp 4 --dst-tp 8

# What README.md and docs/explain.md show is what it says, but for the time.
say --model llama-3.1-70b --layout LBNHC --src-tp 4 --dst-tp 8
for doc in README.md docs/explain.md; do
    shown=0
    while IFS= read -r line; do
        sed 's/; shm .*//' "$TMP/out" | grep -qxF -- "${line%; shm *}" || { cat "$TMP/out"; fail "$doc shows \"$line\""; }
        shown=$((shown + 1))
    done < <(awk '/^    \$ kvf_explain/ { on = 1; next } !/^ / && NF { on = 0 } on && NF' "$top_srcdir/$doc" |
        sed 's/^    //' | grep -v '^\.\.\.$\|Binding the plan\|GB/s')
    [ $shown -ge 8 ] || fail "$doc shows $shown lines of it"
done

# A prediction for each path that there is, and the explanation without one where no engine opens.
for path in self shm cma stage am; do
    grep -Eq "^      $path +[0-9.]+ [mu]?s +[0-9.]+ GB/s$" "$TMP/out" || { cat "$TMP/out"; fail "no prediction for $path"; }
done
KVFERRY_NET=foo "$explain" >"$TMP/out" 2>"$TMP/err" || fail "no engine, and it ends with $?"
grep -q '^kvf_explain: nothing is predicted: KVFERRY_NET=foo' "$TMP/err" || { cat "$TMP/err"; fail "nobody says why nothing is predicted"; }
has 'no engine' '16384 x 64 KiB'

# JSON: the object alone on standard output, text beside it
"$explain" --model llama-3.1-70b --layout LBNHC --src-tp 4 --dst-tp 8 --op write --json - >"$TMP/json" 2>"$TMP/out" ||
    fail "--json - ends with $?"
has 'text on standard error' '655360 x 512 B'
has 'who posts' 'the source writes'
[ "$(grep -c '"pieces": 655360,' "$TMP/json")" -eq 16 ] || fail "not 8 pairs of a group each in the JSON"
[ "$(grep -c '"cp": 1,' "$TMP/json")" -eq 2 ] || fail "no cp of both sides in the JSON"
for key in kvferry model tokens source destination pairs groups why hints sizes ops bind_us predicted gbps; do
    grep -q "\"$key\": " "$TMP/json" || fail "--json has no $key"
done
if command -v python3 >/dev/null; then
    python3 -m json.tool "$TMP/json" >"$TMP/pretty" || fail "--json is not JSON"
fi
"$explain" --json "$TMP/json" >"$TMP/out" || fail "--json FILE"
has 'text on standard output' 'llama-3.1-8b, 8192 tokens, 1 GiB'

# refuse CODE WANT ARGUMENTS...: that exit code, and the sentence starts so
refuse()
{
    local want_code=$1 want=$2 code=0
    shift 2
    "$explain" "$@" >"$TMP/out" 2>"$TMP/err" || code=$?
    [ $code -eq "$want_code" ] || { cat "$TMP/err"; fail "kvf_explain $*: ends with $code"; }
    grep -qF -- "kvf_explain: $want" "$TMP/err" || { cat "$TMP/err"; fail "kvf_explain $*: no \"$want\""; }
    [ ! -s "$TMP/out" ] || fail "kvf_explain $*: explains all the same"
}
refuse 2 'unknown option --nix' --nix
refuse 2 '"extra" is not an option' extra
refuse 2 '--src-tp needs a value' --src-tp
refuse 2 '--src-tp: 0 is not within' --src-tp 0
refuse 2 '--model: ' --model nobody-7b
refuse 2 '--src-layout: ' --src-layout LBXC
refuse 2 '--dst-layout: ' --dst-layout LBNC
refuse 2 '--dst-pp: llama-3.1-8b has 32 layers, fewer than 33 stages' --dst-pp 33
refuse 2 '--dst-tp, --dst-pp: 32768 ranks are more than' --dst-pp 32 --dst-tp 1024
refuse 2 '--dst-tp, --dst-pp, --dst-cp: 8192 ranks are more than' --dst-cp 8 --dst-tp 1024
refuse 2 '--src-cp: 0 is not within' --src-cp 0
refuse 2 '--dst-rank: no rank 2: ranks are counted from 0, and the last one is 1' --dst-tp 2 --dst-rank 2
refuse 1 'these ranks have nothing in common, so nothing moves' --src-tp 4 --dst-tp 4 --src-rank 3 --dst-rank 0
refuse 1 'these ranks have nothing in common in these layers' --dst-pp 2 --layers 0-3 --dst-rank 1
refuse 2 '--layers: llama-3.1-8b has layers 0 to 31' --layers 30-32
refuse 2 '--layers: 3 is not within' --layers 4-3
refuse 2 '--tokens: 0 is not within' --tokens 0
refuse 2 '--op: "copy" is none of' --op copy
refuse 2 '--path needs --analyze' --path shm
refuse 2 '--reps: 0 is not within' --analyze --reps 0
refuse 2 '--path: "rma" is none of' --analyze --path rma
refuse 2 '--memory: "gpu" is none of' --analyze --memory gpu
refuse 2 '--memory needs --analyze' --memory own
refuse 2 '--json: cannot write /nowhere/x: ' --json /nowhere/x
if [ -c /dev/full ]; then
    code=0
    "$explain" --json /dev/full >"$TMP/out" 2>"$TMP/err" || code=$?
    [ $code -eq 1 ] || fail "a full disk ends with $code"
    grep -q 'cannot write /dev/full' "$TMP/err" || fail "a full disk is not told"
fi
"$explain" --version | grep -q '^kvf_explain [0-9]' || fail "no version"
"$explain" --help >"$TMP/out" || fail "no help"
for option in model tokens layers src-layout dst-layout src-tp dst-tp src-pp dst-pp src-cp dst-cp src-block-tokens \
    dst-block-tokens src-rank dst-rank op analyze path memory net reps seed json help; do
    grep -q -- "--$option" "$TMP/out" || fail "--help does not tell --$option"
done

if [ -z "${MPIRUN:-}" ] || ! command -v "$MPIRUN" >/dev/null; then
    refuse 2 '--analyze: kvferry was built without MPI' --analyze
    echo "no MPI here: nothing was run"
    exit 0
fi

# field NAME: its values in $TMP/json, one a line
field()
{
    sed -nE "s/^ *\"$1\": \"?([^\",]*)\"?,?$/\1/p" "$TMP/json"
}

# analyze PATH PAIRS RANKS ARGUMENTS...: so many pairs run over that path, no byte wrong, and as many
# right as the plans of these pairs have, in each of 2 runs and the first one
analyze()
{
    local path=$1 pairs=$2 ranks=$3 want
    shift 3
    mpi_run "$ranks" "$explain" --analyze --reps 2 --json "$TMP/json" "$@" >"$TMP/out" 2>"$TMP/err" ||
        { cat "$TMP/out" "$TMP/err"; fail "--analyze $*: ends with $?"; }
    [ "$(field mismatched_bytes)" = 0 ] || fail "--analyze $*: $(field mismatched_bytes) bytes wrong"
    [ "$(grep -c '"measured": {' "$TMP/json")" -eq "$pairs" ] || fail "--analyze $*: not $pairs pairs"
    want=$(awk '/^      "bytes": /{ bytes = $2 + 0 } /"measured": [{]/{ sum += bytes } END { print 3 * sum }' "$TMP/json")
    [ "$want" -gt 0 ] && [ "$(field verified_bytes)" -eq "$want" ] ||
        fail "--analyze $*: $(field verified_bytes) bytes are right, and the plans have $want"
    [ "$(sed -nE '/"measured"/,/}/s/^ *"path": "([a-z]*)",$/\1/p' "$TMP/json" | grep -v none | sort -u)" = "$path" ] ||
        fail "--analyze $*: not over $path"
    [ "$(grep -cE '^  [0-9]+ from [0-9]+ ' "$TMP/out")" -eq $((pairs - $(grep -c '"path": "none"' "$TMP/json"))) ] || fail "--analyze $*: not a row a pair"
    echo "ok: $ranks processes, $* ($want bytes)"
}

small="--model llama-3.1-8b --layout LBNHC --src-tp 2 --dst-tp 4 --tokens 100"
# shellcheck disable=SC2086  # words
{
    analyze self 1 1 $small
    analyze shm 1 2 $small
    analyze shm 1 2 $small --path adopt --op write --dst-rank 3
    analyze stage 1 2 $small --path stage
    KVFERRY_PACK=packed analyze stage 1 2 $small --memory own
    analyze am 1 2 $small --path am --net tcp --op write
    analyze shm 4 6 $small --src-layout vllm-0.21 --dst-block-tokens 64
}
code=0
mpi_run 2 "$explain" --analyze --tokens 16 --path cma >"$TMP/out" 2>"$TMP/err" || code=$?
[ $code -eq 0 ] || grep -q 'cma: ' "$TMP/err" || { cat "$TMP/err"; fail "cma neither runs nor says why not"; }
analyze shm 6 5 --model deepseek-v3.2 --layout BLNC --src-tp 2 --dst-tp 3 --tokens 200
analyze shm 2 3 --model deepseek-v3 --layout LBNC --src-tp 2 --tokens 64
analyze shm 6 7 --model deepseek-v3 --layout LBNC --src-tp 2 --src-cp 2 --dst-cp 3 --tokens 700
analyze shm 1 2 $small --src-cp 4 --src-rank 6 --op write --dst-block-tokens 64
analyze shm 1 2 --model gpt-oss-120b --src-layout vllm-0.23 --dst-layout BLHNC --tokens 300 --op write
analyze shm 1 2 --model qwen3-235b --src-layout sglang --dst-layout lmcache --src-tp 3 --dst-pp 3 --tokens 300 --layers 7-20

# refuse_job RANKS CODE WANT ARGUMENTS...: said once
refuse_job()
{
    local ranks=$1 want_code=$2 want=$3 code=0
    shift 3
    mpi_run "$ranks" "$explain" --analyze "$@" >"$TMP/out" 2>"$TMP/err" || code=$?
    [ $code -eq "$want_code" ] || { cat "$TMP/err"; fail "--analyze $*: ends with $code"; }
    [ "$(grep -c '^kvf_explain: ' "$TMP/err")" -eq 1 ] || { cat "$TMP/err"; fail "--analyze $*: not said once"; }
    grep -qF -- "$want" "$TMP/err" || { cat "$TMP/err"; fail "--analyze $*: no \"$want\""; }
}
refuse_job 3 2 'the job has 3 processes; 1 or 2 run one pair of ranks, 6 all of them' --src-tp 2 --dst-tp 4
refuse_job 2 1 'a smaller --tokens would fit' --tokens 200000000
refuse_job 2 1 'KVF_ERR_NO_PATH: op 0: no path: self: the peer is another process' --path self --tokens 16
refuse_job 2 2 '--json: cannot write /nowhere/x: ' --json /nowhere/x --tokens 16
code=0
"$MPIRUN" --oversubscribe --bind-to none -n 1 "$explain" --analyze --tokens 16 : -n 1 "$explain" --analyze --tokens 32 \
    >"$TMP/out" 2>"$TMP/err" || code=$?
[ $code -ne 0 ] || fail "two command lines in a job are taken"
grep -q 'rank 1: --tokens 32 here and --tokens 16 on rank 0: all ranks' "$TMP/err" ||
    { cat "$TMP/err"; fail "options that differ are not told"; }
