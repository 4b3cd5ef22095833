//! A containerd of our own to test with: unpacked, configured, started, and
//! gone without a trace afterwards. It is meant to run in [`crate::isolation`].

mod archive;
mod containerd;
mod driver;
mod handler;
mod layout;
mod more_settings;
mod network;
mod packages;
mod product;
mod settings;
mod shim_config;
mod sweep;
mod version;

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ctl::cri;
use tokio::time::{Instant, sleep};

use crate::harness::patient;
use crate::{ctr::Ctr, images};
use containerd::Containerd;
pub use driver::Driver;
pub use handler::Handler;
pub use layout::Layout;
pub use more_settings::MoreSettings;
pub use network::{Network, Networks, addresses};
pub use packages::Packages;
pub use product::Product;
pub use settings::BRIDGE;
pub use shim_config::ChangedConfig;
use sweep::Sweep;
pub use version::Version;

/// What a bed is to be.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Which containerd.
    pub version: Version,
    /// Which runtime cases use.
    pub handler: Handler,
    /// What runs the VMs.
    pub driver: Driver,
}

/// A running containerd with images, and what it needs to know of the product.
///
/// Dropped, everything that it started is killed and what it mounted or wrote
/// is removed, so that another can be made in the same namespaces.
pub struct Bed {
    /// Paths in its folder.
    pub layout: Layout,
    /// Which containerd.
    pub version: Version,
    /// Which runtime cases use.
    pub handler: Handler,
    /// What runs the VMs.
    pub driver: Driver,
    product: Product,
    packages: Packages,
    containerd: RefCell<Option<Containerd>>,
    // After containerd: fields are dropped in this order.
    _sweep: Sweep,
}

impl Bed {
    /// Starts containerd in `folder` and gives it the images.
    ///
    /// # Errors
    ///
    /// containerd cannot be had, or does not start; its last words
    /// are in the error.
    pub async fn up(folder: &Path, setup: Setup) -> Result<Self> {
        let Setup {
            version,
            handler,
            driver,
        } = setup;
        let product = Product::find()?;
        let packages = Packages::fetch(version, |_| ())?;
        let sweep = Sweep::from_now(folder)?;
        let layout = Layout::make(folder)?;
        settings::write(&layout, setup, &packages, &product)?;
        images::write(&packages.busybox(), &layout.images())?;
        let containerd = Containerd::start(&layout, &packages, &product)?;
        let bed = Self {
            layout,
            version,
            handler,
            driver,
            product,
            packages,
            containerd: RefCell::new(Some(containerd)),
            _sweep: sweep,
        };
        bed.import_images().await?;
        Ok(bed)
    }

    async fn import_images(&self) -> Result<()> {
        let archive = self.layout.images().display().to_string();
        let import = ["images", "import", archive.as_str()];
        let (cri, own) = (self.ctr_in("k8s.io"), self.ctr());
        let (cri, own) = tokio::join!(cri.done(&import), own.done(&import));
        cri.and(own).context("import the bed's images")?;
        Ok(())
    }

    /// `ctr` in the namespace of cases.
    #[must_use]
    pub fn ctr(&self) -> Ctr {
        self.ctr_in("default")
    }

    /// `ctr` in a namespace of containerd's.
    #[must_use]
    pub fn ctr_in(&self, namespace: &str) -> Ctr {
        Ctr::new(
            &self.packages.bin().join("ctr"),
            &self.layout.socket(),
            namespace,
        )
    }

    /// `ctr run` with the bed's handler and the shim's configuration, up to
    /// where the caller's own options follow.
    #[must_use]
    pub fn ctr_run(&self) -> Vec<String> {
        let mut run = vec!["run", "--runtime", self.handler.runtime_type()];
        let config = self.layout.shim_config().display().to_string();
        if self.handler.is_vm() {
            run.extend(["--runtime-config-path", &config]);
        }
        run.into_iter().map(str::to_owned).collect()
    }

    /// A new connection to containerd's CRI, once that answers: it does a moment
    /// after containerd.
    ///
    /// # Errors
    ///
    /// Nothing answers, or only errors for some seconds.
    pub async fn cri(&self) -> Result<cri::Client> {
        let endpoint = format!("unix://{}", self.layout.socket().display());
        let client = cri::Client::connect(&endpoint).await?;
        let deadline = Instant::now() + patient(Duration::from_secs(10));
        while let Err(error) = client.status(false).await {
            ensure!(Instant::now() < deadline, "CRI is not ready: {error:#}");
            sleep(Duration::from_millis(20)).await;
        }
        Ok(client)
    }

    /// Variables that lead programs to this bed.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        let socket = self.layout.socket();
        let endpoint = format!("unix://{}", socket.display());
        vec![
            (
                "PATH",
                containerd::search_path(&self.layout, &self.packages, &self.product),
            ),
            ("CONTAINERD_ADDRESS", socket.into()),
            ("CONTAINERD_NAMESPACE", "k8s.io".into()),
            ("CONTAINER_RUNTIME_ENDPOINT", endpoint.into()),
        ]
    }

    /// The files under test.
    #[must_use]
    pub fn product(&self) -> &Product {
        &self.product
    }

    /// A static busybox.
    #[must_use]
    pub fn busybox(&self) -> PathBuf {
        self.packages.busybox()
    }

    /// containerd's process; `None` between stop and start.
    #[must_use]
    pub fn containerd_pid(&self) -> Option<u32> {
        self.containerd.borrow().as_ref().map(Containerd::pid)
    }

    /// Ends containerd; its shims and what they run go on.
    ///
    /// # Errors
    ///
    /// It does not end.
    pub fn stop_containerd(&self) -> Result<()> {
        let running = self.containerd.borrow_mut().take();
        running.map_or(Ok(()), Containerd::stop)
    }

    /// Starts containerd again.
    ///
    /// # Errors
    ///
    /// It does not start; its last words are in the error.
    pub fn start_containerd(&self) -> Result<()> {
        let started = Containerd::start(&self.layout, &self.packages, &self.product)?;
        *self.containerd.borrow_mut() = Some(started);
        Ok(())
    }

    /// Gives the shim's configuration `value` at `key` (`guest.kernel`) for as
    /// long as the answer lives.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn configure(&self, key: &str, value: impl Into<toml::Value>) -> Result<ChangedConfig> {
        ChangedConfig::make(self.layout.shim_config(), key, value.into())
    }

    /// How long containerd's log is, for [`Bed::log_since`].
    #[must_use]
    pub fn log_length(&self) -> u64 {
        fs::metadata(self.layout.containerd_log()).map_or(0, |file| file.len())
    }

    /// What containerd and its shims have logged since it was `length` long,
    /// the last `count` lines of it.
    #[must_use]
    pub fn log_since(&self, length: u64, count: usize) -> String {
        let log = fs::read(self.layout.containerd_log()).unwrap_or_default();
        let new = usize::try_from(length)
            .ok()
            .and_then(|length| log.get(length..));
        containerd::tail(&String::from_utf8_lossy(new.unwrap_or_default()), count)
    }
}
