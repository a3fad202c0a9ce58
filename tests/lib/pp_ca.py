"""pp_ca.py - a certificate authority for one run of the tests, made by openssl(1)."""

import os

from pp_scratch import must


class Certificate:
    def __init__(self, cert, key):
        self.cert = cert
        self.key = key


class Authority:
    """The root is `file`; certificates are made on demand and kept by name."""

    def __init__(self, folder):
        self.folder = folder
        self.made = {}
        self.file = self._path("ca.pem")
        must(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
              "-nodes", "-keyout", self._path("ca.key"), "-out", self.file, "-days", "30",
              "-subj", "/CN=pennypost test CA",
              "-addext", "basicConstraints=critical,CA:TRUE",
              "-addext", "keyUsage=critical,keyCertSign,cRLSign"])

    def _path(self, name):
        return os.path.join(self.folder, name)

    def issue(self, name, expired=False):
        """A server certificate for a DNS name."""
        if (name, expired) in self.made:
            return self.made[name, expired]
        stem = self._path(name.replace("*", "any") + ("-expired" if expired else ""))
        must(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
              "-nodes", "-keyout", f"{stem}.key", "-out", f"{stem}.csr", "-subj", f"/CN={name}"])
        with open(f"{stem}.ext", "w", encoding="ascii") as file:
            file.write(f"subjectAltName=DNS:{name}\nextendedKeyUsage=serverAuth,clientAuth\n"
                       "basicConstraints=CA:FALSE\n")
        # openssl x509 has no dates in 3.0, `ca` would want a database: a negative number of days
        # ends before it begins, which every verifier calls expired.
        must(["openssl", "x509", "-req", "-in", f"{stem}.csr", "-CA", self.file,
              "-CAkey", self._path("ca.key"), "-CAcreateserial", "-out", f"{stem}.pem",
              "-days", "-1" if expired else "30", "-extfile", f"{stem}.ext"])
        self.made[name, expired] = Certificate(f"{stem}.pem", f"{stem}.key")
        return self.made[name, expired]
