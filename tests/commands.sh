#!/bin/bash
# A page shows a command that does not work: the commands of README.md, CONTRIBUTING.md, docs/ and slurm/ are
# run as written, in a copy of the checkout whose build/ is this build tree, with the PATH of ./build/run.
#
# Commands stand in blocks indented by four spaces, one a line; a block with lines that begin with "$ " is a
# transcript, of which only these lines are commands. A block is one shell script that stops at the first
# failure. A comment before a block says what else it is, and every block with no such comment is run:
#     <!-- not commands -->             a drawing, a file, a formula
#     <!-- not run: REASON -->          commands that cannot be run here
#     <!-- quick: OPTIONS -->           each line gets OPTIONS added, which make it take a second or two;
#                                       KVF_FULL=1 runs the block as written
# A fenced block holds no commands: those would not be found here.
# shellcheck source=tests/lib.sh
. "${top_srcdir:?run it by make check}/tests/lib.sh"
[ "${SANITIZER:-no}" = no ] || skip "built for a sanitizer: the plain build runs the commands"
[ -e "$top_srcdir/.git" ] || skip "a tarball: the checkout that it was made of runs the commands"
need_mpi
tmpdir

# blocks PAGE DIR: each block as DIR/LINE.sh, its mark as DIR/LINE.mark; complains about fenced commands
blocks()
{
    awk -v dir="$2" '
        function end() { if (line) { close(file); close(marks) } line = 0 }
        /^```/ {
            fenced = !fenced
            end()
            if (fenced && $0 ~ /^```(sh|bash|shell|console)/) {
                print FILENAME ":" FNR ": fenced commands"
                bad = 1
            }
            next
        }
        fenced { next }
        /^<!-- .* -->$/ { end(); mark = $0; next }
        /^    / && (line || blank) {
            if (!line) {
                line = FNR
                file = sprintf("%s/%04d.sh", dir, line)
                marks = sprintf("%s/%04d.mark", dir, line)
                print mark > marks
                mark = ""
            }
            print substr($0, 5) > file
            blank = 0
            next
        }
        /^#/ { end(); blank = 1; mark = ""; next } # a heading needs no empty line before its block
        /^[ \t]*$/ { blank = 1; if (line) print "" > file; next }
        { end(); blank = 0; mark = "" }
        END { exit bad }' "$1"
}

# script FILE MARK: what of a block is to be run
script()
{
    local add=
    case $2 in
    "<!-- quick: "*)
        [ -n "${KVF_FULL:-}" ] || add=${2#"<!-- quick: "} add=${add%" -->"}
        ;;
    esac
    if grep -q '^\$ ' "$1"; then
        sed -n 's/^\$ //p' "$1"
    else
        cat "$1"
    fi | sed 's/[ \t]\{1,\}# .*//' | sed "/./s|\$|${add:+ $add}|"
}

# The checkout, in which commands may leave files.
mkdir "$TMP/checkout" || fail "mkdir"
for f in "$top_srcdir"/*; do
    [ "${f##*/}" = build ] || ln -s "$f" "$TMP/checkout/"
done
ln -s "$top_builddir" "$TMP/checkout/build"

# The check of the check.
printf 'text\n\n    false\n    true\n\n<!-- not run: x -->\n\n    exit 3\n' >"$TMP/t.md"
mkdir "$TMP/t" && blocks "$TMP/t.md" "$TMP/t" || fail "the reader of pages does not work"
[ "$(cd "$TMP/t" && echo *)" = "0003.mark 0003.sh 0008.mark 0008.sh" ] ||
    fail "the reader of pages finds: $(cd "$TMP/t" && echo *)"
if (script "$TMP/t/0003.sh" "" | bash -e -u -o pipefail); then
    fail "a block whose first command fails passes"
fi

export OMPI_MCA_rmaps_base_oversubscribe=1 # the pages' jobs have more ranks than some machines cores
limit=120
[ -z "${KVF_FULL:-}" ] || limit=1800
ran=0 left=0 bad=0
cd "$TMP/checkout" || fail "cd"
for page in README.md CONTRIBUTING.md docs/*.md slurm/*.md; do
    [ -e "$page" ] || continue
    dir=$TMP/blocks/$page
    mkdir -p "$dir"
    blocks "$page" "$dir" || bad=1
    for file in "$dir"/*.sh; do
        [ -e "$file" ] || continue
        at=$page:$(basename "$file" .sh | sed 's/^0*//')
        mark=$(cat "${file%.sh}.mark")
        case $mark in
        "" | "<!-- quick: "?*" -->") ;;
        "<!-- not commands -->") continue ;;
        "<!-- not run: "?*" -->")
            echo "$at is not run: $mark"
            left=$((left + 1))
            continue
            ;;
        *) fail "$at has a mark that says nothing: $mark" ;;
        esac
        script "$file" "$mark" >"$TMP/script"
        start=$SECONDS
        if timeout "$limit" "$top_builddir/run" bash -e -u -o pipefail "$TMP/script" >"$TMP/out" 2>&1 \
            </dev/null; then
            echo "$at: right ($((SECONDS - start)) s)"
            ran=$((ran + 1))
        else
            echo "$at fails:"
            sed 's/^/    /' "$TMP/script"
            tail -n 20 "$TMP/out"
            bad=1
        fi
    done
done
[ $ran -gt 0 ] || fail "no page has a command"
[ $bad -eq 0 ] || fail "a command of a page does not work as written"
echo "$ran blocks were run, $left were not"
