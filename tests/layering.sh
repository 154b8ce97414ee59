#!/bin/bash
# Who may include whom, and who may call whom. Rooms see only what lies below them:
#     base <- copy, ucx <- path <- engine        kv and tools: base and public headers
#     mpi, examples: public headers only         public headers: kvferry.h and the C library
# and each foreign header lives in one room (UCX in two: kvf_bench measures it alone). Neither headers nor
# calls between files go in a circle; the calls are read from the objects of the build. The script first
# looks at a small tree with known faults, so that a check that finds nothing is noticed.
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

# symbols TREE BUILD: `file type symbol` of each global symbol of the objects of src, "type" U if it is
# defined elsewhere. Objects of files that have gone are left out.
symbols()
{
    local object file nm_args=()
    for object in "$2"/src/*/.libs/*_la-*.o "$2"/src/*/*_la-*.o; do
        [ -e "$object" ] || continue
        file=${object#"$2"/}
        file=${file/\/.libs\///}
        file=${file%/*}/${file##*_la-}
        [ ! -e "$1/${file%.o}.c" ] || nm_args+=("$object")
    done
    [ ${#nm_args[@]} -eq 0 ] || "${NM:-nm}" -A -P "${nm_args[@]}" 2>/dev/null | awk -v top="$2/" '
        $3 ~ /^[A-TV-Z]$/ || $3 == "U" {
            file = substr($1, length(top) + 1)
            sub(/:$/, "", file)
            sub(/\/\.libs\//, "/", file)
            sub(/[^\/]*_la-/, "", file)
            sub(/\.o$/, ".c", file)
            print file, $3, $2
        }'
}

# calls_of: `from to symbol` for each symbol of another file's, from what symbols() prints
calls_of()
{
    sort -u | awk '
        $2 == "U" { needs[$1 " " $3] = 1; next }
        { home[$3] = $1 }
        END {
            for (need in needs) {
                split(need, n, " ")
                if (n[2] in home && home[n[2]] != n[1])
                    print n[1], home[n[2]], n[2]
            }
        }' | sort
}

# circles: one line a circle, its files in order, from `from to` lines
circles()
{
    awk '
        function reach(from, at,    n, i, next_ones) {
            n = split(to[at], next_ones, " ")
            for (i = 1; i <= n; i++)
                if (!((from, next_ones[i]) in reached)) {
                    reached[from, next_ones[i]] = 1
                    reach(from, next_ones[i])
                }
        }
        { to[$1] = to[$1] " " $2 }
        END {
            for (a in to)
                reach(a, a)
            for (a in to) {
                first = ""
                for (b in to)
                    if ((a, b) in reached && (b, a) in reached && (first == "" || b < first))
                        first = b
                if (first != "")
                    print first, a
            }
        }' | sort | awk '
        $1 != first { printf "%s%s", first == "" ? "" : "\n", $2; first = $1; next }
        { printf " %s", $2 }
        END { if (first != "") print "" }'
}

# check_calls TREE BUILD: prints one sentence a fault, and the calls into $TMP/calls
check_calls()
{
    local from to symbol
    symbols "$1" "$2" | calls_of >"$TMP/calls"
    cut -d ' ' -f 1,2 "$TMP/calls" | sort -u | circles | sed 's/^/files call each other in a circle: /'
    while read -r from to symbol; do
        case " $(rooms_of "${from%/*}") " in
            *" ${to%/*} "*) ;;
            *) echo "$from calls $symbol of $to, and ${from%/*} may see: $(rooms_of "${from%/*}")" ;;
        esac
    done < <(awk '$3 ~ /^kvfi_/' "$TMP/calls")
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

# compile FILE TEXT: a file of the tree of faults, and its object in the build of faults
compile()
{
    local room=${1%/*} name=${1##*/}
    mkdir -p "$TMP/calling/$room" "$TMP/build/$room/.libs"
    echo "$2" >"$TMP/calling/$1"
    # shellcheck disable=SC2086
    $CC -c -o "$TMP/build/$room/.libs/libkvf_la-${name%.c}.o" "$TMP/calling/$1" || fail "$CC"
}
compile src/engine/one.c 'int kvfi_two(void); int kvfi_one(void) { return kvfi_two(); }'
compile src/engine/two.c 'int kvfi_three(void); int kvfi_two(void) { return kvfi_three(); }'
compile src/engine/three.c 'int kvfi_one(void); int kvfi_word; int kvfi_three(void) { return kvfi_one(); }'
compile src/engine/user.c 'int kvfi_one(void); int kvf_user(void) { return kvfi_one(); }'
compile src/engine/gone.c 'int kvfi_gone(void); int kvfi_four(void) { return kvfi_gone(); }'
compile src/engine/went.c 'int kvfi_four(void); int kvfi_gone(void) { return kvfi_four(); }'
compile src/path/data.c 'extern int kvfi_word; int *kvfi_data(void) { return &kvfi_word; }'
rm "$TMP/calling/src/engine/gone.c"
check_calls "$TMP/calling" "$TMP/build" >"$TMP/found"
sort >"$TMP/wanted" <<'EOF'
files call each other in a circle: src/engine/one.c src/engine/three.c src/engine/two.c
src/path/data.c calls kvfi_word of src/engine/three.c, and src/path may see: src/path src/copy src/ucx src/base kvferry.h
EOF
sort "$TMP/found" | diff "$TMP/wanted" - || fail "the check of calls sees what is not there, or does not see what is"

# ---- the tree
check_tree "$top_srcdir" >"$TMP/found"
echo "$(wc -l <"$TMP/edges") includes between files looked at"
check_calls "$top_srcdir" "$top_builddir" >>"$TMP/found"
echo "$(wc -l <"$TMP/calls") calls between files looked at"
[ "$(wc -l <"$TMP/calls")" -gt 500 ] || fail "the objects in $top_builddir/src tell of hardly any calls"
[ ! -s "$TMP/found" ] || { cat "$TMP/found"; fail "$(wc -l <"$TMP/found") faults"; }
