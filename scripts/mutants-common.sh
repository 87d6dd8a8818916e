# mutants-common.sh: what the scripts that break a copy of the tree share. Sourced, from the tree's root.

# choose_patches NAME...: into the array `patches`: those of tests/mutants whose name holds one of these
# words; without any, all of them.
choose_patches() {
    local patch word
    patches=()
    for patch in tests/mutants/*.patch; do
        [[ -e $patch ]] || continue
        [[ $# -eq 0 ]] && patches+=("$patch")
        for word in "$@"; do
            [[ $(basename "$patch" .patch) == *"$word"* ]] && { patches+=("$patch"); break; }
        done
    done
}

# copy_tree FOLDER PART...: sources, and these parts of the release build with their time stamps, so that
# only what is changed is compiled again (all paths in the build are relative).
copy_tree() {
    local folder=$1 part
    shift
    mkdir -p "$folder/build"
    git ls-files -z --cached --others --exclude-standard |
        while IFS= read -r -d '' file; do [[ -e $file ]] && printf '%s\0' "$file"; done |
        tar -cf - --null -T - | tar -xf - -C "$folder"
    for part in "$@"; do
        [[ -d build/$part ]] && cp -a "build/$part" "$folder/build/"
    done
    return 0
}
