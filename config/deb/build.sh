#!/bin/bash
# Builds dist/csnode_VERSION_amd64.deb: csnode and its libraries in /opt/csnode, run by Debian 12's Python.
# Usage: build.sh [FOLDER]      the same sources make the same bytes; libraries as in config/versions.txt
set -euo pipefail
cd "$(dirname "$(realpath "$0")")/../.."
out=${1:-dist}
export LC_ALL=C PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1 PYTHONHASHSEED=0
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 1700000000)}
export SOURCE_DATE_EPOCH
umask 022

/usr/bin/python3 -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' ||
    { echo "deb: /usr/bin/python3 must be Debian 12's, 3.11" >&2; exit 69; }
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
arch=$(dpkg --print-architecture)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root venv=$work/root/opt/csnode

# Sources from a copy: setuptools leaves build/ and *.egg-info where it works
mkdir "$work/sources"
cp -r pyproject.toml csnode roles "$work/sources"
find "$work/sources" -name __pycache__ -prune -exec rm -rf {} +

/usr/bin/python3 -m venv --without-pip "$venv"
CFLAGS="-g0 -ffile-prefix-map=$work=." TMPDIR=$work .venv/bin/python -m pip --python "$venv/bin/python" install -qq --no-compile \
    --no-cache-dir -c config/versions.txt "$work/sources[libvirt,postgresql,zookeeper,redis,fence]"

# Nothing of this machine stays
libraries=$venv/lib/python3.11/site-packages
rm -f "$venv"/bin/[Aa]ctivate* "$libraries"/*.dist-info/{direct_url.json,REQUESTED,RECORD}
find "$venv/bin" -type f ! -name csnode -delete
find "$venv" -name __pycache__ -prune -exec rm -rf {} +
sed -i '/^command/d' "$venv/pyvenv.cfg"
sed -i '1s|.*|#!/opt/csnode/bin/python3|' "$venv/bin/csnode"
find "$libraries" -maxdepth 1 -name 'libvirtmod*.so' -exec strip --strip-unneeded {} +
if grep -rlF -e "$work" -e "$PWD" "$root"; then
    echo "deb: the files above name folders of this machine" >&2
    exit 70
fi

share=$root/usr/share/csnode
mkdir -p "$share" "$root"/{DEBIAN,usr/bin,etc/csnode,lib/systemd/system,lib/systemd/system-preset,usr/share/doc/csnode} \
    "$root/usr/share/bash-completion/completions"
ln -s /opt/csnode/bin/csnode "$root/usr/bin/csnode"
cp -r config/profiles "$share/profiles"
cp csnode.toml "$root/etc/csnode/csnode.toml"
cp -r config/systemd/csnode* "$root/lib/systemd/system/"
cp config/systemd/90-csnode.preset "$root/lib/systemd/system-preset/"
_CSNODE_COMPLETE=bash_source .venv/bin/csnode >"$root/usr/share/bash-completion/completions/csnode"
{ # what is inside, and its versions
    echo "csnode $version"
    for metadata in "$libraries"/*.dist-info/METADATA; do
        sed -n '1,/^$/{s/^Name: //p;s/^Version: //p}' "$metadata" | paste -sd' '
    done | grep -v '^csnode ' | sort -f
} >"$root/usr/share/doc/csnode/sbom.txt"
cp config/deb/copyright "$root/usr/share/doc/csnode/copyright"

echo /etc/csnode/csnode.toml >"$root/DEBIAN/conffiles"
install -m755 config/deb/{postinst,prerm,postrm} "$root/DEBIAN/"
sed -e "s/@VERSION@/$version/; s/@ARCH@/$arch/; s/@SIZE@/$(du -sk --apparent-size "$root/opt" | cut -f1)/" \
    config/deb/control >"$root/DEBIAN/control"
chmod -R u+rwX,go+rX,go-w "$root"
mkdir -p "$out"
dpkg-deb --root-owner-group -Zxz -b "$root" "$out/csnode_${version}_$arch.deb" >/dev/null
echo "$out/csnode_${version}_$arch.deb"
