"""pp_dovecot.py - Dovecot's LMTP server in a scratch folder, on a socket and a port."""

import os
import pwd

_CONF = """\
base_dir = {folder}/run
state_dir = {folder}/run
log_path = /dev/stderr
protocols = lmtp
ssl = {ssl}
listen = 127.0.0.1
first_valid_uid = 1
mail_location = maildir:~/Maildir
mail_plugins = quota
quota_full_tempfail = yes
default_internal_user = dovecot
default_login_user = dovenull
passdb {{
  driver = passwd-file
  args = {folder}/users
}}
userdb {{
  driver = passwd-file
  args = {folder}/users
}}
plugin {{
  quota = maildir:User quota
  quota_rule = *:storage=1G
}}
service lmtp {{
  unix_listener {folder}/lmtp {{
    mode = 0666
  }}
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {port}
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
"""


class Dovecot:
    """users: {name: bytes that fit into the mailbox, or None}. certificate: mail comes over TLS only."""

    def __init__(self, scratch, users, certificate=None):
        self.folder = scratch.dir("dovecot")
        self.port = scratch.port()
        self.path = os.path.join(self.folder, "lmtp")
        owner = pwd.getpwnam("postfix")
        lines = []
        for name, quota in users.items():
            home = scratch.dir(f"dovecot/{name}")
            os.chown(home, owner.pw_uid, owner.pw_gid)
            extra = f"userdb_quota_rule=*:bytes={quota}" if quota else ""
            lines.append(f"{name}::{owner.pw_uid}:{owner.pw_gid}::{home}::{extra}\n")
        scratch.file(f"{self.folder}/users", "".join(lines))
        conf = scratch.file(f"{self.folder}/dovecot.conf",
                            _CONF.format(folder=self.folder, port=self.port, ssl="no" if not certificate
                                         else f"required\nssl_cert = <{certificate.cert}\n"
                                         f"ssl_key = <{certificate.key}"))
        self.process, self.log = scratch.start(["/usr/sbin/dovecot", "-F", "-c", conf], "dovecot")
        scratch.on_exit(self.stop)
        self.log.wait_for(r"Dovecot v\S+ .*starting up")

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def mails(self, user):
        """Whole, by file."""
        folder = os.path.join(self.folder, user, "Maildir", "new")
        found = []
        for name in sorted(os.listdir(folder) if os.path.isdir(folder) else []):
            with open(os.path.join(folder, name), "rb") as file:
                found.append(file.read())
        return found
