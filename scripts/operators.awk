# operators.awk: every place in C files where an operator can be replaced by its neighbour, one line
# each: FILE<tab>LINE<tab>COLUMN<tab>LENGTH<tab>REPLACEMENT<tab>NAME. Comments, strings, directives and
# assertions are left alone.

function point(column, text, replacement, name)
{
    printf "%s\t%d\t%d\t%d\t%s\t%s\n", FILENAME, FNR, column, length(text), replacement, name
}

# Every occurrence of `text` outside comments and strings (both are blanked in `code`).
function each(text, replacement, name,    from, at)
{
    from = 1
    while ((at = index(substr(code, from), text)) > 0) {
        point(from + at - 1, text, replacement, name)
        from += at - 1 + length(text)
    }
}

# Blank comments and strings, keeping columns.
function blank(line,    out, i, c, two)
{
    out = ""
    for (i = 1; i <= length(line); i++) {
        c = substr(line, i, 1)
        two = substr(line, i, 2)
        if (in_comment) {
            if (two == "*/") { in_comment = 0; out = out "  "; i++ } else out = out " "
        } else if (in_string) {
            if (c == "\\") { out = out "  "; i++ } else { if (c == "\"") in_string = 0; out = out " " }
        } else if (two == "/*") { in_comment = 1; out = out "  "; i++ }
        else if (two == "//") { while (length(out) < length(line)) out = out " "; break }
        else if (c == "\"") { in_string = 1; out = out " " }
        else out = out c
    }
    in_string = 0
    return out
}

FNR == 1 { in_comment = 0; in_assert = 0; in_type = 0 }
{
    code = blank($0)
    if (code ~ /^[ \t]*#/) next
    if (code ~ /PBFT_ASSERT/) in_assert = 1
    if (in_assert) { if (code ~ /;[ \t]*$/) in_assert = 0; next }

    each(" == ", " != ", "== to !=")
    each(" != ", " == ", "!= to ==")
    each(" < ", " <= ", "< to <=")
    each(" <= ", " < ", "<= to <")
    each(" > ", " >= ", "> to >=")
    each(" >= ", " > ", ">= to >")
    each(" && ", " || ", "&& to ||")
    each(" || ", " && ", "|| to &&")
    each(" + ", " - ", "+ to -")
    each(" - ", " + ", "- to +")
    each(" += ", " -= ", "+= to -=")
    each(" |= ", " = ", "|= to =")
    each(" &= ", " = ", "&= to =")
    each("true", "false", "true to false")
    each("false", "true", "false to true")
    each("(!", "(", "! dropped")
    each(" !", " ", "! dropped")
    if (code ~ /^    +[a-z_]+\(.*\);[ \t]*$/) {
        match(code, /[^ ]/)
        point(RSTART, substr($0, RSTART), ";", "call dropped")
    }
    if (code ~ /^    +[a-z_>.\[\]-]+ = .*;[ \t]*$/ && code !~ /^ *(struct|enum|const|return|unsigned|bool|static)/) {
        match(code, /[^ ]/)
        point(RSTART, substr($0, RSTART), ";", "assignment dropped")
    }
    if (code ~ /^ +(if|else if) .*\) (return|continue|break).*;[ \t]*$/) {
        match(code, /[^ ]/)
        point(RSTART, substr($0, RSTART), ";", "guard dropped")
    }
}
