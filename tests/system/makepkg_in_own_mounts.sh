#!/bin/sh
# One operator's build: its own folder $1 stands at the path $2 that all operators share, seen in this mount namespace only;
# makepkg then runs as the ordinary user $3, because it refuses root.
set -eu
mount --bind "$1" "$2"
cd "$2"
exec setpriv --reuid "$3" --regid "$3" --clear-groups --no-new-privs "$4" --nodeps --nocolor
