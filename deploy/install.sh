#!/usr/bin/env bash
#
# Installs what a Quipu cluster on one machine needs beyond Go: MariaDB's server,
# client and backup programs, a Java runtime, ZooKeeper's jars, and make. Only what is
# missing is installed, nothing is ever removed, and no system service is left
# running: Quipu starts private servers of its own in its data folder.
#
#   deploy/install.sh            say what is missing, ask, install it
#   YES=1 deploy/install.sh      the same without the question (so does CI=true)
#   deploy/install.sh --check    only say what is missing; exit 1 if anything is
#   deploy/install.sh --tests    also what only the tests need: Node.js with npm, for DuckDB; promtool, which is unpacked into the user's cache folder from
#                                Debian's package prometheus without installing that
set -euo pipefail

readonly LOCK=/run/lock/quipu-install.lock
readonly POLICY=/usr/sbin/policy-rc.d
readonly POLICY_SAVED=/usr/sbin/policy-rc.d.before-quipu
readonly POLICY_MARK='written by quipu deploy/install.sh'
readonly SERVICES=(mariadb mysql zookeeper)
readonly ATTEMPTS=4

say() { printf '%s\n' "$*"; }
complain() { printf '%s\n' "$*" >&2; }

# have PROGRAM... — is any of them there? Debian keeps mariadbd in /usr/sbin,
# which is often missing from an ordinary user's PATH.
have() {
	local program
	for program in "$@"; do
		if PATH="$PATH:/usr/local/sbin:/usr/sbin:/usr/libexec" command -v "$program" >/dev/null; then
			return 0
		fi
	done
	return 1
}

have_java() {
	[ -n "${JAVA_HOME:-}" ] && [ -x "$JAVA_HOME/bin/java" ] || have java
}

have_zookeeper() {
	local jar
	for jar in /usr/share/java/zookeeper.jar "${ZOOKEEPER_HOME:-/nonexistent}"/lib/zookeeper-[0-9]*.jar; do
		[ -e "$jar" ] && return 0
	done
	return 1
}

# PROMTOOL is where promtool is unpacked to; testkit looks for it there and on the PATH.
PROMTOOL=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/quipu/promtool
readonly PROMTOOL

have_promtool() {
	have promtool || [ -x "$PROMTOOL" ]
}

# missing prints one word for each component that is not there.
missing() {
	have mariadbd && have mariadb-install-db || say mariadb-server
	have mariadb mysql || say mariadb-client
	have mariadb-backup && have mbstream || say mariadb-backup
	have_java || say java
	have_zookeeper || say zookeeper
	have make || say make
	[ -z "$TESTS" ] || { have node && have npm; } || say node
	[ -z "$TESTS" ] || have_promtool || say promtool
}

# package COMPONENT prints the apt package that has it. The first name that apt
# knows wins: the smaller packages hold the programs without the system services.
package() {
	local -a names=()
	case $1 in
	mariadb-server) names=(mariadb-server-core mariadb-server) ;;
	mariadb-client) names=(mariadb-client-core mariadb-client) ;;
	mariadb-backup) names=(mariadb-backup) ;;
	java) names=(default-jre-headless) ;;
	zookeeper) names=(libzookeeper-java zookeeper) ;;
	make) names=(make) ;;
	promtool) names=(prometheus) ;;
	node)
		# Debian has npm in a package of its own, which brings Node.js along; others in Node.js's.
		if LC_ALL=C apt-cache show --no-all-versions nodejs 2>/dev/null | grep -q '^Provides:.*\bnpm\b'; then
			names=(nodejs)
		else
			names=(npm)
		fi
		;;
	esac
	local name policy
	for name in "${names[@]}"; do
		policy=$(LC_ALL=C apt-cache policy "$name" 2>/dev/null) || policy=
		if grep -q '^  Candidate: [^(]' <<<"$policy"; then
			say "$name"
			return
		fi
	done
	# The package lists may be empty still: apt-get update comes first.
	say "${names[0]}"
}

explain_by_hand() {
	complain "This machine has no apt-get, so Quipu cannot install them. Please install:"
	local component
	for component in "$@"; do
		case $component in
		mariadb-server) complain "  - MariaDB server 10.6 or newer: mariadbd and mariadb-install-db on the PATH
      Fedora, RHEL: dnf install mariadb-server    Arch: pacman -S mariadb    Alpine: apk add mariadb" ;;
		mariadb-client) complain "  - MariaDB client: mariadb on the PATH
      Fedora, RHEL: dnf install mariadb    Arch: pacman -S mariadb-clients    Alpine: apk add mariadb-client" ;;
		mariadb-backup) complain "  - MariaDB's physical backups: mariadb-backup and mbstream on the PATH, of the server's version
      Fedora, RHEL: dnf install mariadb-backup    Arch: part of mariadb    Alpine: apk add mariadb-backup" ;;
		java) complain "  - a Java runtime, 11 or newer: java on the PATH, or JAVA_HOME
      Fedora, RHEL: dnf install java-17-openjdk-headless    Arch: pacman -S jre17-openjdk-headless    Alpine: apk add openjdk17-jre-headless" ;;
		zookeeper) complain "  - Apache ZooKeeper 3.8 or newer: unpack apache-zookeeper-3.8.x-bin.tar.gz from
      https://zookeeper.apache.org/releases.html and set ZOOKEEPER_HOME to its folder" ;;
		make) complain "  - make, by your system's package manager" ;;
		node) complain "  - Node.js 18 or newer with npm, by your system's package manager" ;;
		promtool) complain "  - promtool of Prometheus 2.40 or newer, on the PATH or as $PROMTOOL" ;;
		esac
	done
	complain "Then run this again."
}

# confirm asks before anything is changed.
confirm() {
	if [ "${YES:-}" = 1 ] || [ "${CI:-}" = true ]; then
		return 0
	fi
	if [ ! -t 0 ]; then
		complain "Nothing was installed: there is no terminal to ask on. Run it with YES=1 to agree beforehand."
		return 1
	fi
	local answer
	read -r -p "Install them now? [y/N] " answer
	case $answer in
	y | Y | yes | Yes) return 0 ;;
	*)
		complain "Nothing was installed."
		return 1
		;;
	esac
}

# hold_services keeps packages from starting services while they are installed.
hold_services() {
	release_services
	if [ -e "$POLICY" ]; then
		mv "$POLICY" "$POLICY_SAVED"
	fi
	printf '#!/bin/sh\n# %s, temporary: no service starts during the installation.\nexit 101\n' "$POLICY_MARK" >"$POLICY"
	chmod 755 "$POLICY"
}

# release_services undoes hold_services, also after a run that was killed.
release_services() {
	if [ -e "$POLICY" ] && grep -q "$POLICY_MARK" "$POLICY"; then
		rm -f "$POLICY"
	fi
	if [ -e "$POLICY_SAVED" ]; then
		mv "$POLICY_SAVED" "$POLICY"
	fi
}

active_services() {
	[ -d /run/systemd/system ] || return 0
	local service
	for service in "${SERVICES[@]}"; do
		if systemctl is-active --quiet "$service"; then
			say "$service"
		fi
	done
}

# stop_new_services BEFORE — stops and disables what this installation started
# in spite of the policy, and nothing that was running before.
stop_new_services() {
	local service
	for service in $(active_services); do
		case " $1 " in
		*" $service "*) ;;
		*)
			say "Stopping the system service $service, which the installation started: Quipu runs its own servers."
			systemctl disable --now "$service"
			;;
		esac
	done
}

# retry COMMAND... — apt fails when another apt holds its locks or a mirror blinks.
retry() {
	local attempt
	for ((attempt = 1; ; attempt++)); do
		if "$@"; then
			return 0
		fi
		if ((attempt == ATTEMPTS)); then
			complain "$* failed $ATTEMPTS times."
			return 1
		fi
		complain "$* failed; trying again in $((attempt * 5)) s."
		sleep $((attempt * 5))
		dpkg --configure -a || true
	done
}

# install_as_root COMPONENT... — holds the lock and is root.
install_as_root() {
	export DEBIAN_FRONTEND=noninteractive LC_ALL=C
	local -a options=(-q -o DPkg::Lock::Timeout=300)
	retry apt-get update "${options[@]}"
	local -a packages=()
	local component
	for component in "$@"; do
		packages+=("$(package "$component")")
	done
	((${#packages[@]} > 0)) || return 0
	local before
	before=$(active_services | tr '\n' ' ')
	trap release_services EXIT
	hold_services
	# --no-remove: better to stop here than to replace somebody's own MySQL.
	retry apt-get install "${options[@]}" --yes --no-remove --no-install-recommends "${packages[@]}"
	stop_new_services "$before"
}

# unpack_promtool takes the one program out of the package; the lists are fresh.
unpack_promtool() {
	local scratch
	scratch=$(mktemp -d)
	# apt-get download needs no root, and warns where its sandbox can't write.
	(cd "$scratch" && retry apt-get -q download prometheus && dpkg-deb -x prometheus_*.deb .)
	mkdir -p "$(dirname "$PROMTOOL")"
	cp "$scratch/usr/bin/promtool" "$PROMTOOL.new"
	mv "$PROMTOOL.new" "$PROMTOOL"
	rm -rf "$scratch"
}

main() {
	local -a components
	mapfile -t components < <(missing)
	if ((${#components[@]} == 0)); then
		say "MariaDB, Java and ZooKeeper are installed."
		return 0
	fi
	say "Missing on this machine: ${components[*]}"
	if [ "${1:-}" = --check ]; then
		return 1
	fi
	if ! command -v apt-get >/dev/null; then
		explain_by_hand "${components[@]}"
		return 1
	fi
	local component unpack=
	local -a packages=() installed=()
	for component in "${components[@]}"; do
		if [ "$component" = promtool ]; then
			unpack=yes
			continue
		fi
		installed+=("$component")
		packages+=("$(package "$component")")
	done
	if ((${#packages[@]} > 0)); then
		say "To be installed with apt, and what they depend on:"
		say "  apt-get install --no-install-recommends ${packages[*]}"
	fi
	[ -z "$unpack" ] || say "To be unpacked from the package prometheus, which is not installed: $PROMTOOL"
	confirm
	local -a as_root=()
	if [ "$(id -u)" != 0 ]; then
		if ! command -v sudo >/dev/null; then
			complain "Installing needs root and there is no sudo. As root, run the command above."
			return 1
		fi
		as_root=(sudo)
	fi
	"${as_root[@]}" flock --timeout 900 "$LOCK" "$BASH" "$SELF" ${TESTS:+--tests} --install-as-root "${installed[@]}"
	[ -z "$unpack" ] || unpack_promtool
	mapfile -t components < <(missing)
	if ((${#components[@]} > 0)); then
		complain "Still missing after the installation: ${components[*]}"
		return 1
	fi
	say "Installed. No system service was left running by this."
}

SELF=$(readlink -f "${BASH_SOURCE[0]}")
readonly SELF
TESTS=
if [ "${1:-}" = --tests ]; then
	TESTS=yes
	shift
fi
readonly TESTS
case ${1:-} in
'' | --check) main "$@" ;;
--install-as-root)
	shift
	install_as_root "$@"
	;;
*)
	complain "usage: ${0##*/} [--tests] [--check]"
	exit 2
	;;
esac
