#!/bin/bash
# Writes FILE.crc32: the CRC-32 of FILE as eight hexadecimal digits. The shim
# compares them while the guest boots, as a kernel with a hole in it may do
# nothing at all, for ever.
#
#   crc32.sh FILE
set -euo pipefail

(($# == 1)) || { echo "usage: crc32.sh FILE" >&2; exit 1; }
# The last eight bytes of a gzip file are the CRC-32 and the length (RFC 1952).
gzip -1 -c "$1" | tail -c 8 | od -An -tx4 -N4 --endian=little | tr -d ' ' >"$1.crc32.new"
mv "$1.crc32.new" "$1.crc32"
