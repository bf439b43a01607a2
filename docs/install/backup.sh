#!/bin/sh
# /usr/local/lib/relevo/backup.sh: a backup with the date as its name; the newest 14 stay. RELEVO_CONFIG and RELEVO_DATA say
# of what.
set -eu
to=${1:-/var/backups/relevo}
relevo=${RELEVO:-/usr/local/bin/relevo}
"$relevo" backup "$to/$(date +%F)"
# Only backups that are whole have such a name.
ls -1d "$to"/????-??-?? | head -n -14 | xargs -r rm -r
