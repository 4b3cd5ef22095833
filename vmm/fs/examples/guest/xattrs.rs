//! Extended attributes and access control lists.

use std::ffi::{CStr, CString};
use std::fs;
use std::io;

use anyhow::ensure;

use crate::console::Console;
use crate::second::{self, Role};
use crate::{Case, SHARE};

pub(crate) const CASES: &[Case] = &[
    ("extended attributes", attributes),
    ("trusted attributes are the guest's own", trusted),
    ("the name behind trusted attributes is shut", hidden),
    ("an access control list is enforced", access_list),
];

fn file(name: &str) -> anyhow::Result<CString> {
    let path = format!("{SHARE}/{name}");
    fs::write(&path, "x")?;
    Ok(CString::new(path)?)
}

fn attributes(_: &mut Console) -> anyhow::Result<()> {
    let path = file("xattr")?;
    set(&path, c"user.colour", b"blue")?;
    ensure!(get(&path, c"user.colour")? == b"blue");
    ensure!(list(&path)?.contains(&"user.colour".to_owned()));
    remove(&path, c"user.colour")?;
    let gone = get(&path, c"user.colour").map_err(|e| e.raw_os_error());
    ensure!(gone == Err(Some(libc::ENODATA)));
    Ok(())
}

fn trusted(_: &mut Console) -> anyhow::Result<()> {
    let path = file("trusted")?;
    set(&path, c"trusted.mark", b"1")?;
    ensure!(get(&path, c"trusted.mark")? == b"1");
    ensure!(list(&path)? == ["trusted.mark"], "{:?}", list(&path)?);
    Ok(())
}

fn hidden(_: &mut Console) -> anyhow::Result<()> {
    let path = file("hidden")?;
    set(&path, c"trusted.mark", b"1")?;
    ensure!(get(&path, c"user.virtiofs.trusted.mark").is_err());
    ensure!(set(&path, c"user.virtiofs.trusted.mark", b"2").is_err());
    ensure!(get(&path, c"trusted.mark")? == b"1");
    Ok(())
}

/// acl(5) in the form of xattr_acl.h: version 2, then tag, permissions, id.
fn access_list(_: &mut Console) -> anyhow::Result<()> {
    const NOBODY: u32 = u32::MAX;
    let entries: [(u16, u16, u32); 5] = [
        (0x01, 6, NOBODY),
        (0x02, 4, second::USER),
        (0x04, 0, NOBODY),
        (0x10, 4, NOBODY),
        (0x20, 0, NOBODY),
    ];
    let mut value = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        value.extend(tag.to_le_bytes());
        value.extend(permissions.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    let path = file("acl")?;
    set(&path, c"system.posix_acl_access", &value)?;
    ensure!(get(&path, c"system.posix_acl_access")? == value);
    second::succeeds(Role::Read, "acl", second::USER)?;
    second::fails(Role::Read, "acl", second::USER + 1)?;
    second::fails(Role::Write, "acl", second::USER)
}

#[allow(unsafe_code, reason = "xattr(7) has no safe wrapper here")]
fn set(path: &CStr, name: &CStr, value: &[u8]) -> io::Result<()> {
    // SAFETY: both strings are terminated, and the length is the value's.
    let answer = unsafe {
        let (path, name) = (path.as_ptr(), name.as_ptr());
        libc::setxattr(path, name, value.as_ptr().cast(), value.len(), 0)
    };
    checked(answer as isize).map(drop)
}

#[allow(unsafe_code, reason = "xattr(7) has no safe wrapper here")]
fn get(path: &CStr, name: &CStr) -> io::Result<Vec<u8>> {
    let mut value = vec![0; 256];
    // SAFETY: both strings are terminated, and the kernel writes at most the
    // length given.
    let answer = unsafe {
        let (path, name) = (path.as_ptr(), name.as_ptr());
        libc::getxattr(path, name, value.as_mut_ptr().cast(), value.len())
    };
    value.truncate(checked(answer)?);
    Ok(value)
}

#[allow(unsafe_code, reason = "xattr(7) has no safe wrapper here")]
fn list(path: &CStr) -> io::Result<Vec<String>> {
    let mut names = vec![0u8; 4096];
    // SAFETY: the path is terminated, and the kernel writes at most the length
    // given.
    let answer = unsafe { libc::listxattr(path.as_ptr(), names.as_mut_ptr().cast(), names.len()) };
    names.truncate(checked(answer)?);
    let text = String::from_utf8_lossy(&names).into_owned();
    Ok(text.split_terminator('\0').map(str::to_owned).collect())
}

#[allow(unsafe_code, reason = "xattr(7) has no safe wrapper here")]
fn remove(path: &CStr, name: &CStr) -> io::Result<()> {
    // SAFETY: both strings are terminated.
    let answer = unsafe { libc::removexattr(path.as_ptr(), name.as_ptr()) };
    checked(answer as isize).map(drop)
}

fn checked(answer: isize) -> io::Result<usize> {
    usize::try_from(answer).map_err(|_| io::Error::last_os_error())
}
