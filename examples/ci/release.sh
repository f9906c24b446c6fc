#!/bin/sh
# A new version of a model, from CI: checked, declared, committed, and followed until it serves or has gone back.
#
#   release.sh FILE VERSION URI [--model MODEL] [--cases CASES] [--secret NAME]
#
# FILE holds one ModelDeployment, with `versions:` as a list of one entry a line or more, and nothing but that. VERSION is
# declared at URI in front of the others, and `serve` names it.
#   --model   the model as a file here: it is looked at, and its digest is declared
#   --cases   inputs and expected outputs: `levada model check` has to agree
#   --secret  Secret with the credentials for URI; s3 needs one
# Environment:
#   LEVADA    the command, default `npx levada`
#   PUSH      where the commit is pushed to, e.g. "origin HEAD:main"; empty: nowhere
#   WAIT      how long to follow the rollout, e.g. 2h; empty: not at all
#   FLAGS     for the cluster to follow it on, e.g. "--context production -n shop"; empty: `levada up` in this folder
# Exit codes: 0 done, and with WAIT the version serves; 1 something was refused, and FILE is as it was; or it does not serve.
set -eu

LEVADA=${LEVADA:-npx levada}
say() { printf '%s\n' "$*" >&2; }
usage() {
  sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
  exit 2
}

[ $# -ge 3 ] || usage
file=$1 version=$2 uri=$3
shift 3
model='' cases='' secret='' sha256=''
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || usage
  case $1 in
  --model) model=$2 ;;
  --cases) cases=$2 ;;
  --secret) secret=$2 ;;
  *) usage ;;
  esac
  shift 2
done
[ -z "$cases" ] || [ -n "$model" ] || usage

# Its name, and whether it is valid before anything is changed. $LEVADA and $FLAGS are several words.
# shellcheck disable=SC2086
before=$($LEVADA validate -o json "$file") || { say "$before"; exit 1; }
name=$(printf '%s\n' "$before" | sed -n 's|^ *"name": "[^/]*/\(.*\)",$|\1|p')
case $(printf '%s\n' "$before" | grep -c '"kind":')$(printf '%s\n' "$before" | grep -c '"kind": "ModelDeployment"') in
11) ;;
*)
  say "$file holds more than one ModelDeployment, or something else"
  exit 1
  ;;
esac

if [ -n "$model" ]; then
  # shellcheck disable=SC2086
  sha256=$($LEVADA model inspect -o json "$model" | sed -n 's/^  "sha256": "\(.*\)",$/\1/p')
  [ -n "$sha256" ] || exit 1
fi
# shellcheck disable=SC2086
[ -z "$cases" ] || $LEVADA model check "$model" --cases "$cases"

entry="name: \"$version\", uri: \"$uri\""
[ -z "$sha256" ] || entry="$entry, sha256: \"$sha256\""
[ -z "$secret" ] || entry="$entry, secretRef: { name: \"$secret\" }"
entry="{ $entry }"
if grep -qF -- "- $entry" "$file" && grep -q "^ *serve: \"$version\"\$" "$file"; then
  say "$file serves $version already" # the job is run again
else
  old=$(mktemp) new=$(mktemp)
  trap 'rm -f "$old" "$new"' EXIT
  cp "$file" "$old"
  serves=$(grep -c '^ *serve:' "$file") || true
  entry=$entry version=$version serves=$serves awk '
    /^ *versions: *(#.*)?$/ && !inList {
      if (!ENVIRON["serves"]) { line = $0; sub(/versions:.*/, "serve: \"" ENVIRON["version"] "\"", line); print line }
      inList = 1
    }
    inList == 1 && /^ *- / {
      line = $0
      sub(/- .*/, "", line)
      print line "- " ENVIRON["entry"]
      inList = 2
    }
    /^ *serve:/ { sub(/serve:.*/, "serve: \"" ENVIRON["version"] "\"") }
    { print }
    END { if (inList != 2) exit 1 }
  ' "$old" >"$new" || { say "$file has no \`versions:\` with an entry a line"; exit 1; }
  cat "$new" >"$file"
  # shellcheck disable=SC2086
  $LEVADA validate "$file" || {
    cat "$old" >"$file"
    exit 1
  }
  git add -- "$file"
  git commit --quiet -m "$name: serve $version" -- "$file"
  say "committed: $(git log -1 --format='%h %s')"
fi

# shellcheck disable=SC2086
[ -z "${PUSH:-}" ] || git push --quiet $PUSH
# shellcheck disable=SC2086
[ -z "${WAIT:-}" ] || exec $LEVADA rollout "$name" --wait "$WAIT" --for "$version" ${FLAGS:-}
