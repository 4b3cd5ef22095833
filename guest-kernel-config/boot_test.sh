#!/bin/bash
# Boots the built guest kernel on both kinds of machine (q35 with PCI and ACPI,
# microvm with virtio-mmio alone) and has boot_test/ try, as PID 1, every
# feature that is promised to pods. Fails naming the missing ones.
#
#   boot_test.sh [VMLINUX]     default: target/guest/vmlinux; its config beside it
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
kernel=${1:-$here/../target/guest/vmlinux}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# Seconds from QEMU's start to the last probe; emulated boots take about one.
readonly patience=120
readonly release='release 6\.12\.[0-9]+-kata-mshv-vm-isolation$'

say() { echo "boot test: $*" >&2; }

build_initramfs() {
    gcc -static -O1 -Wall -Wextra -Werror -o "$dir/probe" "$here"/boot_test/*.c
    "$here/initramfs.sh" "$dir/probe" "$dir/initramfs.cpio" 2>/dev/null
}

# The ELF file's own entry, for VMMs that do not use the PVH note, is the
# physical address at which the first segment is loaded, or shortly after.
check_elf() {
    local header entry start
    header=$(readelf -hW "$kernel")
    entry=$(awk '/Entry point/ { print $4 }' <<<"$header")
    start=$(readelf -lW "$kernel" | awk '/LOAD/ && !seen++ { print $4 }')
    if [[ $header != *X86-64* ]] || ((entry < start || entry >= start + 0x1000)); then
        say "64-bit entry point $entry is not at the start of the kernel, $start"
        return 1
    fi
    if ! readelf -nW "$kernel" | grep -q 'Xen.*0x00000008.*0x00000012'; then
        say "no PVH entry point among the ELF notes"
        return 1
    fi
}

# Looked up by name.
# shellcheck disable=SC2034,SC2054
q35=(
    -M q35,smm=off,vmport=off,hpet=off,sata=off,usb=off,i8042=off,graphics=off,smbus=off
    -bios bios-microvm.bin
    -device virtio-net-pci,romfile= -device virtio-rng-pci
    -device virtio-blk-pci,drive=disk
)
# shellcheck disable=SC2034,SC2054
microvm=(
    -M microvm,x-option-roms=off,isa-serial=on,rtc=on,acpi=off
    -global virtio-mmio.force-legacy=false
    -device virtio-net-device -device virtio-rng-device
    -device virtio-blk-device,drive=disk
)

# boot NAME: runs the machine of that name; its console goes to $dir/NAME.
boot() {
    local -n options=$1
    timeout "$patience" qemu-system-x86_64 -accel tcg,thread=single -cpu max -smp 2 \
        -nodefaults -no-user-config -display none -no-reboot -serial stdio \
        -m 512M -kernel "$kernel" -initrd "$dir/initramfs.cpio" \
        -blockdev null-co,node-name=disk,size=1048576,read-zeroes=on \
        -append "console=ttyS0 quiet panic=-1 reboot=t tsc=reliable no_timer_check" \
        "${options[@]}" </dev/null 2>&1 | tr -d '\r' >"$dir/$1"
}

# judge MACHINE: from the console's text.
judge() {
    local console=$dir/$1
    if ! grep -qx 'done' "$console"; then
        say "$1: the guest did not get to the end; its console:"
        tail -n 30 "$console" >&2
        return 1
    fi
    if grep -E '^MISSING' "$console" >&2; then
        say "$1: the features above are missing"
        return 1
    fi
    grep -qE "^$release" "$console" || { say "$1: $(grep '^release' "$console") is not ours"; return 1; }
    say "$1: $(grep -c '^ok' "$console") features, $(grep '^booted' "$console")"
}

main() {
    local machine failed=0
    [[ -s $kernel ]] || { say "no kernel at $kernel; guest-kernel-config/build.sh makes it"; exit 1; }
    build_initramfs
    check_elf || failed=1
    "$here/check.sh" "$(dirname "$kernel")/config" || failed=1
    for machine in q35 microvm; do
        boot "$machine" || say "$machine: QEMU ended with status $?"
        judge "$machine" || failed=1
    done
    exit $failed
}

main
