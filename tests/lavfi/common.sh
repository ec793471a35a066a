# What the command-line tests share: counting, running ffmpeg under a time limit, and looking at what came out.
#
# Sourced by run.sh, which sets $release, $ff, $probe (the programs) and $tmp (the current folder, empty at first).
# Clips are of the built-in model "test" unless a test says otherwise, small and short. Knows no test.
# shellcheck shell=sh

passed=0
failed=0
skipped=0
small=model=test:s=64x48:seed=1     # options of most clips
limit=60                            # seconds that any one command may take

# check NAME COMMAND...: one test, passed if the command succeeds; what it printed is shown if it does not.
check() {
    name=$1
    shift
    if "$@" > "$tmp/check.log" 2>&1; then
        passed=$((passed + 1))
        echo "ok   ffmpeg $release: $name"
    else
        failed=$((failed + 1))
        echo "FAIL ffmpeg $release: $name"
        tail -n 12 "$tmp/check.log" | cut -c 1-300 | sed 's/^/     /'
    fi
}

skip() {
    skipped=$((skipped + 1))
    echo "SKIP ffmpeg $release: $1"
}

ff() { timeout "$limit" "$ff" -nostdin -hide_banner -v error -y "$@"; }

# The same with a log level to look at; output and log go to files "out" and "log".
ff_log() {
    level=$1
    shift
    timeout "$limit" "$ff" -nostdin -hide_banner -v "$level" -y "$@" > out 2> log
}

same() {
    [ "$1" = "$2" ] && return
    printf 'expected: %s\nfound:    %s\n' "$1" "$2"
    return 1
}

# holds FILE TEXT...: every text occurs in the file.
holds() {
    in=$1
    shift
    for text; do
        grep -qF -- "$text" "$in" && continue
        printf 'not found: %s\nin:\n' "$text"
        cat "$in"
        return 1
    done
}

lacks() {
    ! grep -F -- "$2" "$1"
}

# Each instance of the filter in the file "log" says one line (5.1 tries a graph twice); ffmpeg adds one about the pad.
one_line() {
    sed -n '/Failed to configure output pad/d; s/^\[[^]]*hunyuanvideo[^]]*@ \([0-9a-fx]*\)\].*/\1/p' log > lines
    [ -s lines ] && same "$(sort -u lines | wc -l) lines" "$(wc -l < lines) lines"
}

# Frames that a framecrc or framemd5 file lists.
count() { grep -vc '^#' "$1"; }

# Fields of the first video stream of a file: stream FILE FIELD[,FIELD...]; "field=value" a line.
stream() { "$probe" -v error -select_streams v:0 -show_entries "stream=$2" -of default=nw=1 "$1"; }

frames_in() { "$probe" -v error -count_frames -select_streams v:0 -show_entries stream=nb_read_frames -of csv=p=0 "$1"; }

# Seconds since the epoch in hundredths, where date has nanoseconds; else whole seconds.
now() { date +%s%N | sed 's/N$/000000000/; s/.......$//'; }

# status EXPECTED COMMAND...
status() {
    expected=$1
    shift
    found=0
    "$@" || found=$?
    same "exit status $expected" "exit status $found"
}

# One for 5.1, another for later releases.
before7() { [ "${release%%.*}" -lt 7 ]; }
