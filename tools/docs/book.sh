#!/usr/bin/env bash
# docs/ as a book, in target/book/docs. Links that leave docs/, to sources mostly, get what they lead to put beside it,
# so that the book can be read and published without the repository.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."

if ! command -v mdbook >/dev/null; then
    echo "mdBook is not installed, so no book is built: cargo install --locked mdbook" >&2
    exit 1
fi
rm -rf target/book
mdbook build docs
rm -f target/book/docs/book.toml

cd target/book
dead=0
while IFS= read -r -d '' page; do
    # mdBook takes each .md for a chapter; those outside of docs/ are none.
    while IFS= read -r link; do
        source=$(realpath -m --relative-to=. -- "$(dirname -- "$page")/${link%.html}.md")
        [[ $source == docs/* || ! -f ../../$source ]] || sed -i "s|href=\"$link|href=\"${link%.html}.md|g" "$page"
    done < <(grep -oE 'href="(\.\./)+[^":#]*\.html' "$page" | cut -c 7- | sort -u)

    while IFS= read -r link; do
        target=$(realpath -m --relative-to=. -- "$(dirname -- "$page")/$link")
        if [[ $target != docs/* && $target != ../* && -f ../../$target && ! -e $target ]]; then
            mkdir -p -- "$(dirname -- "$target")"
            cp -- "../../$target" "$target"
        fi
        if [[ ! -e $target ]]; then
            echo "$page leads to $target, which is not there" >&2
            dead=1
        fi
    done < <(grep -oE '(href|src)="[^"]+' "$page" | cut -d '"' -f 2 | grep -v : | sed 's/[#?].*//; /^$/d' | sort -u)
done < <(find docs -name '*.html' -print0)
((dead == 0))
echo "target/book/docs/index.html"
