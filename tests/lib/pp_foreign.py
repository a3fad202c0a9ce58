"""pp_foreign.py - Exim and OpenSMTPD as upstreams, from unpacked packages: installed, each would
replace Postfix.

Both insist on users and folders of their own. They get them in a mount namespace, where /etc/passwd
and what lies below a few folders is theirs, so nothing of the machine changes. That takes root.
"""

import os
import shutil

import pytest
from pp_scratch import BUILD, TOP, must, run

DEBIAN = os.path.join(BUILD, "debian")
USERS = {"Debian-exim": 64990, "opensmtpd": 64991, "opensmtpq": 64992}
ENTER = """\
set -e
mount --make-rprivate /
mount --bind {folder}/passwd /etc/passwd
mount --bind {folder}/group /etc/group
for d in /usr/libexec /var/spool /var/lib /run; do mount -t tmpfs none $d; done
mkdir -p /var/spool/smtpd /var/lib/opensmtpd/empty
chmod 711 /var/spool/smtpd
cp -a {debian}/usr/libexec/opensmtpd /usr/libexec
exec "$@"
"""


def unpacked():
    """Where the packages are unpacked, once per build folder."""
    script = '. "$1/tests/lib/packages.sh"; packages_unpack "$1" "$2"'
    must(["flock", BUILD, "bash", "-c", script, "bash", TOP, DEBIAN], timeout=300)
    return DEBIAN


class Foreign:
    """Takes mail for anybody, and sends it on to the sink as it is. level: of TLS, to it."""

    host = None
    level = "secure"

    def __init__(self, scratch, sink, ca):
        if run(["unshare", "-m", "true"]).returncode != 0:
            pytest.skip("no mount namespace can be made here (not root, a chroot, a container)")
        self.scratch, self.sink, self.port = scratch, sink, scratch.port()
        self.folder = scratch.dir(type(self).__name__.lower())
        certificate = ca.issue(self.host)
        self.cert, self.key = (shutil.copy(f, self.folder) for f in (certificate.cert, certificate.key))
        os.chmod(self.key, 0o600)
        for name, tail in (("passwd", ":/var/lib/opensmtpd/empty:/bin/false"), ("group", "")):
            with open(f"/etc/{name}", encoding="utf-8") as file:
                text = file.read()
            for user, number in USERS.items():
                ids = f"{number}:{number}:" if tail else f"{number}:"
                text += f"{user}:x:{ids}{tail}\n"
            scratch.file(f"{self.folder}/{name}", text)
        self.enter = scratch.file(f"{self.folder}/enter",
                                  ENTER.format(folder=self.folder, debian=unpacked()))

    def run(self, *argv):
        return self.scratch.start(["unshare", "-m", "bash", self.enter, *argv], type(self).__name__)


class Exim(Foreign):
    host = "exim.peer.test"

    def __init__(self, scratch, sink, ca):
        super().__init__(scratch, sink, ca)
        for name in ("spool", "log"):
            os.chown(scratch.dir(f"{self.folder}/{name}"), *(2 * [USERS["Debian-exim"]]))
        os.chown(self.key, *(2 * [USERS["Debian-exim"]]))
        program = f"{DEBIAN}/usr/sbin/exim4"
        conf = scratch.file(f"{self.folder}/exim.conf", _EXIM.format(
            folder=self.folder, program=program, host=self.host, port=self.port, sink=sink.port,
            cert=self.cert, key=self.key))
        self.process, _ = self.run(program, "-C", conf, "-bdf")
        _, self.log = scratch.start(["tail", "-n", "+1", "-F", f"{self.folder}/log/mainlog"], "exim")
        self.log.wait_for("listening for SMTP")


class OpenSmtpd(Foreign):
    """Debian 12's cannot do TLS: its way to keep the key in another process is not OpenSSL 3's, and
    it ends every handshake, also that of openssl(1), with "missing private key"."""

    host = "opensmtpd.peer.test"
    level = "none"

    def __init__(self, scratch, sink, ca):
        super().__init__(scratch, sink, ca)
        conf = scratch.file(f"{self.folder}/smtpd.conf", _OPENSMTPD.format(
            host=self.host, port=self.port, sink=sink.port))
        self.process, self.log = self.run(f"{DEBIAN}/usr/sbin/smtpd", "-d", "-f", conf)
        self.log.wait_for("OpenSMTPD .* starting")


_EXIM = """\
exim_path = {program}
primary_hostname = {host}
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
pid_file_path = {folder}/spool/pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
tls_advertise_hosts = *
tls_certificate = {cert}
tls_privatekey = {key}
smtp_accept_queue_per_connection = 0
smtp_accept_max = 100
deliver_drop_privilege
acl_smtp_rcpt = take
begin acl
take:
  accept
begin routers
sink:
  driver = manualroute
  route_list = * 127.0.0.1
  self = send
  transport = sink
begin transports
sink:
  driver = smtp
  port = {sink}
begin retry
* * F,2h,1s
"""

_OPENSMTPD = """\
listen on 127.0.0.1 port {port} hostname {host}
action "sink" relay host smtp://127.0.0.1:{sink}
match from any for any action "sink"
"""
