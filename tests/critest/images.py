#!/usr/bin/env python3
"""The images that critest runs containers of, made here: no registry is asked.

    images.py ARCHIVE

Writes one OCI archive for `ctr images import`. What is in them comes from Debian's
packages, unpacked in a folder and never installed. The names are those that critest
asks for.
"""

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
E2E = "registry.k8s.io/e2e-test-images/"
STAGING = "gcr.io/k8s-staging-cri-tools/"

# nginx with every library that it is linked with; the first two have the server.
NGINX = ["nginx", "nginx-common", "libc6", "libcrypt1", "libpcre2-8-0", "libssl3", "zlib1g"]
BUSYBOX = ["busybox-static"]
# critest calls these; Debian's static busybox lacks them.
SCRIPTS = {
    "ipcs": "#!/bin/sh\nexec cat /proc/sysvipc/shm\n",
    "pgrep": '#!/bin/sh\nexec pidof "$@"\n',
}
# Its sh runs `ls` without a look at /bin/ls, which critest masks: another shell,
# dynamically linked, with what it needs.
SHELL = ["busybox", "libc6"]
SHELL_LIBRARIES = ["libc.so.6", "libresolv.so.2", "ld-linux-x86-64.so.2"]
LIBRARIES = "lib/x86_64-linux-gnu/"

PASSWD = {"root": 0, "www-data": 33, "nobody": 65534}
GROUP = {"root": 0, "www-data": 33, "nogroup": 65534}


class Layer:
    """An uncompressed layer; the same input gives the same bytes."""

    def __init__(self):
        self.buffer = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.buffer, mode="w", format=tarfile.PAX_FORMAT)
        self.names = set()

    def add(self, name, mode, kind=tarfile.REGTYPE, data=b"", link=""):
        if name in self.names:
            return
        self.names.add(name)
        entry = tarfile.TarInfo(name)
        entry.mode, entry.type, entry.linkname, entry.size = mode, kind, link, len(data)
        self.tar.addfile(entry, io.BytesIO(data))

    def folder(self, name, mode=0o755):
        self.add(name, mode, tarfile.DIRTYPE)

    def file(self, name, data, mode=0o644):
        self.add(name, mode, data=data.encode() if isinstance(data, str) else data)

    def tree(self, root):
        for folder, folders, files in sorted(os.walk(root)):
            for name in sorted(folders) + sorted(files):
                path = Path(folder, name)
                inside = str(path.relative_to(root))
                if path.is_symlink():
                    self.add(inside, 0o777, tarfile.SYMTYPE, link=os.readlink(path))
                elif path.is_dir():
                    self.folder(inside, path.stat().st_mode & 0o7777)
                else:
                    self.file(inside, path.read_bytes(), path.stat().st_mode & 0o7777)

    def bytes(self):
        self.tar.close()
        return self.buffer.getvalue()


def packages(names, work):
    """Debian's packages, unpacked together in a folder of WORK."""
    root = work / names[0]
    root.mkdir(parents=True)
    subprocess.run(["apt-get", "download", "-q", *names], cwd=root, check=True, stdout=sys.stderr)
    for package in sorted(root.glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", package, root], check=True)
        package.unlink()
    for useless in ["usr/share/doc", "usr/share/man", "usr/share/lintian"]:
        shutil.rmtree(root / useless, ignore_errors=True)
    return root


def table(entries, line):
    return "".join(line.format(name=name, id=id) for name, id in entries.items())


def userland(busybox, shell=None, users=PASSWD, groups=GROUP, more=""):
    layer = Layer()
    for name in "bin dev etc home proc root run sys usr usr/bin var www".split():
        layer.folder(name)
    layer.folder("tmp", 0o1777)
    layer.add("var/run", 0o777, tarfile.SYMTYPE, link="../run")
    if shell:
        layer.file("bin/sh", (shell / "bin/busybox").read_bytes(), 0o755)
        for name in ("lib", "lib64", LIBRARIES.rstrip("/")):
            layer.folder(name)
        for name in SHELL_LIBRARIES:
            layer.file(LIBRARIES + name, (shell / LIBRARIES / name).read_bytes(), 0o755)
        layer.add("lib64/ld-linux-x86-64.so.2", 0o777, tarfile.SYMTYPE,
                  link="/" + LIBRARIES + "ld-linux-x86-64.so.2")
    layer.file("bin/busybox", busybox.read_bytes(), 0o755)
    applets = subprocess.check_output([busybox, "--list"], text=True).split()
    for applet in applets:
        layer.add("bin/" + applet, 0o755, tarfile.LNKTYPE, link="bin/busybox")
    for name, script in SCRIPTS.items():
        layer.file("bin/" + name, script, 0o755)
    layer.file("etc/passwd", table(users, "{name}:x:{id}:{id}::/:/bin/sh\n"))
    layer.file("etc/group", table(groups, "{name}:x:{id}:\n") + more)
    return layer


def nginx(busybox, root, port):
    layer = userland(busybox)
    layer.file("etc/nginx/nginx.conf", f"""user www-data;
worker_processes 1;
pid /run/nginx.pid;
error_log /dev/stderr;
events {{ worker_connections 64; }}
http {{ access_log /dev/stdout; server {{ listen {port}; root /www; index index.html; }} }}
""")
    layer.file("www/index.html", "<h1>Welcome to nginx!</h1>\n")
    layer.tree(root)
    return layer


def elevation(busybox, work):
    """A program that is root's, whoever runs it, unless no_new_privs forbids it."""
    program = work / "effective"
    source = HERE / "effective.c"
    subprocess.run(["gcc", "-Os", "-static", "-s", "-o", program, source], check=True)
    layer = userland(busybox)
    layer.file("nnp", program.read_bytes(), 0o4755)
    return layer


def images(busybox, work):
    server = packages(NGINX, work)
    serve = {"Cmd": ["nginx", "-g", "daemon off;"]}
    shell = {"Cmd": ["sh"]}
    yield E2E + "busybox:1.29-2", userland(busybox, packages(SHELL, work)), shell
    yield E2E + "nginx:1.14-2", nginx(busybox, server, 80), serve
    yield STAGING + "hostnet-nginx-amd64:latest", nginx(busybox, server, 12003), serve
    httpd = userland(busybox)
    httpd.file("www/index.html", "<html><body><h1>It works!</h1></body></html>\n")
    start = 'echo "httpd -D FOREGROUND"; exec httpd -f -v -p 80 -h /www'
    yield E2E + "httpd:2.4.39-4", httpd, {"Cmd": ["sh", "-c", start]}
    yield E2E + "nonewprivs:1.3", elevation(busybox, work), {"Entrypoint": ["/nnp"]}
    member = userland(busybox, users={**PASSWD, "default-user": 1000},
                      groups={**GROUP, "default-user": 1000},
                      more="group-defined-in-image:x:50000:default-user\n")
    yield (STAGING + "test-image-predefined-group:latest", member, {**shell, "User": "1000"})
    for number in (1, 2, 3):
        yield STAGING + f"test-image-{number}:latest", userland(busybox), shell


class Archive:
    """An OCI image layout in a tar."""

    def __init__(self, path):
        self.tar = tarfile.open(path, "w")
        self.known = set()

    def file(self, name, data):
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        self.tar.addfile(entry, io.BytesIO(data))

    def blob(self, kind, data):
        digest = hashlib.sha256(data).hexdigest()
        if digest not in self.known:
            self.known.add(digest)
            self.file("blobs/sha256/" + digest, data)
        kind = f"application/vnd.oci.image.{kind}"
        return {"mediaType": kind, "digest": "sha256:" + digest, "size": len(data)}

    def image(self, name, layer, config):
        content = layer.bytes()
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        config = self.json("config.v1+json", {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": [path], **config},
            "rootfs": {
                "type": "layers",
                "diff_ids": ["sha256:" + hashlib.sha256(content).hexdigest()],
            },
        })
        layer = self.blob("layer.v1.tar+gzip", gzip.compress(content, 1, mtime=0))
        manifest = self.json("manifest.v1+json", {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config,
            "layers": [layer],
        })
        return {**manifest, "annotations": {"io.containerd.image.name": name}}

    def json(self, kind, value):
        return self.blob(kind, json.dumps(value).encode())


def main():
    archive = Archive(sys.argv[1])
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        busybox = packages(BUSYBOX, work) / "bin/busybox"
        manifests = [archive.image(*image) for image in images(busybox, work)]
    archive.file("oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
    index = {"schemaVersion": 2, "manifests": manifests}
    archive.file("index.json", json.dumps(index).encode())
    archive.tar.close()


if __name__ == "__main__":
    main()
