#!/bin/bash
# The documentation covers the interface: a comment directly above each public function, one manual page
# a header that says what each of its functions does and what each field of its structs means, and pages that
# mandoc accepts.
. "$top_srcdir/tests/lib.sh"
. "$top_srcdir/tests/declared.sh"
tmpdir
bad=0

complain()
{
    echo "$*"
    bad=1
}

# uncommented HEADER: functions whose declaration does not follow a comment's end
uncommented()
{
    awk '
        /^[a-z].*[ *]kvf_[a-z0-9_]+ *\(/ && !/^(typedef|static)/ {
            name = $0
            sub(/ *\(.*/, "", name)
            sub(/.*[ *]/, "", name)
            if (before !~ /\*\/[ \t]*$/) print name
        }
        { before = $0 }' "$1"
}

# fields HEADER: "STRUCT FIELD" of each public struct, but for sizes and what is reserved
fields()
{
    awk '{ text = text $0 "\n" }
        END {
            gsub(/\/\*([^*]|\*[^\/])*\*\//, "", text)
            lines = split(text, line, "\n")
            for (i = 1; i <= lines; i++) {
                at = line[i]
                if (at ~ /^typedef struct (kvf_[a-z_]+ )?\{/) { inside = 1; count = 0 }
                if (at ~ /^\}/ && inside) {
                    gsub(/^\} |;.*/, "", at)
                    for (j = 0; j < count; j++) print at, field[j]
                    inside = 0
                }
                if (!inside || at !~ /;[ \t]*$/) continue
                sub(/\)\(.*/, "", at)
                sub(/(\[[A-Za-z0-9_]*\])?;.*/, "", at)
                sub(/.*[ *(}]/, "", at)
                if (at !~ /^(struct_size|reserved.*)$/) field[count++] = at
            }
        }' "$1"
}

printf 'int kvf_bare(void);\n/* text */\nint kvf_told(void);\n' >"$TMP/t.h"
[ "$(uncommented "$TMP/t.h")" = kvf_bare ] || fail "the check for comments does not work"
printf 'typedef struct kvf_t {\n struct {\n  int x; /**< a; */\n } in[N];\n int (*f)(int);\n} kvf_t_t;\n' >"$TMP/t.h"
[ "$(fields "$TMP/t.h" | tr '\n' ',')" = "kvf_t_t x,kvf_t_t in,kvf_t_t f," ] ||
    fail "the reader of fields does not work"

for header in "$top_srcdir"/include/kvferry.h "$top_srcdir"/include/kvferry/*.h; do
    [ -e "$header" ] || continue
    name=${header#"$top_srcdir"/include/}
    for f in $(uncommented "$header"); do
        complain "$name: $f has no comment directly above it"
    done
    if [ "$name" = kvferry/mpi.h ] && [ -z "$MPI_CFLAGS" ]; then
        echo "no MPI here: $name was not looked at"
        continue
    fi
    page=$(echo "${name%.h}" | tr / _)
    page=$top_srcdir/man/$page.3
    if [ ! -e "$page" ]; then
        complain "$name has no manual page ${page##*/}"
        continue
    fi
    # shellcheck disable=SC2086  # flags
    for f in $(declared "$header" $MPI_CFLAGS); do
        grep -q "^\.Fo $f\$" "$page" || complain "the synopsis of ${page##*/} lacks $f"
        grep -q "^\.It Fn $f\$" "$page" || complain "${page##*/} does not say what $f does"
    done
    for f in $(sed -n '/^typedef struct \(kvf_[a-z_]* \)\{0,1\}{/,/^}/s/^} \(kvf_[a-z_]*\);.*/\1/p' "$header"); do
        grep -q "^\.Vt $f\$" "$page" || complain "${page##*/} does not say what the fields of $f mean"
    done
    while read -r struct f; do
        sed -n "/^\.Vt $struct\$/,/^\.El/p" "$page" | grep -qE "^\.It Fa (.* )?(path\[\]\.)?$f( |\[|\$)" ||
            complain "${page##*/} does not say what $f of $struct means"
    done < <(fields "$header")
    # shellcheck disable=SC2013  # names
    for f in $(sed -n 's/^\.F[on] \(kvf_[a-z0-9_]*\).*/\1/p' "$page" | sort -u); do
        grep -q "\b$f *(" "$top_srcdir"/include/kvferry.h "$top_srcdir"/include/kvferry/*.h ||
            complain "${page##*/} names $f, which no public header has"
    done
done

if [ -n "${MANDOC:-}" ]; then
    for page in "$top_srcdir"/man/*.[1-9]; do
        [ -e "$page" ] || continue
        "$MANDOC" -T lint -W error "$page" || complain "mandoc refuses ${page##*/}"
    done
else
    echo "no mandoc here: the pages' syntax was not looked at"
fi

[ $bad -eq 0 ] || fail "the documentation does not cover the interface"
