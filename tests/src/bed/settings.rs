//! What the bed's programs are told: containerd, CNI, and the shim.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::network::{Network, addresses};
use super::{Handler, Layout, Packages, Product, Setup, Version, shim_config};
use crate::images;

/// The bridge on which the bed's pods are.
pub const BRIDGE: &str = "bed0";

/// The CRI plugin's table in configurations of version 2, and of version 3.
const CRI_2: &str = r#"plugins."io.containerd.grpc.v1.cri""#;
const CRI_3: &str = "plugins.'io.containerd.cri.v1.runtime'";

const CONFIG_2: &str = include_str!("../../../runtimeclass/containerd/config-v2.toml");
const CONFIG_3: &str = include_str!("../../../runtimeclass/containerd/config-v3.toml");

/// Writes all configuration files of the bed.
pub(super) fn write(
    layout: &Layout,
    setup: Setup,
    packages: &Packages,
    product: &Product,
) -> Result<()> {
    link_plugins(layout, packages)?;
    let network = bridge();
    let files = [
        (
            layout.containerd_config(),
            containerd(layout, setup.version),
        ),
        (network.file(&layout.cni(), 0), network.conflist()),
        (
            layout.shim_config(),
            shim_config::initial(product, setup.driver)?,
        ),
    ];
    for (path, text) in files {
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    mkfs_erofs(layout, packages)?;
    scratch_file(layout, packages)
}

/// A program that containerd finds by its name.
fn mkfs_erofs(layout: &Layout, packages: &Packages) -> Result<()> {
    let path = layout.programs().join("mkfs.erofs");
    fs::write(&path, packages.mkfs_erofs())
        .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(0o755)))
        .with_context(|| format!("write {}", path.display()))
}

/// What the snapshotter `blockfile` begins every snapshot with: an empty file system.
fn scratch_file(layout: &Layout, packages: &Packages) -> Result<()> {
    let path = layout.scratch_file();
    File::create(&path)
        .and_then(|file| file.set_len(64 << 20))
        .with_context(|| format!("make {}", path.display()))?;
    let mut mke2fs = Command::new(packages.busybox());
    let output = mke2fs.arg("mke2fs").arg("-F").arg(&path).output();
    let output = output.context("run mke2fs")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "mke2fs: {said}");
    Ok(())
}

/// Plugins of cases come beside those of the package.
fn link_plugins(layout: &Layout, packages: &Packages) -> Result<()> {
    let folder = packages.cni();
    let plugins = fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))?;
    for plugin in plugins.flatten() {
        symlink(plugin.path(), layout.cni_plugins().join(plugin.file_name()))
            .with_context(|| format!("link to {}", plugin.path().display()))?;
    }
    Ok(())
}

fn containerd(layout: &Layout, version: Version) -> String {
    let head = head(layout, version);
    let cri = match version {
        Version::V1_6 | Version::V1_7 => cri_of_config_2(layout),
        Version::V2 => cri_of_config_3(layout),
    };
    let others = match version {
        Version::V1_6 | Version::V1_7 => ours_again(CRI_2, Handler::WithoutOptions),
        Version::V2 => {
            ours_again(CRI_3, Handler::WithoutOptions)
                + &ours_again(CRI_3, Handler::SandboxApi)
                + "  sandboxer = \"shim\"\n"
        }
    };
    head + &cri + &our_handler(layout, version) + &others
}

/// Our handler once more, by another name. It names no configuration, which
/// containerd cannot pass on to every container: the bed's is in containerd's
/// environment.
fn ours_again(plugin: &str, handler: Handler) -> String {
    let (name, kind) = (handler.name(), handler.runtime_type());
    format!("[{plugin}.containerd.runtimes.{name}]\n  runtime_type = {kind:?}\n")
}

/// The handler exactly as a node gets it, told where the bed's configuration is.
fn our_handler(layout: &Layout, version: Version) -> String {
    let (plugin, shipped) = match version {
        Version::V1_6 | Version::V1_7 => (CRI_2, CONFIG_2),
        Version::V2 => (CRI_3, CONFIG_3),
    };
    // The file's first line is there already.
    let handler = shipped.lines().filter(|line| !line.starts_with("version"));
    let handler = handler.collect::<Vec<_>>().join("\n");
    let name = Handler::KataMshv.name();
    let config = layout.shim_config();
    format!("{handler}\n[{plugin}.containerd.runtimes.{name}.options]\n  ConfigPath = {config:?}\n")
}

/// Of containerd's configuration files.
pub(super) fn number(version: Version) -> u32 {
    match version {
        Version::V1_6 | Version::V1_7 => 2,
        Version::V2 => 3,
    }
}

fn head(layout: &Layout, version: Version) -> String {
    let number = number(version);
    format!(
        r#"version = {number}
imports = ["{more}/*.toml"]
root = {root:?}
state = {state:?}
[grpc]
  address = {socket:?}
[debug]
  level = "info"
[plugins."io.containerd.internal.v1.opt"]
  path = {opt:?}
[plugins."io.containerd.nri.v1.nri"]
  disable = true
[plugins."io.containerd.snapshotter.v1.blockfile"]
  scratch_file = {scratch:?}
  fs_type = "ext4"
"#,
        more = layout.more_settings().display(),
        root = layout.root(),
        state = layout.state(),
        socket = layout.socket(),
        opt = layout.opt(),
        scratch = layout.scratch_file(),
    )
}

/// `max_conf_num`: a pod has an interface in each network that there is.
/// `restrict_oom_score_adj`: without CAP_SYS_RESOURCE, as in many CI machines,
/// no process may have the -998 that a sandbox asks for.
/// `disable_hugetlb_controller`: by default limits on huge pages go to no runtime.
fn cri_of_config_2(layout: &Layout) -> String {
    format!(
        r#"[{CRI_2}]
  sandbox_image = {pause:?}
  restrict_oom_score_adj = true
  disable_hugetlb_controller = false
  [{CRI_2}.cni]
    bin_dir = {bin:?}
    conf_dir = {conf:?}
    max_conf_num = 0
  [{CRI_2}.containerd]
    default_runtime_name = "runc"
    [{CRI_2}.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
"#,
        pause = images::PAUSE,
        bin = layout.cni_plugins(),
        conf = layout.cni(),
    )
}

fn cri_of_config_3(layout: &Layout) -> String {
    format!(
        r#"[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = {pause:?}
[{CRI_3}]
  restrict_oom_score_adj = true
  disable_hugetlb_controller = false
  [{CRI_3}.cni]
    bin_dirs = [{bin:?}]
    conf_dir = {conf:?}
    max_conf_num = 0
  [{CRI_3}.containerd]
    default_runtime_name = "runc"
    [{CRI_3}.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
"#,
        pause = images::PAUSE,
        bin = layout.cni_plugins(),
        conf = layout.cni(),
    )
}

/// A bridge with both address families. Its leases are in `/run`, which is the
/// bed's own.
pub(super) fn bridge() -> Network {
    let plugin = json!({
        "type": "bridge",
        "bridge": BRIDGE,
        "isGateway": true,
        "hairpinMode": true,
        "ipam": addresses(&["10.88.0.0/16", "fd88::/64"]),
    });
    Network::new("bed", plugin)
}
