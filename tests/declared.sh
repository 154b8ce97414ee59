# shellcheck shell=bash
# declared HEADER [PREPROCESSOR FLAGS]: the functions that a public header declares, one a line,
# sorted. Typedefs, inline functions, and what the header includes do not count. Sourced by tests.
declared()
{
    local header=$1
    shift
    ${CC:-cc} -E "$@" -I"$top_srcdir/include" "$header" | awk -v want="$header" '
        /^# [0-9]+ / { split($0, part, "\""); here = (part[2] == want); next }
        !here { next }
        {
            n = length($0)
            for (i = 1; i <= n; i++) {
                c = substr($0, i, 1)
                if (c == "{" && text ~ /extern +"C" *$/) { text = ""; continue }
                if (c == "{") { depth++; continue }
                if (c == "}") { if (depth > 0) depth--; continue }
                if (depth > 0) continue
                if (c == ";") {
                    if (text !~ /(^| )(typedef|static) / && match(text, /kvf_[a-z0-9_]+ *\(/)) {
                        name = substr(text, RSTART, RLENGTH)
                        sub(/ *\($/, "", name)
                        print name
                    }
                    text = ""
                    continue
                }
                text = text c
            }
            text = text " "
        }' | sort -u
}
