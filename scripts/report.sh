#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# One page for a browser of what the last runs of the tests and of the mutants left below build/.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "${BASH_SOURCE[0]%/*}/lib.sh"

case ${1:-} in
'') ;;
-h | --help)
	cat <<-END
	usage: scripts/report.sh

	Writes build/report.html: the boots of the last make test, attacks, failing hypercalls, the deferred window, mutants.
	The page needs no other file.
	END
	exit 0
	;;
*) die "unknown argument $1" ;;
esac
lock_build
"$HV_TOP/scripts/setup.sh"
"$HV_TOP/scripts/build-tools.sh"
"$HVRUN" report --ledger "$HV_BUILD/test/ledger.json" --logs "$HV_BUILD/test/hvrun-logs" \
	--mutants "$HV_BUILD/mutants/results.json" --output "$HV_BUILD/report.html"
