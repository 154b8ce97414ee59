#!/bin/bash
# Who may include whom. Rooms see only what lies below them:
#     base <- copy, ucx <- path <- engine        kv and tools: base and public headers
#     mpi, examples: public headers only         public headers: kvferry.h and the C library
# and each foreign header lives in one room (UCX in two: kvf_bench measures it alone). Headers include
# each other without cycles. The script first looks at a small tree with known faults, so that a check
# that finds nothing is noticed.
. "$top_srcdir/tests/lib.sh"
tmpdir

# rooms_of ROOM: the rooms whose headers ROOM may include; "public" is include/
rooms_of()
{
    case $1 in
        src/base) echo "src/base kvferry.h" ;;
        src/copy) echo "src/copy src/base kvferry.h" ;;
        src/ucx) echo "src/ucx src/base kvferry.h" ;;
        src/path) echo "src/path src/copy src/ucx src/base kvferry.h" ;;
        src/engine) echo "src/engine src/path src/copy src/ucx src/base kvferry.h" ;;
        src/kv) echo "src/kv src/base kvferry.h kvferry/kv.h" ;;
        src/mpi) echo "src/mpi kvferry.h kvferry/kv.h kvferry/mpi.h" ;;
        tools | tools/bench | tools/bench/bare | tools/explain | tools/replay) echo "tools src/base kvferry.h kvferry/kv.h kvferry/mpi.h" ;;
        mpi_examples) echo "kvferry.h kvferry/kv.h kvferry/mpi.h" ;;
        include) echo "" ;;
        include/kvferry) echo "kvferry.h kvferry/kv.h" ;;
    esac
}

# foreign HEADER: the rooms that may include it; nothing means any
foreign()
{
    case $1 in
        ucp/* | uct/* | ucs/* | ucm/*) echo "src/ucx tools/bench/bare" ;;
        mpi.h) echo "src/mpi tools mpi_examples include/kvferry" ;;
        cuda.h | cuda_runtime*.h) echo "src/copy" ;;
        xxhash.h) echo "src/base" ;;
        infiniband/*) echo "none" ;;
        check.h) echo "none" ;;
    esac
}

# includes FILE: the names it includes, q NAME for "NAME" and a NAME for <NAME>
includes()
{
    sed -nE 's/^[ \t]*#[ \t]*include[ \t]*"([^"]+)".*/q \1/p; s/^[ \t]*#[ \t]*include[ \t]*<([^>]+)>.*/a \1/p' "$1"
}

# resolve TREE ROOM HOW NAME: the file that is meant, from the tree's root; nothing if there is none.
# Only "NAME" looks in the room itself first.
resolve()
{
    local at places=(src include)
    [ "$3" = a ] || places=("$2" src include)
    set -- "$1" "$2" "$4"
    for at in "${places[@]}"; do
        if [ -e "$1/$at/$3" ]; then
            realpath -m --relative-to="$1" "$1/$at/$3"
            return
        fi
    done
}

# check_tree TREE: prints one sentence a fault, and `from to` of each include into $TMP/edges
check_tree()
{
    local tree=$1 room file how name target allowed in ok a
    : >"$TMP/edges"
    for room in src/base src/copy src/ucx src/path src/engine src/kv src/mpi tools tools/bench tools/bench/bare \
        tools/explain tools/replay \
        mpi_examples include include/kvferry; do
        allowed=$(rooms_of $room)
        for file in "$tree/$room"/*.[ch]; do
            [ -e "$file" ] || continue
            while read -r how name; do
                [ "$name" != config.h ] || continue
                target=$(resolve "$tree" "$room" "$how" "$name")
                if [ -z "$target" ]; then
                    if [ "$how" = q ]; then
                        echo "${file#"$tree"/} includes \"$name\", which is nowhere in the tree"
                        continue
                    fi
                    in=$(foreign "$name")
                    case " $in " in
                        "  " | *" $room "*) ;;
                        *) echo "${file#"$tree"/} includes <$name>, which is for: $in" ;;
                    esac
                    continue
                fi
                echo "${file#"$tree"/} $target" >>"$TMP/edges"
                ok=no
                for a in $allowed; do
                    case $target in
                        include/"$a") ok=yes ;;
                        "$a"/*) ok=yes ;;
                    esac
                done
                [ $ok = yes ] ||
                    echo "${file#"$tree"/} includes $target, and $room may see: ${allowed:-nothing}"
            done < <(includes "$file")
        done
    done
    if ! tsort "$TMP/edges" >/dev/null 2>"$TMP/cycle"; then
        echo "headers include each other in a circle: $(sed 's/^tsort: //' "$TMP/cycle" | tr '\n' ' ')"
    fi
}

# ---- the tree of faults
bad=$TMP/bad
mkdir -p "$bad"/src/{base,copy,ucx,path,engine,kv,mpi} "$bad"/{tools,mpi_examples,include/kvferry}
touch "$bad"/include/kvferry.h "$bad"/src/engine/e.h "$bad"/src/path/p.h
echo '#include "path/p.h"' >"$bad/src/base/up.c"
echo '#include "engine/e.h"' >"$bad/src/path/up.c"
echo '  #  include <ucp/api/ucp.h>' >"$bad/src/engine/ucx.c"
echo '#include <mpi.h>' >"$bad/src/kv/mpi.c"
echo '#include <mpi.h>' >"$bad/include/kvferry/mpi.h"
echo '#include "../src/path/p.h"' >"$bad/tools/inside.c"
echo '#include "gone.h"' >"$bad/src/copy/gone.c"
echo '#include "ucx/two.h"' >"$bad/src/ucx/one.h"
echo '#include "ucx/one.h"' >"$bad/src/ucx/two.h"
check_tree "$bad" >"$TMP/found"
while read -r want; do
    grep -qF "$want" "$TMP/found" || { cat "$TMP/found"; fail "the check does not see: $want"; }
done <<'EOF'
src/base/up.c includes src/path/p.h
src/path/up.c includes src/engine/e.h
src/engine/ucx.c includes <ucp/api/ucp.h>
src/kv/mpi.c includes <mpi.h>
tools/inside.c includes src/path/p.h
src/copy/gone.c includes "gone.h"
headers include each other in a circle
EOF
[ "$(wc -l <"$TMP/found")" -eq 7 ] || { cat "$TMP/found"; fail "the check sees faults that are none"; }

# ---- the tree
check_tree "$top_srcdir" >"$TMP/found"
echo "$(wc -l <"$TMP/edges") includes between files looked at"
[ ! -s "$TMP/found" ] || { cat "$TMP/found"; fail "$(wc -l <"$TMP/found") faults"; }
