#!/bin/sh
# Who may include what, and what a library must not do. Reads #include lines; exits 1 on the first kind of breach.
set -u
cd "$(dirname "$0")/.." || exit 2
passed=0
failed=0

check() { # description, offending lines
    if [ -z "$2" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAIL %s\n%s\n' "$1" "$2"
    fi
}

# includes FOLDER ALLOWED: quoted includes of FOLDER's files, resolved, that are not under ALLOWED (an extended regular expression).
includes() {
    find $1 -name '*.[ch]' -o -name '*.cu' | sort | while read -r file; do
        sed -n 's/^#include "\(.*\)".*/\1/p' "$file" | while read -r name; do
            path=$(cd "$(dirname "$file")" && realpath -m --relative-to="$OLDPWD" "$name")
            printf '%s\n' "$path" | grep -qxE "$2" || printf '  %s includes %s\n' "$file" "$path"
        done
    done
}

check 'kernels/ includes only kernels/' "$(includes kernels 'kernels/.*')"
check 'engine/base/ includes only itself' "$(includes engine/base 'engine/base/.*')"
check 'engine/text/ includes base/' "$(includes engine/text 'engine/(base|text)/.*')"
check 'engine/checkpoint/ includes base/ and the types' \
    "$(includes engine/checkpoint 'engine/(base|checkpoint)/.*|kernels/(types|quant)\.h')"
check 'engine/model/ includes the operators and itself' \
    "$(includes engine/model 'engine/model/.*|kernels/(ops|types)\.h')"
check 'engine/run/ includes what is below' \
    "$(includes engine/run 'engine/(base|text|checkpoint|model|run)/.*|engine/hunyuanvideo\.h|kernels/(ops|types|half|quant)\.h')"
check 'api.c includes run/ and the public header' \
    "$(includes engine/api.c 'engine/run/.*|engine/hunyuanvideo\.h')"
check 'cli.c includes the public header alone' \
    "$(includes 'engine/cli*.[ch] engine/cli' 'engine/cli/.*|engine/cli[a-z_]*\.h|engine/hunyuanvideo\.h' 2>/dev/null)"

library=$(find engine kernels -name '*.c' ! -path 'engine/cli*')
check 'the library prints nothing, never exits, reads no environment' \
    "$(grep -nE '(^|[^a-zA-Z_>.])(printf|puts|putchar|exit|_exit|abort|getenv|secure_getenv|setlocale|signal|sigaction)\(' $library | sed 's/^/  /')"
check 'model/ does no input and output' \
    "$(grep -nE '\b(fopen|fread|fwrite|open|read|write|printf|fprintf)\(' engine/model/*.c | sed 's/^/  /')"

# Variables at file scope that are neither const nor thread-local tables of constants.
state() {
    for file in $library; do
        grep -nE '^(static )?[a-z_][a-z_0-9 ]*[ *][a-z_0-9]+(\[[^]]*\])* *(=|;)' "$file" |
            grep -vE 'const|typedef|^[0-9]+:(struct|enum|union|return|extern) |\(' | sed "s|^|  $file:|"
    done
}
check 'no variables at file scope' "$(state)"

# The object files know best: writable data of the library.
if [ -f build/lib/libhunyuanvideo.a ] && command -v nm > /dev/null; then
    check 'no writable data in the library' \
        "$(nm --defined-only build/lib/libhunyuanvideo.a 2> /dev/null | grep -E ' [bBC] ' | sed 's/^/  /')"
fi

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
