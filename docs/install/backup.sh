#!/bin/sh
# /usr/local/lib/relevo/backup.sh: a backup with the date and the time as its name; the newest 14 stay. RELEVO_CONFIG and
# RELEVO_DATA say of what.
set -eu
to=${1:-/var/backups/relevo}
relevo=${RELEVO:-/usr/local/bin/relevo}
# With the time: one more on the same day, as before an upgrade, has a name of its own.
"$relevo" backup "$to/$(date +%F-%H%M%S)"
# Only backups that are whole have such a name. Those of a day alone are an earlier script's.
cd "$to"
for backup in ????-??-?? ????-??-??-??????; do
    [ ! -d "$backup" ] || echo "$backup"
done | LC_ALL=C sort | head -n -14 | xargs -r rm -r
