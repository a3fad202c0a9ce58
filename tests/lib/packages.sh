# packages.sh - installs what is missing of the groups of etc/packages it is given. Sourced.
# Quick when nothing is missing; never asks, never leaves a service running that it installed.

packages_install() { # TOP GROUP...
	local top=$1 list missing='' p sudo='' guard=/usr/sbin/policy-rc.d
	shift
	list=$(grep -E "^($(IFS='|'; printf '%s' "$*")) " "$top/etc/packages" | cut -d' ' -f2)
	for p in $list; do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing="$missing $p"
	done
	[ -n "$missing" ] || return 0
	printf 'installing:%s\n' "$missing"
	if [ "$(id -u)" != 0 ]; then
		sudo='sudo -n'
		$sudo true || { printf 'cannot install without root: run as root once, or install them yourself\n' >&2; return 1; }
	fi
	# A policy of 101 keeps the maintainer scripts from starting what they install.
	local made=''
	if [ ! -e $guard ]; then
		printf '#!/bin/sh\nexit 101\n' | $sudo tee $guard >/dev/null && $sudo chmod 755 $guard && made=yes
	fi
	local rc=0
	$sudo apt-get -qq update || rc=$?
	# Without a configuration of its own the system's Postfix does not start at boot either.
	case " $missing " in
	*' postfix '*)
		[ -e /etc/postfix/main.cf ] ||
			echo 'postfix postfix/main_mailer_type select No configuration' | $sudo debconf-set-selections
		;;
	esac
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Dpkg::Use-Pty=0 \
		install --no-install-recommends $missing >/dev/null || rc=$?
	[ -z "$made" ] || $sudo rm -f $guard
	# The tests start their own; at the next boot nothing else shall.
	if [ -d /run/systemd/system ]; then
		for p in nsd postfix saslauthd unbound; do
			case " $missing " in
			*" $p "* | *" ${p/saslauthd/sasl2-bin} "*) $sudo systemctl -q disable "$p" 2>/dev/null || : ;;
			esac
		done
	fi
	return $rc
}

# Programs that are only read from: installed they would bring a service, a cron job or a daemon.
packages_unpack() { # TOP FOLDER
	local top=$1 folder=$2 p
	mkdir -p "$folder" || return 1
	for p in $(grep '^unpack ' "$top/etc/packages" | cut -d' ' -f2); do
		[ ! -e "$folder/.$p" ] || continue
		(
			cd "$folder" || exit 1
			rm -f "$p"_*.deb
			apt-get -qq download "$p" 2>/dev/null || {
				apt-get -qq update
				apt-get -qq download "$p"
			} && dpkg -x "$p"_*.deb . && rm "$p"_*.deb && : >".$p"
		) || return 1
	done
}
