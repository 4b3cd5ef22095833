//! Owners and permissions.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use anyhow::ensure;

use crate::console::Console;
use crate::second::{self, Role, USER};
use crate::{Case, SHARE};

pub(crate) const CASES: &[Case] = &[
    ("chown and chmod", change),
    ("files belong to who creates them", creator),
    ("permissions hold for other users", permissions),
    ("a write takes the set-user-ID bit away", set_user_id),
    ("set-group-ID directories pass their group on", set_group_id),
];

fn file(name: &str, mode: u32) -> anyhow::Result<String> {
    let path = format!("{SHARE}/{name}");
    fs::write(&path, "x")?;
    fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    Ok(path)
}

fn mode(path: &str) -> anyhow::Result<u32> {
    Ok(fs::metadata(path)?.mode() & 0o7777)
}

fn change(_: &mut Console) -> anyhow::Result<()> {
    let path = file("owner", 0o640)?;
    chown(&path, Some(65_534), Some(100_000))?;
    let found = fs::metadata(&path)?;
    ensure!((found.uid(), found.gid()) == (65_534, 100_000));
    ensure!(mode(&path)? == 0o640);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o7777))?;
    ensure!(mode(&path)? == 0o7777);
    Ok(())
}

fn creator(_: &mut Console) -> anyhow::Result<()> {
    let dir = format!("{SHARE}/open");
    fs::create_dir(&dir)?;
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o1777))?;
    second::succeeds(Role::Create, "open/theirs", USER)?;
    let found = fs::metadata(format!("{dir}/theirs"))?;
    ensure!((found.uid(), found.gid()) == (USER, USER));
    Ok(())
}

fn permissions(_: &mut Console) -> anyhow::Result<()> {
    file("private", 0o600)?;
    second::fails(Role::Read, "private", USER)?;
    second::fails(Role::Write, "private", USER)?;
    file("readable", 0o644)?;
    second::succeeds(Role::Read, "readable", USER)?;
    second::fails(Role::Write, "readable", USER)
}

fn set_user_id(_: &mut Console) -> anyhow::Result<()> {
    let path = file("setuid", 0o6777)?;
    second::succeeds(Role::Write, "setuid", USER)?;
    ensure!(mode(&path)? == 0o777, "the mode is {:o}", mode(&path)?);
    Ok(())
}

fn set_group_id(_: &mut Console) -> anyhow::Result<()> {
    let dir = format!("{SHARE}/group");
    fs::create_dir(&dir)?;
    chown(&dir, None, Some(4_321))?;
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o2777))?;
    second::succeeds(Role::Create, "group/inherited", USER)?;
    ensure!(fs::metadata(format!("{dir}/inherited"))?.gid() == 4_321);
    Ok(())
}
