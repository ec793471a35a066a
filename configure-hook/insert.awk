# Makes the insertions that `anchors` lists for one file of an FFmpeg tree, or takes them out again.
#
#   awk -f insert.awk mode=look|write|remove file=F parts="doc fftools" texts=DIR anchors FILE
#
# look prints one line an insertion: "found", "present" or "failed WHY"; write and remove print the whole new file.
# Knows nothing of FFmpeg; anchors are compared as literal beginnings of lines, marks and removals as whole lines.

function quoted(line)
{
    sub(/^[^"]*"/, "", line)
    sub(/"[^"]*$/, "", line)
    return line
}

function add_line(line, is_mark)
{
    text[count, ++lines[count]] = line
    if (is_mark)
        mark[count] = line
}

function add_file(name,    line, first)
{
    first = 1
    while ((getline line < name) > 0) {
        add_line(line, first)
        first = 0
    }
    close(name)
    if (first)
        fatal("cannot read " name)
}

function fatal(message)
{
    print "insert.awk: " message > "/dev/stderr"
    died = 1
    exit 2
}

# The text of insertion i, line j, for the anchor line that was found.
function filled(i, j,    line, word, at)
{
    line = text[i, j]
    if ((at = index(line, "@WORD3@")) > 0) {
        split(anchor_line[i], word, / /)
        line = substr(line, 1, at - 1) word[3] substr(line, at + 7)
    }
    return line
}

# Whether a line is the given mark; @WORD3@ stands for any one word.
function is_mark(line, m,    at, tail)
{
    if ((at = index(m, "@WORD3@")) == 0)
        return line == m
    if (substr(line, 1, at - 1) != substr(m, 1, at - 1))
        return 0
    tail = substr(line, at)
    sub(/^[A-Za-z0-9_]+/, "", tail)
    return tail == substr(m, at + 7)
}

# Line number of the anchor of insertion i, 0 if no alternative matches exactly once.
function find_anchor(i,    a, n, at, k)
{
    why[i] = ""
    for (a = 1; a <= anchors[i]; a++) {
        n = 0
        for (k = 1; k <= size; k++)
            if (index(body[k], before[i, a]) == 1) {
                n++
                at = k
            }
        if (n == 1) {
            anchor_line[i] = body[at]
            return at
        }
        why[i] = why[i] (a > 1 ? "; " : "") "\"" before[i, a] "\" begins " n " lines instead of 1"
    }
    return 0
}

# First line of the inserted block i, 0 if its mark is not there, -1 if it is there among other lines.
function find_block(i,    k, j, m)
{
    for (m = 1; text[i, m] != mark[i]; m++)
        ;
    for (k = 1; k <= size; k++)
        if (is_mark(body[k], mark[i])) {
            anchor_line[i] = body[k]
            for (j = 1; j <= lines[i]; j++)
                if (body[k - m + j] != filled(i, j))
                    return -1
            return k - m + 1
        }
    return 0
}

FNR == 1 { part++ }

part == 1 && /^ *(#|$)/ { next }
part == 1 && /^file/ {
    used = (quoted($0) == file)
    if (used)
        count++
    next
}
part == 1 && !used { next }
part == 1 && /^part / { if (index(" " parts " ", " " $2 " ") == 0) { count--; used = 0 } next }
part == 1 && /^before / { before[count, ++anchors[count]] = quoted($0); next }
part == 1 && /^add / { add_line(quoted($0), 0); next }
part == 1 && /^mark / { add_line(quoted($0), 1); next }
part == 1 && /^text / { add_file(texts "/" quoted($0)); next }
part == 1 { fatal("anchors, line " FNR ": not understood: " $0) }

part == 2 { body[++size] = $0 }

END {
    if (died)
        exit 2
    for (i = 1; i <= count; i++) {
        block = find_block(i)
        if (mode == "remove") {
            if (block < 0) {
                print "insert.awk: " file ": lines around \"" mark[i] "\" were changed" > "/dev/stderr"
                exit 1
            }
            for (j = 0; block > 0 && j < lines[i]; j++)
                gone[block + j] = 1
            continue
        }
        at = block ? 0 : find_anchor(i)
        if (mode == "look")
            print block ? "present" : at ? "found" : "failed " why[i]
        if (at)
            insert[at] = insert[at] " " i
    }
    if (mode == "look")
        exit 0
    for (k = 1; k <= size; k++) {
        n = split(insert[k], list, / /)
        for (i = 2; i <= n; i++)
            for (j = 1; j <= lines[list[i]]; j++)
                print filled(list[i], j)
        if (!(k in gone))
            print body[k]
    }
}
