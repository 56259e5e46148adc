# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Debian suites that the machine itself does not list, through an apt state of our own. Sourced.
# The machine's sources, lists and preferences are never touched; nothing here needs root.

readonly DEBIAN_KEYRING=${DEBIAN_KEYRING:-/usr/share/keyrings/debian-archive-keyring.gpg}

# debian_mirror: the address of the Debian archive that this machine is set up to use.
debian_mirror() {
	local uri
	if [[ -n ${APT_MIRROR:-} ]]; then
		printf '%s\n' "$APT_MIRROR"
		return
	fi
	# Fields of a target are empty until the machine's lists were fetched once: the usual path then tells it.
	uri=$(apt-get indextargets --format "\$(LABEL)|\$(REPO_URI)" 'Created-By: Packages' 2>/dev/null |
		awk -F'|' '$1 == "Debian" { main = main ? main : $2 } $2 ~ /\/debian\/?$/ { path = path ? path : $2 }
			END { print main ? main : path }')
	[[ -n $uri ]] || die "apt on this machine names no Debian archive; give its address with APT_MIRROR="
	printf '%s\n' "$uri"
}

# suite_options SUITE: sets apt_opts, the options with which apt uses the state of that name.
suite_options() {
	local suite=$1 dir=$HV_CACHE/apt/$1
	apt_opts=(
		-o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::GzipIndexes=false
		-o Dir::State::Lists="$dir/lists" -o Dir::Cache="$dir/cache"
		-o Dir::Etc::sourcelist="$dir/sources.list" -o Dir::Etc::sourceparts=-
		-o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts="$dir/preferences.d"
	)
}

# packages_file SUITE: the list of packages of a suite's main section, after fetch_lists.
packages_file() {
	suite_options "$1"
	apt-get "${apt_opts[@]}" indextargets --format "\$(FILENAME)" 'Created-By: Packages' |
		grep "_$1_main_binary-amd64_" | head -n 1
}

# package_versions FILE PACKAGE: the versions that a Packages file holds of a package, as they come.
package_versions() {
	awk -v package="Package: $2" '$0 == package { on = 1 } NF == 0 { on = 0 } on && $1 == "Version:" { print $2 }' "$1"
}

# newest_version: the highest of the versions on standard input.
newest_version() {
	local version best=
	while read -r version; do
		if [[ -z $best ]] || dpkg --compare-versions "$version" gt "$best"; then best=$version; fi
	done
	printf '%s\n' "$best"
}

# packages_entry FILE PACKAGE VERSION FIELD: a field of that very version. An archive keeps several, in any order.
packages_entry() {
	awk -v package="Package: $2" -v version="Version: $3" -v field="$4: " '
		function judge() { if (p && v && value != "") { print value; found = 1; exit } p = v = 0; value = "" }
		found { exit }
		NF == 0 { judge(); next }
		$0 == package { p = 1 }
		$0 == version { v = 1 }
		index($0, field) == 1 { value = substr($0, length(field) + 1) }
		END { if (!found) judge() }' "$1"
}

# fetch_lists SUITE [MORE_SUITES...]: signed package lists into the state named after the first suite.
fetch_lists() {
	local dir=$HV_CACHE/apt/$1 mirror suite
	[[ -f $DEBIAN_KEYRING ]] || die "$DEBIAN_KEYRING is missing (package debian-archive-keyring, or DEBIAN_KEYRING=FILE)"
	mirror=$(debian_mirror)
	mkdir -p -- "$dir/lists/partial" "$dir/cache/archives/partial" "$dir/preferences.d"
	for suite; do
		printf 'deb [signed-by=%s target=Packages] %s %s main\n' "$DEBIAN_KEYRING" "$mirror" "$suite"
	done | put_file "$dir/sources.list"
	suite_options "$1"
	# A snapshot of the archive that somebody gave is signed as ever, but old.
	if [[ -n ${APT_MIRROR:-} ]]; then apt_opts+=(-o Acquire::Check-Valid-Until=false); fi
	apt-get "${apt_opts[@]}" -o APT::Update::Error-Mode=any update
}
