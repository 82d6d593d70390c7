#!/usr/bin/env bash
# Plants defects, one after another, and says which suite notices each, and how soon: docs/dev/plants.md.
# tools/plants.sh [NUMBER...]: those of tests/plants/ (and unnoticed/ in it) that are named, else all of the former.
#
#   SEEDS=300, FROM=1    the seeds of the simulation: as many, from this one on, up to the first that goes wrong
#   UPDATE_DOCS=1        writes what came of it into docs/dev/plants.md
#   CARGO="cargo"        how cargo is called
#
# It works in a copy of this tree, target/plants/tree, which is built in a target folder of its own, so that each plant
# builds no more than it changes. First each suite runs without a plant: one that fails then says nothing.
# shellcheck source=tools/deploy/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/deploy/lib.sh"

work=$ROOT/target/plants
tree=$work/tree
page=$ROOT/docs/dev/plants.md
seeds=${SEEDS:-300}
from=${FROM:-1}
longest=900 # seconds that a suite of tests may take: a plant may have it hang
read -ra cargo <<<"${CARGO:-cargo}"
export CARGO_TARGET_DIR=$work/build RUST_BACKTRACE=0

# What a suite found, once it has failed: the line that says so, and how soon, in words.
line=
soon=

# The copy as this tree is. What is the same stays, with the time of its last change, by which cargo goes.
copy_tree() {
    local path
    mkdir -p "$tree"
    git -C "$ROOT" ls-files -coz --exclude-standard | sort -z >"$work/files"
    while IFS= read -r -d '' path; do
        [[ -f $ROOT/$path ]] || continue
        cmp -s -- "$ROOT/$path" "$tree/$path" && continue
        mkdir -p -- "$(dirname -- "$tree/$path")"
        cp -- "$ROOT/$path" "$tree/$path"
    done <"$work/files"
    (cd -- "$tree" && find . -type f -printf '%P\0') | sort -z | comm -z -13 "$work/files" - | (cd -- "$tree" && xargs -0r rm --)
}

# apply PATCH [-R]: in the copy, which is no repository: git would leave out what is not below the folder it is in.
apply() {
    (cd -- "$tree" && GIT_CEILING_DIRECTORIES=$work git apply "${@:2}" -- "$1")
}

head_of() { # PATCH FIELD
    sed -n "s/^$2: //p;/^---/q" "$1" | head -n 1
}

in_tree() {
    (cd -- "$tree" && "$@")
}

# Each suite returns whether it went through. What does not build is no answer.
simulation() {
    local out=$work/out code=0
    in_tree "${cargo[@]}" build --quiet --profile plants -p simulation 2>"$work/err" || return 2
    in_tree "$CARGO_TARGET_DIR/plants/simulate" --seeds "$seeds" --from "$from" --shrink 0 >"$out" 2>&1 || code=$?
    ((code != 0)) || return 0
    local seed
    seed=$(sed -n 's/^seed \([0-9]*\) went wrong.*/\1/p' "$out" | head -n 1)
    [[ -n $seed ]] || { cp "$out" "$work/err"; return 2; }
    line=$(sed -n '/^seed [0-9]* went wrong/{n;p;q}' "$out")
    soon=$(counted $((seed - from + 1)) seed)
    return 1
}

tests() { # ARGS of cargo test...
    local out=$work/out code=0
    in_tree "${cargo[@]}" test --quiet --profile plants --no-run "$@" 2>"$work/err" || return 2
    in_tree timeout "$longest" "${cargo[@]}" test --quiet --profile plants --no-fail-fast "$@" >"$out" 2>&1 || code=$?
    case $code in
        0) return 0 ;;
        124) line="not done after $longest s" ;;
        *) line=$(sed -n '/^failures:$/,$s/^    \([a-z_0-9:]*\)$/\1/p' "$out" | head -n 1) ;;
    esac
    [[ -n $line ]] || { cp "$out" "$work/err"; return 2; }
    soon=$(counted "$(sed -n '/^failures:$/,$s/^    \([a-z_0-9:]*\)$/\1/p' "$out" | sort -u | wc -l)" test)
    return 1
}

run_suite() { # SUITE
    local of
    case $1 in
        simulation) simulation ;;
        it:*) tests -p login-pipeline --test it "${1#it:}" ;;
        unit:*:*) of=${1#unit:} && tests -p "${of%%:*}" --lib "${of#*:}" ;;
        unit:*) tests -p "${1#unit:}" --lib ;;
        *) die "there is no suite $1" ;;
    esac
}

counted() { # NUMBER NOUN
    if (($1 == 1)); then printf '1 %s' "$2"; else printf '%s %ss' "$1" "$2"; fi
}

# The tree without a plant goes through each suite that the plants name.
hold_without() { # PATCH...
    local suite code
    for suite in $(for patch in "$@"; do head_of "$patch" Suites; done | tr ' ' '\n' | sort -u); do
        say "without a plant: $suite"
        code=0
        run_suite "$suite" || code=$?
        case $code in
            0) ;;
            1) die "$suite fails without a plant: $line" ;;
            *) tail -n 20 "$work/err" >&2; die "$suite does not run" ;;
        esac
    done
}

# Sets `who`, `soon` and `line`; `who` is empty where nobody notices.
notice() { # PATCH
    local suite code begun
    who=
    for suite in $(head_of "$1" Suites); do
        begun=$SECONDS code=0
        run_suite "$suite" || code=$?
        case $code in
            0) ;;
            1)
                who=$suite
                [[ $suite != simulation ]] || soon="$soon, $((SECONDS - begun)) s"
                return
                ;;
            *) tail -n 20 "$work/err" >&2; return 1 ;;
        esac
    done
}

row() { # PATCH: as it stands in the table
    local number
    number=$(basename -- "$1") && number=${number%%-*}
    printf '| %s | %s | %s | %s | %s |\n' "$number" "$(head_of "$1" Breaks)" "$(head_of "$1" Plant)" \
        "${who:-nobody}" "${who:+$soon}"
}

# The page with these rows in the place of what it had of the same plants; rows of plants that are gone go.
update_page() { # ROWS
    local number kept=$work/kept
    awk -F ' *[|] *' 'NR == FNR { if (/^[|] [0-9]/) new[$2] = 1; next } /^[|] [0-9]/ && !($2 in new)' "$1" "$page" |
        while IFS= read -r row; do
            number=$(cut -d ' ' -f 2 <<<"$row")
            ! compgen -G "$ROOT/tests/plants/$number-*.patch" >/dev/null || printf '%s\n' "$row"
        done >"$kept"
    { grep -v '^| [0-9]' "$page"; sort -n -k 2,2 "$kept" "$1"; } >"$work/page"
    cp -- "$work/page" "$page"
}

chosen=()
for number in "$@"; do
    found=$(compgen -G "$ROOT/tests/plants/$number-*.patch" || compgen -G "$ROOT/tests/plants/unnoticed/$number-*.patch") ||
        die "there is no plant $number"
    chosen+=("$found")
done
(($# > 0)) || chosen=("$ROOT"/tests/plants/*.patch)

mkdir -p "$work"
exec 9>"$work/lock"
flock -n 9 || die "it runs already, in $work"
copy_tree
hold_without "${chosen[@]}"

unnoticed=()
: >"$work/rows"
for patch in "${chosen[@]}"; do
    name=$(basename -- "$patch" .patch)
    apply "$patch" || die "$name does not apply"
    notice "$patch" || die "$name does not build"
    apply "$patch" -R
    if [[ -n $who ]]; then
        say "$name: $who, $soon: $line"
    else
        say "$name: NOBODY notices"
        unnoticed+=("$name")
    fi
    row "$patch" >>"$work/rows"
done

printf '| | breaks | the plant | noticed by | how soon |\n|---|---|---|---|---|\n'
cat -- "$work/rows"
[[ -z ${UPDATE_DOCS:-} ]] || update_page "$work/rows"
((${#unnoticed[@]} == 0)) || die "nobody notices ${unnoticed[*]}"
