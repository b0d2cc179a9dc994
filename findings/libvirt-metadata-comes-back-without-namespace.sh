#!/usr/bin/env bash
# libvirt takes metadata by XML namespace, and gives it back without one.
#
# What: virsh metadata (virDomainGetMetadata) of libvirt 9.0.0 (Debian 12), and an XML parser, Python's.
# libvirt's own test driver answers; the code is that of all its drivers.
#
# Expected: each program has a namespace of its own in a domain's <metadata>, and asks for its element
# by the URI of that namespace. So what comes back is an element in that namespace, as it stands in the domain's XML,
# and a parser finds {URI}name in both.
#
# Seen: the element comes back without its namespace, and so do its children of the same one. A parser that looks for
# {URI}name, which is right for the domain's XML, finds nothing. Children that are in no namespace look the same
# as those in the program's own; put back as it all came, they are in it too. Other programs' namespaces are kept.
#
# What it means: one function cannot read both answers, and a program that reads, changes and writes its metadata by
# virDomainGetMetadata and virDomainSetMetadata moves names into its namespace, while no call fails.
set -euo pipefail

[ -x /usr/bin/virsh ] && [ -x /usr/bin/python3 ] || {
    [ "$(id -u)" = 0 ] || { echo "install libvirt-clients, libvirt0 and python3, or run this as root" >&2; exit 2; }
    apt-get install -y --no-install-recommends libvirt-clients libvirt0 python3 >/dev/null
}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export HOME="$folder" XDG_CACHE_HOME="$folder" XDG_CONFIG_HOME="$folder" XDG_RUNTIME_DIR="$folder" LC_ALL=C

version=$(virsh --version)
echo "libvirt $version"
case $version in 9.0.*) ;; *) echo "DIFFERENT: this was seen with libvirt 9.0" >&2; exit 1 ;; esac

cat >machine.xml <<'XML'
<domain type='test'>
  <name>one</name>
  <memory unit='MiB'>64</memory>
  <os><type>hvm</type></os>
  <metadata>
    <c:machine xmlns:c='urn:example:cloud'><c:owner>ann</c:owner><note>one</note></c:machine>
  </metadata>
</domain>
XML
# One process: the test driver forgets all when its connection closes.
cat >first <<'COMMANDS'
define machine.xml
echo == domain
dumpxml one
echo == metadata
metadata one --uri urn:example:cloud
COMMANDS
said() { # what virsh says to these commands, in one connection; its echo ends no line
    virsh -q -c test:///default "$(paste -sd ';' "$1")" | sed -E 's/^(== [a-z]+)/\1\n/'
}
said first >before
sed '1,/^== metadata/d' before >got.xml
{ cat first; printf 'metadata one --uri urn:example:cloud --key c --set "%s"\necho == again\ndumpxml one\n' "$(tr -d '\n' <got.xml)"; } >second
said second >after

cat >judge.py <<'PYTHON'
import sys
from xml.etree import ElementTree

URI = "urn:example:cloud"


def names(element):
    return [e.tag for e in element.iter()]


def of_domain(text):
    return names(ElementTree.fromstring(text).find("metadata")[0])


def part(name, file):
    """What stands there from the line == NAME to the next such line."""
    after = open(file).read().split(f"== {name}\n", 1)[1]
    return after.split("\n==", 1)[0].strip()


before = of_domain(part("domain", "before"))
given = names(ElementTree.fromstring(open("got.xml").read()))
after = of_domain(part("again", "after"))
own = [f"{{{URI}}}machine", f"{{{URI}}}owner"]
print("  in the domain's XML:                       ", before)
print("  by metadata --uri (expected: the same):    ", given)
print("  once that is put back (expected: as first):", after)
seen = [*own, "note"], ["machine", "owner", "note"], [*own, f"{{{URI}}}note"]
if (before, given, after) != seen:
    sys.exit("DIFFERENT: the names came back otherwise than when this was written")
PYTHON
/usr/bin/python3 judge.py
echo "as found: the answer has no namespace, and putting it back moves a child into one"
